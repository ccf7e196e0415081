"""Nets and solvers of Caffe as the mappings that our YAML gives, each key with the line it was written on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError
from ..yamlfile import Located, load
from .fields import own_groups
from .schema import message, repeated
from .text import Lines, read_message
from .upgrade import upgrade_net, upgrade_solver

TEXT, BINARY = (".prototxt", ".pbtxt"), (".caffemodel", ".pb")  # a caffemodel holds its net, too
FLAT = ("name", "type", "bottom", "top")
WITHOUT_BOTTOM = ("Input", "Parameter", "DummyData", "Data", "ImageData", "HDF5Data", "MemoryData", "WindowData")
WITHOUT_TOP = ("Silence", "HDF5Output")


def is_caffe(source: Any) -> bool:
    """Whether a path names a file of Caffe's; one without an ending is taken for prototxt, as pycaffe's users write."""
    if not isinstance(source, (str, Path)) or "\n" in str(source):
        return False
    return Path(source).suffix in TEXT + BINARY or (not Path(source).suffix and _is_file(source))


def _is_file(name: str | Path) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # YAML text that is no name at all
        return False


def is_message(source: Any) -> bool:
    """Whether it is a message of protobuf's, such as ``NetSpec.to_proto()`` gives."""
    return hasattr(source, "DESCRIPTOR") and hasattr(source, "ListFields")


def load_net(source: Any) -> Located:
    """The mapping of a net file, Caffe's or YAML, or of a NetParameter."""
    if is_message(source):
        if source.DESCRIPTOR.name != "NetParameter":
            raise ConfigError(f"expected a NetParameter, got a {source.DESCRIPTOR.name}")
        copy = message("NetParameter")
        copy.CopyFrom(source)  # what upgrades an old net changes it
        return net_document(copy, Lines(), "")
    return net_document(*read_message(source, "NetParameter"), str(source)) if is_caffe(source) else load(source)


def load_solver(source: Any) -> Located:
    """The mapping of a solver file, Caffe's or YAML."""
    if not is_caffe(source):
        return load(source)
    return solver_document(*read_message(source, "SolverParameter"), str(source))


def load_either(source: Any) -> Located:
    """The mapping of a net or solver file: Caffe's files do not say which they are, but what they hold does."""
    if not is_caffe(source):
        return load(source)
    return load_net(source) if is_net(source) else load_solver(source)


def is_net(path: str | Path) -> bool:
    """Whether a file of Caffe's holds a net and not a solver."""
    if Path(path).suffix == ".caffemodel":
        return True
    try:
        net, _ = read_message(path, "NetParameter")
    except (ConfigError, DataError) as error:
        try:
            read_message(path, "SolverParameter")
        except (ConfigError, DataError) as other:  # it is neither: say what is wrong with the one that goes on longer
            raise max(error, other, key=lambda e: _line(str(e))) from None
        return False
    return bool(net.layer or net.layers or net.input)


def _line(text: str) -> int:
    number = text.split(": ")[0].rpartition(":")[2]
    return int(number) if number.isdigit() else 0


def net_document(net: Any, lines: Lines, path: str) -> Located:
    """A net, upgraded, as a mapping."""
    if net.state.level or net.state.stage:
        at = f"{path}:{lines.of('state').line}" if lines else path
        raise ConfigError(f"{at}: state: level and stages are not read from a net file; pass --level and --stage")
    net, at_layers = upgrade_net(net, lines, path)
    out = Located((), path, 1 if lines else 0)
    for name in ("name", "force_backward", "debug_info"):
        if net.HasField(name):
            _put(out, name, getattr(net, name), lines)
    out["layers"] = [layer_document(layer, at, path) for layer, at in zip(net.layer, at_layers, strict=True)]
    return out


def layer_document(layer: Any, lines: Lines, path: str) -> Located:
    """One layer; its own parameters stand flat, other groups as they are; weights are left out."""
    out = Located((), path, lines.line)
    blobs: dict[str, Any] = {"name": layer.name, "type": layer.type}
    for side, may_lack in (
        ("bottom", layer.type in WITHOUT_BOTTOM),
        ("top", layer.type in WITHOUT_TOP or "Loss" in layer.type),
    ):
        given = list(getattr(layer, side))
        blobs |= {} if not given and may_lack else {side: _short(given)}
    for name, value in blobs.items():
        _put(out, name, value, lines)
    own = own_groups(layer.type)
    for field, value in layer.ListFields():
        if field.name == "blobs" or field.name in FLAT:
            continue
        inner = lines.of(field.name)
        if field.name not in own:
            _put(out, field.name, _value(field, value, lines, path), lines)
            continue
        group = _message(value, inner, path)
        clash = [name for name in group if name in out or own_groups(layer.type, name)[:1] != (field.name,)]
        if clash or not group:
            _put(out, field.name, group, lines)
        else:
            for name in group:
                _put(out, name, group[name], inner)
    return out


def solver_document(solver: Any, lines: Lines, path: str) -> Located:
    """A solver as a mapping; a net's path that starts at the working directory, as in Caffe, is made absolute."""
    solver = upgrade_solver(solver, lines, path)
    out = Located((), path, 1 if lines else 0)
    for field, value in solver.ListFields():
        if field.message_type is not None and field.message_type.name == "NetParameter":
            nets = value if repeated(field) else [value]
            found: Any = [net_document(net, lines.of(field.name, i), path) for i, net in enumerate(nets)]
            value = found if repeated(field) else found[0]
        elif field.name in ("net", "train_net", "test_net", "weights"):
            value = [_from_here(v, path) for v in value] if repeated(field) else _from_here(value, path)
        else:
            value = _value(field, value, lines, path)
        _put(out, field.name, value, lines)
    if "solver_type" in lines:
        out.lines["type"] = lines.of("solver_type").line
    return out


def _from_here(name: str, path: str) -> str:
    beside, here = Path(path).parent / name, Path(name)
    return str(here.absolute()) if not beside.exists() and here.exists() else name


def _put(out: Located, key: str, value: Any, lines: Lines) -> None:
    out[key], out.lines[key] = value, lines.of(key).line


def _message(value: Any, lines: Lines, path: str) -> Any:
    """A message inside a layer: a shape is its list, a filler of nothing but a type is that word."""
    if value.DESCRIPTOR.name == "BlobShape":
        return list(value.dim)
    out = Located((), path, lines.line)
    for field, inner in value.ListFields():
        _put(out, field.name, _value(field, inner, lines, path), lines)
    return out["type"] if value.DESCRIPTOR.name == "FillerParameter" and list(out) == ["type"] else out


def _value(field: Any, value: Any, lines: Lines, path: str) -> Any:
    if repeated(field):
        items = [_single(field, item, lines.of(field.name, i), path) for i, item in enumerate(value)]
        return items if field.name == "param" else _short(items)
    return _single(field, value, lines.of(field.name), path)


def _single(field: Any, value: Any, lines: Lines, path: str) -> Any:
    if field.message_type is not None:
        return _message(value, lines, path)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    if field.cpp_type == field.CPPTYPE_FLOAT:
        return float(str(np.float32(value)))  # 0.1, not the 0.10000000149011612 that a float32 is
    return value


def _short(items: list) -> Any:
    """Repeated fields accept one value."""
    return items[0] if len(items) == 1 and not isinstance(items[0], list) else items
