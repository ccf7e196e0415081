"""A net's weights, to files and from them, matched by the names of the layers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .blob import Weight
from .cache import write_atomically
from .device import Device
from .errors import ConfigError, SnapshotError
from .params import did_you_mean
from .weight_files import read_weights, weights_bytes

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


def save_weights(path: str | Path, params: Params, device: Device, net: Mapping[str, Any]) -> None:
    """Write all weights at once, in the format that the name ends in; a full disk leaves the old file as it was."""
    every = {name: [device.download(weight.data) for weight in weights] for name, weights in params.items()}
    own = {
        name: [values for weight, values in zip(params[name], arrays, strict=True) if _is_own(weight, name)]
        for name, arrays in every.items()
    }
    try:
        write_atomically(Path(path), weights_bytes(path, own, every, net))
    except OSError as error:
        raise SnapshotError(f"{path}: the weights could not be written: {error.strerror or error}") from None


def _is_own(weight: Weight, layer: str) -> bool:
    return weight.owner is weight or weight.owner.name.rsplit("/", 1)[0] == layer
