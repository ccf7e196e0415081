"""Which group of caffe.proto a layer's parameter belongs to, and setting a message's fields from plain values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from ..errors import ConfigError
from ..params import did_you_mean
from .schema import message, repeated

log = logging.getLogger("nbcaffe.caffe")

# Groups that are not named like their type; the first one that has a parameter is its home
GROUPS = {
    "Deconvolution": ("convolution_param",),
    "Im2col": ("convolution_param",),
    "LSTM": ("recurrent_param",),
    "RNN": ("recurrent_param",),
    "SoftmaxWithLoss": ("softmax_param",),
    "SigmoidCrossEntropyLoss": ("sigmoid_param",),
}
SHARED = {"Loss": "loss_param", "Data": "transform_param"}  # by what the type's name ends in
# Fields that Caffe reads no more in their old place: they are transform_param's now
MOVED = dict.fromkeys(
    ("data_param", "image_data_param", "window_data_param"), ("scale", "mean_file", "crop_size", "mirror")
)
HALVES = {"kernel_size": "kernel", "stride": "stride", "pad": "pad"}


@cache
def _groups() -> dict[str, Any]:
    fields = message("LayerParameter").DESCRIPTOR.fields
    return {field.name: field.message_type for field in fields if field.name.endswith("_param")}


def own_groups(kind: str, name: str | None = None) -> tuple[str, ...]:
    """The groups whose fields may stand flat in a layer of this type; with ``name`` those that have such a field."""
    own = GROUPS.get(kind) or tuple(g for g in _groups() if g[:-6].replace("_", "") == kind.lower())
    groups = (*own, *(group for ending, group in SHARED.items() if kind.endswith(ending)))
    if name is None:
        return groups
    return tuple(g for g in groups if name in _groups()[g].fields_by_name and name not in MOVED.get(g, ()))


def fill_layer(layer: Any, given: Mapping[str, Any], where: Callable[[str], str], strict: bool = True) -> None:
    """A layer's message from its mapping."""
    if "unroll" in given:  # a block of many layers; a caffemodel has its name
        given = {"name": given["unroll"]["name"], "type": "Unroll"}
        if strict:
            what = f"layer {given['name']!r}: an unroll block"
            raise ConfigError(f"{where('name')}: {what}; prototxt and caffemodel cannot say it")
    fields, kind = layer.DESCRIPTOR.fields_by_name, str(given.get("type"))
    who = f"layer {given.get('name')!r}"
    for key, value in given.items():
        groups = () if key in fields else own_groups(kind, key)
        target, owner = (layer, who) if not groups else (getattr(layer, groups[0]), f"{who}: {groups[0]}")
        try:
            if groups:
                target.SetInParent()
            elif key not in fields:
                raise ConfigError(f"{who}: {_unknown(kind, key)}; prototxt and caffemodel cannot say it")
            set_field(target, key, value, owner)
        except ConfigError as error:
            if strict:
                raise ConfigError(f"{where(key)}: {error}") from None
            log.warning("left out, the weights are written: %s", error)


def _unknown(kind: str, key: str) -> str:
    names = [field for group in own_groups(kind) for field in _groups()[group].fields_by_name]
    if not names:
        return f"caffe.proto has no parameters of {kind}, no {key!r}"
    near = did_you_mean(key, names)
    return f"Caffe's {kind} has no parameter {key!r}{near if '?' in near else ''}"


def set_field(target: Any, key: str, value: Any, who: str) -> None:
    """One field of a message, from the value that a YAML file gives it."""
    field = target.DESCRIPTOR.fields_by_name.get(key)
    if field is None:
        names = [f.name for f in target.DESCRIPTOR.fields]
        raise ConfigError(f"{who}: {target.DESCRIPTOR.name} has no field {key!r}{did_you_mean(key, names)}")
    try:
        _set(target, field, key, value, who)
    except (ValueError, TypeError, UnicodeError) as error:  # protobuf's own checks: ranges, UTF-8
        raise ConfigError(f"{who}: {key}: {value!r:.60} does not fit: {error}") from None


def _set(target: Any, field: Any, key: str, value: Any, who: str) -> None:
    if repeated(field):
        listed = value if _is_list_for(field, value) else [value]
        for item in listed:
            if field.message_type is not None:
                _fill(getattr(target, key).add(), item, f"{who}: {key}")
            else:
                getattr(target, key).append(_scalar(field, item, who))
    elif field.message_type is not None:
        getattr(target, key).SetInParent()
        _fill(getattr(target, key), value, f"{who}: {key}")
    elif isinstance(value, (list, tuple)) and key in HALVES and 1 <= len(value) <= 2:
        _set_halves(target, key, value, who)
    else:
        setattr(target, key, _scalar(field, value, who))


def _is_list_for(field: Any, value: Any) -> bool:
    """``[2, 3]`` is one shape, not a list of two."""
    if not isinstance(value, (list, tuple)):
        return False
    shapes = field.message_type is not None and field.message_type.name == "BlobShape"
    return not (shapes and value and all(type(v) is int for v in value))


def _set_halves(target: Any, key: str, value: Any, who: str) -> None:
    """``kernel_size: [3, 5]`` of a pooling layer is kernel_h and kernel_w in Caffe."""
    if value[0] == value[-1]:
        set_field(target, key, value[0], who)
    else:
        set_field(target, f"{HALVES[key]}_h", value[0], who)
        set_field(target, f"{HALVES[key]}_w", value[1], who)


def _fill(target: Any, value: Any, who: str) -> None:
    name = target.DESCRIPTOR.name
    if name == "BlobShape" and isinstance(value, (list, tuple)):
        value = {"dim": value}
    elif name == "FillerParameter" and isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{who}: expected a mapping, got {value!r:.60}")
    for key, inner in value.items():
        set_field(target, key, inner, who)


def _scalar(field: Any, value: Any, who: str) -> Any:
    """The value as protobuf wants it."""
    if field.enum_type is not None:
        found = field.enum_type.values_by_name.get(value) if isinstance(value, str) else None
        if found is None:
            near = did_you_mean(value, list(field.enum_type.values_by_name))
            raise ConfigError(f"{who}: {field.name}: Caffe has no {value!r}{near}")
        return found.number
    kinds: dict[Any, tuple[type, ...]] = {
        field.CPPTYPE_BOOL: (bool,),
        field.CPPTYPE_STRING: (str,),
        field.CPPTYPE_FLOAT: (int, float),
    }
    expected = kinds.get(field.cpp_type, (int,))
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise ConfigError(f"{who}: {field.name}: expected {expected[-1].__name__}, got {value!r:.60}")
    return value


def net_message(document: Mapping[str, Any], where: Callable[[int, str], str], strict: bool = True) -> Any:
    """A flat net as a message; ``where(index, key)`` gives the address of a layer's key.

    What Caffe's files cannot say is an error, or left out if not ``strict``.
    """
    net = message("NetParameter")
    for key in ("name", "force_backward", "debug_info"):
        if key in document:
            set_field(net, key, document[key], "the net")
    for index, layer in enumerate(document["layers"]):
        fill_layer(net.layer.add(), layer, partial(where, index), strict)
    return net


def solver_message(given: Mapping[str, Any], where: Callable[[str], str]) -> Any:
    """The settings that a solver file gives, as a message; nets inside are messages already."""
    solver = message("SolverParameter")
    for key, value in given.items():
        try:
            if key.endswith("net_param"):
                nets = getattr(solver, key)
                nets.CopyFrom(value) if key != "test_net_param" else nets.extend(value)
            elif key not in solver.DESCRIPTOR.fields_by_name:
                near = did_you_mean(key, list(solver.DESCRIPTOR.fields_by_name))
                raise ConfigError(f"Caffe's solver has no {key!r}{near if '?' in near else ''}")
            elif key == "test_iter" and "all" in (value if isinstance(value, (list, tuple)) else [value]):
                raise ConfigError("test_iter: Caffe has no `all`: give the number of batches of the test set")
            else:
                set_field(solver, key, value, "the solver")
        except ConfigError as error:
            raise ConfigError(f"{where(key)}: {error}") from None
    return solver
