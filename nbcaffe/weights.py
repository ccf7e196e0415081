"""Trained weights in Caffe's HDF5 layout: ``/data/<layer>/<index>``, a shared one under its owner only."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from .blob import Weight
from .cache import write_atomically
from .device import Device
from .errors import ConfigError, DataError, SnapshotError
from .params import did_you_mean

Params = Mapping[str, list[Weight]]


@dataclass
class Report:
    """What a weight file and a net had in common."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # in the net, not in the file: keep their initial values
    unused: list[str] = field(default_factory=list)  # in the file, not in the net

    def __str__(self) -> str:
        kinds = (("matched", self.matched), ("without weights in the file", self.missing), ("unused", self.unused))
        return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds if names)


def load_weights(path: str | Path, params: Params, device: Device, reinit: Iterable[str] = ()) -> Report:
    """Copy the weights of every layer that both have; a shape that differs is an error unless in ``reinit``."""
    for name in reinit:
        if name not in params:
            raise ConfigError(f"reinit: no layer {name!r} with weights{did_you_mean(name, params)}")
    stored = read_weights(path)
    wanted = {name: weights for name, weights in params.items() if name not in reinit}
    misfits = []
    for name, weights in wanted.items():
        for index, (weight, values) in enumerate(zip(weights, stored.get(name, []), strict=False)):
            if weight.shape != values.shape:
                misfits.append(f"layer {name!r}, weight {index}: {weight.shape} in the net, {values.shape} in the file")
    if misfits:
        lines = "\n  ".join(misfits)
        raise SnapshotError(f"{path}: shapes do not fit; rename the layer or name it in reinit:\n  {lines}")
    report = Report(unused=[name for name in stored if name not in params])
    for name, weights in wanted.items():
        for weight, values in zip(weights, stored.get(name, []), strict=False):
            device.upload(weight.data, values)
        own = [w for w in weights if w.owner is w]
        (report.matched if len(stored.get(name, [])) >= len(own) else report.missing).append(name)
    return report


def read_weights(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Every layer's weights in a file."""
    if not Path(path).is_file():
        raise DataError(f"{path}: no such weight file")
    try:
        with h5py.File(path) as file:
            found: dict[str, list[np.ndarray]] = {}

            def visit(path: str, item: object) -> None:
                # a layer's name may hold slashes: its group is the one right above the numbered datasets
                if isinstance(item, h5py.Dataset):
                    found.setdefault(path.rpartition("/")[0], []).append(item[()])

            file["data"].visititems(visit)
            return found
    except (OSError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a weight file in Caffe's HDF5 layout, or truncated: {error}") from None


def save_weights(path: str | Path, params: Params, device: Device) -> None:
    """Write all weights at once; a full disk leaves the old file as it was."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        layers = file.create_group("data")
        for name, weights in params.items():
            group = layers.create_group(name)
            for index, weight in enumerate(weights):
                if weight.owner.name.rsplit("/", 1)[0] == name or weight.owner is weight:
                    group.create_dataset(str(index), data=device.download(weight.data))
    try:
        write_atomically(Path(path), memory.getvalue())
    except OSError as error:
        raise SnapshotError(f"{path}: the weights could not be written: {error.strerror or error}") from None
