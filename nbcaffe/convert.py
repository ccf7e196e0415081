"""``nbcaffe convert A B``: each file format into each other one of its kind."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .cache import write_atomically
from .caffe.blobs import blob_bytes, model_bytes, read_binaryproto
from .caffe.document import TEXT, is_caffe, is_net, load_net, load_solver
from .caffe.fields import net_message, solver_message
from .caffe.text import read_message, write_text
from .caffe.upgrade import upgrade_net, upgrade_solver
from .data.databases import database_to_hdf5, hdf5_to_database, is_database
from .errors import ConfigError, DataError
from .netfile import read_net
from .passes.expand import as_mapping
from .solver.spec import INLINE, read_solver
from .solver.states import read_state, state_content
from .spec import NetSpec
from .weight_files import read_weights, weights_bytes
from .yamlfile import Located, dump, load

YAML = (".yaml", ".yml")
DATABASES = (".lmdb", "_lmdb")
OURS = ("solver_mode", "random_seed", "snapshot_format")  # their defaults here are not Caffe's: written out


class Kind(NamedTuple):
    """Formats that say the same, by the ends of their names, and what turns one into another."""

    endings: tuple[str, ...]
    convert: Callable[[Path, Path], Any]


def run(args: Namespace) -> int:
    """Convert one file or folder."""
    source, target = Path(args.source), Path(args.target)
    if not source.exists():
        raise DataError(f"{source}: no such file")
    if source.resolve() == target.resolve():
        raise ConfigError(f"{target}: source and target are the same file")
    if target.exists() and not args.force:
        raise ConfigError(f"{target} is there already; --force replaces it")
    kind = kind_of(source, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    note = kind.convert(source, target)
    print(f"{target}{f': {note}' if note else ''}")
    return 0


def kind_of(source: Path, target: Path) -> Kind:
    """The kind whose endings both names have."""
    name = DATABASES[0] if is_database(source) else source.name
    for kind in KINDS.values():
        if name.endswith(kind.endings) and target.name.endswith(kind.endings):
            return kind
    known = "\n  ".join(f"{name}: {', '.join(kind.endings)}" for name, kind in KINDS.items())
    raise ConfigError(f"{source} -> {target}: one cannot become the other; formats by kind:\n  {known}")


def write(target: Path, content: bytes | str) -> None:
    try:
        write_atomically(target, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise DataError(f"{target}: could not be written: {error.strerror or error}") from None


# Nets and solvers


def text(source: Path, target: Path) -> str:
    """A net or a solver between YAML, prototxt and protobuf's binary form."""
    if target.suffix == source.suffix == ".caffemodel":
        return weights(source, target)
    if target.suffix == ".caffemodel":
        raise ConfigError(f"{target}: a caffemodel holds weights; convert a weight file, or write the net as .pb")
    net = is_net(source) if is_caffe(source) else _is_yaml_net(source)
    if target.suffix in YAML:
        write(target, dump(net_mapping(source)) if net else dump(solver_mapping(source)))
        return ""
    message = as_message(source) if net else solver_as_message(source)
    write(target, write_text(message) if target.suffix in TEXT else message.SerializeToString())
    return "" if net else _nets_to_convert(message, target)


def _is_yaml_net(source: Path) -> bool:
    document = load(source)
    return ("layers" in document or "layer" in document or isinstance(document.get("net"), Located)) and (
        INLINE not in document or "base_lr" not in document
    )


def net_mapping(source: Any) -> dict[str, Any]:
    """A net as a flat mapping: templates, repeats and defaults are carried out."""
    return dict(load_net(source)) if is_caffe(source) else as_mapping(read_net(source, any_type=True))


def as_message(source: Any) -> Any:
    """A net of any format as a message of Caffe's."""
    if is_caffe(source):
        net, lines = read_message(source, "NetParameter")
        net, _ = upgrade_net(net, lines, str(source))
        for layer in net.layer:
            layer.ClearField("blobs")
        return net
    return _of_spec(read_net(source, any_type=True))


def _of_spec(spec: NetSpec) -> Any:
    for key, value in (("import", spec.imports), ("freeze", spec.freeze)):
        if value:
            raise ConfigError(f"{spec.where}: Caffe's files have no {key!r}: {', '.join(value)}")
    return net_message(as_mapping(spec), lambda index, key: spec.layers[index].at(key))


def solver_mapping(source: Any) -> dict[str, Any]:
    """A solver as a mapping, with the nets that stand in it."""
    document = load_solver(source) if is_caffe(source) else load(source)
    return dict(document)


def solver_as_message(source: Any) -> Any:
    """A solver of any format as a message of Caffe's."""
    if is_caffe(source):
        return upgrade_solver(*read_message(source, "SolverParameter"), str(source))
    spec = read_solver(source)
    given = dict(spec.given)
    for key in ("net_param", "train_net_param", "test_net_param"):
        if key in given:
            nets = given[key] if isinstance(given[key], (list, tuple)) else [given[key]]
            messages = [_of_spec(read_net(net, any_type=True)) for net in nets]
            given[key] = messages if key == "test_net_param" else messages[0]
    given |= {key: spec.values[key] for key in OURS if key not in given}
    where = spec.given.where if isinstance(spec.given, Located) else lambda key: str(source)
    return solver_message(given, where)


def _nets_to_convert(solver: Any, target: Path) -> str:
    nets = [name for name in (solver.net, solver.train_net, *solver.test_net) if Path(name).suffix in YAML]
    return f"Caffe needs its nets as prototxt, too: {', '.join(nets)}" if nets else ""


# Weights, states, arrays


def weights(source: Path, target: Path) -> str:
    """Weights between HDF5 and a caffemodel; an old caffemodel in today's form, with its net."""
    found = read_weights(source)
    if target.suffix == source.suffix == ".caffemodel":
        write(target, model_bytes(as_message(source), found, target))
    else:
        write(target, weights_bytes(target, found, found))
    return f"weights of {len(found)} layers"


def state(source: Path, target: Path) -> str:
    """A solver's state between Caffe's two formats; it still names the weights it was written with."""
    found = read_state(source)
    write(target, state_content(found, target))
    return f"iteration {found.iteration}; its weights are {found.learned_net}"


def array(source: Path, target: Path) -> str:
    """A mean image between binaryproto and NumPy's npy."""
    values = read_binaryproto(source) if source.suffix == ".binaryproto" else read_npy(source)
    if target.suffix == ".binaryproto":
        write(target, blob_bytes(values))
    else:
        np.save(target, values)
    return f"shape {list(values.shape)}"


def read_npy(path: Path) -> np.ndarray:
    """A float32 array; the file must be as large as its header says."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is Python text, and errors of each kind that parsing has come through
        raise DataError(f"{path}: not an npy file of numbers, or truncated: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise DataError(f"{path}: not an npy file of real numbers")
    return np.array(values, np.float32)


# Samples


def samples(source: Path, target: Path) -> str:
    """Labelled samples between an LMDB of Datum and an HDF5 file with the datasets `data` and `label`."""
    if is_database(source) == target.name.endswith(DATABASES):
        raise ConfigError(f"{source} -> {target}: both are of one format; copy it")
    if is_database(source):
        return f"{database_to_hdf5(source, target)} samples"
    return f"{hdf5_to_database(source, target)} samples"


KINDS = {
    "nets and solvers": Kind((*YAML, *TEXT, ".pb", ".caffemodel"), text),
    "weights": Kind((".caffemodel", ".h5"), weights),
    "solver states": Kind((".solverstate", ".solverstate.h5"), state),
    "arrays": Kind((".binaryproto", ".npy"), array),
    "samples": Kind((*DATABASES, ".h5", ".hdf5"), samples),
}
