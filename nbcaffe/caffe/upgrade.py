"""Old nets and solvers in today's form, as Caffe itself upgrades them when it reads a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import ConfigError
from .schema import message
from .text import Lines

V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
CONV, POOL, PRODUCT, LRN = "convolution_param", "pooling_param", "inner_product_param", "lrn_param"
SOURCES = {
    "data": "data_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "window_data": "window_data_param",
}
TRANSFORM = dict.fromkeys(SOURCES, "transform_param")
WINDOW = {"window_data": "window_data_param"}

# V0's field: today's name, and for each V0 type that has it the group it went to
V0_FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "num_output": ("num_output", {"conv": CONV, "innerproduct": PRODUCT}),
    "biasterm": ("bias_term", {"conv": CONV, "innerproduct": PRODUCT}),
    "weight_filler": ("weight_filler", {"conv": CONV, "innerproduct": PRODUCT}),
    "bias_filler": ("bias_filler", {"conv": CONV, "innerproduct": PRODUCT}),
    "pad": ("pad", {"conv": CONV, "pool": POOL}),
    "kernelsize": ("kernel_size", {"conv": CONV, "pool": POOL}),
    "group": ("group", {"conv": CONV}),
    "stride": ("stride", {"conv": CONV, "pool": POOL}),
    "pool": ("pool", {"pool": POOL}),
    "dropout_ratio": ("dropout_ratio", {"dropout": "dropout_param"}),
    "local_size": ("local_size", {"lrn": LRN}),
    "alpha": ("alpha", {"lrn": LRN}),
    "beta": ("beta", {"lrn": LRN}),
    "k": ("k", {"lrn": LRN}),
    "source": ("source", {**SOURCES, "infogain_loss": "infogain_loss_param"}),
    "batchsize": ("batch_size", SOURCES),
    "scale": ("scale", TRANSFORM),
    "meanfile": ("mean_file", TRANSFORM),
    "cropsize": ("crop_size", TRANSFORM),
    "mirror": ("mirror", TRANSFORM),
    "rand_skip": ("rand_skip", {"data": "data_param", "images": "image_data_param"}),
    "shuffle_images": ("shuffle", {"images": "image_data_param"}),
    "new_height": ("new_height", {"images": "image_data_param"}),
    "new_width": ("new_width", {"images": "image_data_param"}),
    "concat_dim": ("concat_dim", {"concat": "concat_param"}),
    "det_fg_threshold": ("fg_threshold", WINDOW),
    "det_bg_threshold": ("bg_threshold", WINDOW),
    "det_fg_fraction": ("fg_fraction", WINDOW),
    "det_context_pad": ("context_pad", WINDOW),
    "det_crop_mode": ("crop_mode", WINDOW),
}
# Words whose today's spelling is more than capitals
WORDS = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
OLD_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")  # stood in the data layers' own groups
TRANSFORMED = ("data_param", "image_data_param", "window_data_param")


def upgrade_net(net: Any, lines: Lines, path: str) -> tuple[Any, list[Lines]]:
    """The net in today's form, and where each of its layers was written."""

    def fail(index: int, why: str, field: str = "layers") -> None:
        line = lines.of(field, index).line
        raise ConfigError(f"{path}{f':{line}' if line else ''}: {why}")

    if net.layers and net.layer:
        fail(0, "expected old layers (`layers`) or new ones (`layer`), got both")
    old = [(layer, lines.of("layers", i)) for i, layer in enumerate(net.layers)]
    if any(layer.HasField("layer") for layer, _ in old):
        old = _from_v0(old, fail)
    layers = [(_from_v1(layer, partial(fail, i)), at) for i, (layer, at) in enumerate(old)]
    layers += [(layer, lines.of("layer", i)) for i, layer in enumerate(net.layer)]
    for layer, _ in layers:
        _batch_norm(layer)
    if net.input:
        layers.insert(0, (_input_layer(net, lambda field, why: fail(0, why, field)), lines.of("input")))
    elif net.input_shape or net.input_dim:
        fail(0, "input_shape and input_dim belong to an `input`, and there is none", "input_shape")
    new = message("NetParameter")
    new.CopyFrom(net)
    for field in ("layer", "layers", "input", "input_shape", "input_dim"):
        new.ClearField(field)
    new.layer.extend(layer for layer, _ in layers)
    return new, [at for _, at in layers]


def _from_v0(old: list[tuple[Any, Lines]], fail: Callable[..., None]) -> list[tuple[Any, Lines]]:
    """V1 layers; a padding layer goes into the `pad` of the layer that reads it."""
    padding: dict[str, tuple[Any, int]] = {}  # its top -> the layer, and which it is
    new = []
    for index, (layer, at) in enumerate(old):
        if not layer.HasField("layer"):
            fail(index, f"layer {layer.name!r}: the net mixes layers of V0 and of V1")
        if layer.layer.type == "padding":
            if len(layer.bottom) != 1 or len(layer.top) != 1:
                fail(index, f"padding layer {layer.layer.name!r}: expected one bottom and one top")
            padding[layer.top[0]] = layer, index
            continue
        made = _v0_layer(layer, partial(fail, index))
        for position, bottom in enumerate(layer.bottom):
            if bottom in padding:
                pad = padding[bottom][0]
                if layer.layer.type not in ("conv", "pool") or len(layer.bottom) != 1:
                    fail(index, f"layer {made.name!r}: only a conv or a pool of one bottom can follow a padding layer")
                group = getattr(made, V0_FIELDS["pad"][1][layer.layer.type])
                _set(group, "pad", pad.layer.pad)
                made.bottom[position] = pad.bottom[0]
        for top in layer.top:
            padding.pop(top, None)
        new.append((made, at))
    return new


def _v0_layer(old: Any, fail: Callable[[str], None]) -> Any:
    new, v0 = message("V1LayerParameter"), old.layer
    new.name, kind = v0.name, v0.type
    new.bottom.extend(old.bottom)
    new.top.extend(old.top)
    if kind not in V0_TYPES:
        fail(f"layer {v0.name!r}: no layer type {kind!r} in files of V0")
    new.type = new.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_name[V0_TYPES[kind]].number
    for field, value in v0.ListFields():
        name = field.name
        if name in ("name", "type"):
            continue
        if name in ("blobs", "blobs_lr", "weight_decay"):
            getattr(new, name).extend(value)
        elif name == "hdf5_output_param":
            new.hdf5_output_param.CopyFrom(value)
        else:
            today, groups = V0_FIELDS.get(name, ("", {}))
            if kind not in groups:
                fail(f"layer {v0.name!r}: a {kind!r} layer of V0 has no {name!r}")
            _set(getattr(new, groups[kind]), today, value)
    return new


def _set(group: Any, name: str, value: Any) -> None:
    """Set a field, whether it has become repeated, is a message, or neither."""
    field = group.DESCRIPTOR.fields_by_name[name]
    if field.message_type is not None:
        getattr(group, name).CopyFrom(value)
    elif isinstance(getattr(group, name), (str, bytes, int, float)):
        setattr(group, name, value)
    else:
        del getattr(group, name)[:]
        getattr(group, name).append(value)


def _from_v1(old: Any, fail: Callable[[str], None]) -> Any:
    new = message("LayerParameter")
    word = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[old.type].name
    if word == "NONE":
        fail(f"layer {old.name!r} needs a type")
    new.name, new.type = old.name, WORDS.get(word) or "".join(part.capitalize() for part in word.split("_"))
    params = max(len(old.param), len(old.blob_share_mode), len(old.blobs_lr), len(old.weight_decay))
    specs = [new.param.add() for _ in range(params)]
    renamed = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult", "weight_decay": "decay_mult"}
    for name, today in renamed.items():
        for spec, value in zip(specs, getattr(old, name), strict=False):
            setattr(spec, today, value)
    for field, value in old.ListFields():
        if field.name in new.DESCRIPTOR.fields_by_name and field.name not in ("name", "type", "param"):
            here = getattr(new, field.name)
            if hasattr(here, "CopyFrom"):
                here.CopyFrom(value)
            else:
                here.extend(value)
    for group in TRANSFORMED:
        if new.HasField(group):
            _move_transform(getattr(new, group), new)
    return new


def _move_transform(group: Any, layer: Any) -> None:
    for name in OLD_TRANSFORM:
        if group.HasField(name):
            setattr(layer.transform_param, name, getattr(group, name))
            group.ClearField(name)


def _batch_norm(layer: Any) -> None:
    """Its three sums are not learned; old files said so with three rules of lr_mult 0 that left their decay on."""
    if layer.type == "BatchNorm" and len(layer.param) == 3:
        for rule in layer.param:
            rule.lr_mult = rule.decay_mult = 0.0


def _input_layer(net: Any, fail: Callable[[str, str], None]) -> Any:
    """The layer that `input` with `input_shape` or `input_dim` stands for."""
    layer = message("LayerParameter")
    layer.name, layer.type = "input", "Input"
    layer.top.extend(net.input)
    count = len(net.input)
    if net.input_shape and net.input_dim:
        fail("input_dim", "expected input_shape or input_dim, got both")
    if net.input_shape:
        if len(net.input_shape) != count:
            fail("input_shape", f"expected one input_shape for each of {count} inputs, got {len(net.input_shape)}")
        layer.input_param.shape.extend(net.input_shape)
    elif len(net.input_dim) != 4 * count:
        fail("input_dim", f"input_dim: expected 4 numbers for each of {count} inputs, got {len(net.input_dim)}")
    else:
        for k in range(0, 4 * count, 4):
            layer.input_param.shape.add().dim.extend(net.input_dim[k : k + 4])
    return layer


SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")  # in the order of the old enum


def upgrade_solver(solver: Any, lines: Lines, path: str) -> Any:
    """The solver's type in words."""
    if not solver.HasField("solver_type"):
        return solver
    if solver.HasField("type"):
        line = lines.of("solver_type").line
        raise ConfigError(f"{path}{f':{line}' if line else ''}: expected type or the old solver_type, got both")
    new = message("SolverParameter")
    new.CopyFrom(solver)
    new.type = SOLVER_TYPES[new.solver_type]
    new.ClearField("solver_type")
    return new
