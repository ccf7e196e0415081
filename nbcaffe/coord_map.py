"""Where the values of one blob lie in another one's coordinates: what aligns the maps of fully convolutional nets.

A map is (axis, scale, shift): along the spatial axes behind ``axis``, place ``i`` in the input of a layer is
``scale * i + shift`` in its top.  An axis of None is the identity.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import layers
from .elementwise import Elementwise
from .errors import ConfigError
from .layer import REGISTRY
from .net_spec import Function, Top

SAME_PLACE = ("BatchNorm", "Bias", "Dropout", "Eltwise", "LRN", "MVN", "Scale", "Split")
IDENTITY = (None, 1, 0)
Map = tuple[int | None, Any, Any]


class UndefinedMapException(ConfigError):
    """A layer whose tops have no places in common with its bottoms."""


class AxisMismatchException(ConfigError):
    """Two maps of different axes."""


def coord_map(fn: Function) -> Map:
    """The map of one layer, from its bottoms to its tops."""
    if fn.type_name in ("Convolution", "Pooling", "Im2col", "Deconvolution"):
        axis, kernel, stride, pad = windows(fn)
        if fn.type_name == "Deconvolution":
            return axis, stride, (kernel - 1) / 2 - pad
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == "Crop":
        values = fn.spec.params
        return values["axis"] - 1, 1, -np.array(values["offset"] or (0,))
    if fn.type_name in SAME_PLACE or issubclass(REGISTRY[fn.type_name], Elementwise):
        return IDENTITY
    raise UndefinedMapException(f"{fn!r} has no map from the places of its bottoms to those of its tops")


def windows(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Channel axis, extent of the kernel with its dilation, stride and pad; one number, or one for each axis."""
    values = fn.spec.params
    if values.get("global_pooling"):
        raise UndefinedMapException(f"{fn!r} pools over all places")

    def sizes(name: str, short: str, default: int) -> np.ndarray:
        pair = [values.get(f"{short}_{side}") for side in "hw"]
        given = values.get(name) if pair == [None, None] else [default if n is None else n for n in pair]
        given = given or [default]
        return np.array(given[:1] if len(set(given)) == 1 else given)

    dilation = np.array(values.get("dilation") or (1,))
    kernel = (sizes("kernel_size", "kernel", 1) - 1) * dilation + 1
    return values.get("axis", 1), kernel, sizes("stride", "stride", 1), sizes("pad", "pad", 0)


def compose(base_map: Map, next_map: Map) -> Map:
    """First ``next_map``, then ``base_map``."""
    (axis, scale, shift), (other, scale2, shift2) = base_map, next_map
    if None not in (axis, other) and axis != other:
        raise AxisMismatchException(f"maps of the spatial axes behind {axis} and behind {other} do not combine")
    return (other if axis is None else axis), scale * scale2, scale * shift2 + shift


def inverse(coord_map: Map) -> Map:
    """The map from the top to the bottom."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from the places of ``top_from`` to those of ``top_to``, through a blob that both come from."""
    reached = ancestors(top_from)
    for top, to_map in ancestors(top_to).items():
        if top in reached:
            return compose(to_map, inverse(reached[top]))
    raise ConfigError(
        f"no map from {top_from!r} to {top_to!r}: they have no blob in common that only layers with places, such as "
        "Convolution, Pooling, Deconvolution and Crop, lead to"
    )


def ancestors(last: Top) -> dict[Top, Map]:
    """Each blob that a blob is made of, as far as places can be followed, nearest first, and the map from it."""
    if not isinstance(last, Top):
        raise ConfigError(f"coord_map: expected a top, as n.score, got {type(last).__name__} {last!r:.60}")
    found: dict[Top, Map] = {last: IDENTITY}
    queue = [last]
    for top in queue:  # it grows while it is walked
        try:
            step = coord_map(top.fn)
        except UndefinedMapException:
            continue
        for bottom in top.fn.inputs[: 1 if top.fn.type_name == "Crop" else None]:  # its second one gives a shape only
            if bottom not in found:
                found[bottom] = compose(found[top], step)
                queue.append(bottom)
    return found


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that cuts ``top_from`` to the places and the size of ``top_to``."""
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    offset = -np.atleast_1d(shift)
    who = f"crop of {top_from!r} to {top_to!r}"
    if np.any(scale != 1):
        raise ConfigError(f"{who}: expected equal scales, but the one has {scale} times the other's")
    if np.any(offset < 0):
        raise ConfigError(f"{who}: expected to cut something off, but the offset would be {offset.tolist()}")
    if np.any(offset != np.round(offset)):
        raise ConfigError(f"{who}: expected whole pixels to cut off, got {offset.tolist()}; change pad or kernel")
    first = 2 if axis is None else axis + 1
    made: Top = layers.Crop(top_from, top_to, axis=first, offset=[int(n) for n in offset])
    return made
