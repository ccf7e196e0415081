"""A net's weights, to files and from them, matched by the names of the layers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .blob import Weight
from .cache import write_atomically
from .device import Device
from .errors import ConfigError, SnapshotError
from .params import did_you_mean
from .passes.sharing import named
from .weight_files import Arrays, read_weights, split_files, weights_bytes

Params = Mapping[str, list[Weight]]


@dataclass
class Report:
    """What weight files and a net had in common, by the names of layers."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # in the net, in no file: keep their initial values
    unused: list[str] = field(default_factory=list)  # in a file, not in the net
    reinit: list[str] = field(default_factory=list)  # keep their initial values because the user says so
    misshaped: dict[str, str] = field(default_factory=dict)  # those of them that would not have fit, with the shapes

    @property
    def lines(self) -> list[str]:
        """One line for each kind."""
        anew = [f"{name} ({self.misshaped[name]})" if name in self.misshaped else name for name in self.reinit]
        kinds = (
            ("matched", self.matched or ["none"]),
            ("initialised anew", anew),
            ("warning: without weights in the file, so with their initial values", self.missing),
            ("unused", self.unused),
        )
        return [f"{kind}: {', '.join(names)}" for kind, names in kinds if names]

    def __str__(self) -> str:
        return "; ".join(self.lines)


def load_weights(source: Any, params: Params, device: Device, reinit: Iterable[str] = ()) -> Report:
    """Copy the weights of every layer that both have, as Caffe's CopyTrainedLayersFrom.

    Parameters
    ----------
    source : path, "a,b", Net, or a list of these
        Where two of them have a layer, the later one's weights are taken.
    reinit : iterable of str
        Layers, or patterns like ``fc*``, that keep their initial values.

    Raises
    ------
    SnapshotError
        With all layers whose weights differ in number or shape; then nothing was copied.
    """
    anew = _chosen(reinit, params)
    stored: dict[str, tuple[str, Sequence[Any]]] = {}
    for where, layers in _sources(source):
        stored |= {name: (where, arrays) for name, arrays in layers.items()}
    report = Report(unused=[name for name in stored if name not in params], reinit=anew)
    misfits: dict[str, str] = {}
    for name, weights in params.items():
        who, arrays = stored.get(name, ("", ()))
        if arrays and not fits(name, weights, arrays):
            misfits[name] = f"{_shapes(weights)} in the net, {_shapes(arrays)} in {who}"
        elif name not in anew:  # a layer whose weights are all another's has nothing in an HDF5 file
            borrows = not any(_is_own(weight, name) for weight in weights)
            (report.matched if arrays or borrows else report.missing).append(name)
    report.misshaped = {name: what for name, what in misfits.items() if name in anew}
    _refuse({name: what for name, what in misfits.items() if name not in anew}, report)
    for name in report.matched:
        for weight, values in zip(params[name], stored.get(name, ("", ()))[1], strict=False):
            if values is not None:
                device.upload(weight.data, values)
    return report


def _refuse(misfits: Mapping[str, str], report: Report) -> None:
    """Raise where layers do not fit: with both shapes, what else there is, and how to go on."""
    if misfits:
        listed = "".join(f"\n  layer {name!r}: {what}" for name, what in misfits.items())
        raise SnapshotError(
            f"weights do not fit, nothing was copied:{listed}\n  " + "\n  ".join(report.lines) + "\n"
            f"to start these layers anew, rename them in the net, or name them: --reinit {','.join(misfits)}"
        )


def fits(name: str, weights: Sequence[Weight], arrays: Sequence[Any]) -> bool:
    """Whether there is an array of its shape for each weight; one that the layer borrows may be missing."""
    padded = [*arrays, *[None] * (len(weights) - len(arrays))]
    return len(padded) == len(weights) and all(
        not _is_own(weight, name) if values is None else values.shape == weight.shape
        for weight, values in zip(weights, padded, strict=True)
    )


def _chosen(reinit: Iterable[str], params: Params) -> list[str]:
    found: set[str] = set()
    for pattern in [reinit] if isinstance(reinit, str) else reinit:
        layers = named(pattern, params)
        if not layers:
            raise ConfigError(f"reinit: no layer {pattern!r} with weights{did_you_mean(pattern, params)}")
        found |= layers
    return [name for name in params if name in found]


def _sources(source: Any) -> Iterator[tuple[str, Arrays]]:
    """What weights come from, with a name for messages."""
    if hasattr(source, "params"):  # a net
        down = source.device.download
        yield f"net {source.name!r}", {name: [down(w.data) for w in ws] for name, ws in source.params.items()}
    elif isinstance(source, str | Path):
        for path in split_files(source):
            yield str(path), read_weights(path)
    else:
        for one in source:
            yield from _sources(one)


def _shapes(arrays: Sequence[Any]) -> str:
    return ", ".join("none" if a is None else "x".join(map(str, a.shape)) or "1" for a in arrays)


def save_weights(path: str | Path, params: Params, device: Device, net: Mapping[str, Any]) -> None:
    """Write all weights at once, in the format that the name ends in; a full disk leaves the old file as it was."""
    every = {name: [device.download(weight.data) for weight in weights] for name, weights in params.items()}
    own = {
        name: [values if _is_own(weight, name) else None for weight, values in zip(params[name], arrays, strict=True)]
        for name, arrays in every.items()
    }
    try:
        write_atomically(Path(path), weights_bytes(path, own, every, net))
    except OSError as error:
        raise SnapshotError(f"{path}: the weights could not be written: {error.strerror or error}") from None


def _is_own(weight: Weight, layer: str) -> bool:
    return weight.owner is weight or weight.owner.address[0] == layer
