"""Arrays in Caffe's messages: weights, histories and means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .schema import message
from .text import read_binary

MOST_AXES = 32  # Caffe's limit
PRODUCTS = ("InnerProduct", "innerproduct", 14)  # the type in files of today, of V0 and of V1
OLD_AXES = ("num", "channels", "height", "width")


def array_of(blob: Any, who: str) -> np.ndarray:
    """The float32 array in a raw BlobProto; its shape must be that of its numbers."""
    shape, (values, dtype) = shape_of(blob), stored(blob)
    if len(shape) > MOST_AXES or min(shape, default=0) < 0:
        raise DataError(f"{who}: not a blob's shape: {shape!s:.100}")
    if prod(shape) * dtype.itemsize != len(values):
        blob = unpacked(blob)
        values, dtype = stored(blob)
    if prod(shape) * dtype.itemsize != len(values):
        got = f"{len(values) // dtype.itemsize} numbers"
        raise DataError(f"{who}: shape {shape!s:.100} has {prod(shape)} numbers, the file has {got}")
    return np.frombuffer(values, dtype).reshape(shape).astype(np.float32)


def shape_of(blob: Any) -> tuple[int, ...]:
    """The shape, also where an old file says it with four numbers."""
    if is_old(blob):
        return tuple(getattr(blob, axis) for axis in OLD_AXES)
    return tuple(blob.shape.dim)


def is_old(blob: Any) -> bool:
    return any(blob.HasField(axis) for axis in OLD_AXES)


def stored(blob: Any) -> tuple[bytes, np.dtype]:
    """The numbers of a raw BlobProto, in the precision they were written with."""
    double = bool(blob.double_data)
    return (blob.double_data if double else blob.data), np.dtype("<f8" if double else "<f4")


def unpacked(blob: Any) -> Any:
    """The same blob from a writer that puts a tag before each number."""
    known = message("BlobProto")
    try:
        known.ParseFromString(blob.SerializeToString())
    except Exception:  # protobuf's DecodeError: the sizes stay wrong
        return blob
    again = message("BlobProto", raw=True)
    again.data = np.array(known.data, "<f4").tobytes()
    again.double_data = np.array(known.double_data, "<f8").tobytes()
    return again


def fill_blob(blob: Any, values: np.ndarray, old: bool = False) -> None:
    """Put an array into a raw BlobProto; ``old``: its four axes as num, channels, height and width."""
    if old:
        for axis, size in zip(OLD_AXES, values.shape, strict=True):
            setattr(blob, axis, size)
    else:
        blob.shape.SetInParent()
        blob.shape.dim.extend(values.shape)
    blob.data = np.ascontiguousarray(values, "<f4").tobytes()


# Files


def read_binaryproto(path: str | Path) -> np.ndarray:
    """The array of a ``.binaryproto``, such as a mean image."""
    return array_of(read_binary(path, "BlobProto", raw=True), str(path))


def blob_bytes(values: np.ndarray) -> bytes:
    """A ``.binaryproto``; four axes as compute_image_mean writes them."""
    blob = message("BlobProto", raw=True)
    fill_blob(blob, values, old=values.ndim == 4)
    return blob.SerializeToString()


def read_model(path: str | Path) -> dict[str, list[np.ndarray]]:
    """The weights of every layer in a ``.caffemodel``, of any version."""
    net = read_binary(path, "NetParameter", raw=True)
    found: dict[str, list[np.ndarray]] = {}
    for layer in (*net.layers, *net.layer):
        if layer.DESCRIPTOR.name == "V1LayerParameter" and layer.HasField("layer"):
            layer = layer.layer
        name, blobs = layer.name, layer.blobs
        if not blobs:
            continue
        if not isinstance(name, str):
            raise DataError(f"{path}: damaged: a layer's name is not UTF-8: {name!r:.60}")
        if name in found:
            raise DataError(f"{path}: two layers with weights are called {name!r}")
        arrays = [array_of(blob, f"{path}: layer {name!r}, weight {i}") for i, blob in enumerate(blobs)]
        if all(map(is_old, blobs)):
            arrays = [_modern(values, i, layer.type in PRODUCTS) for i, values in enumerate(arrays)]
        found[name] = arrays
    if not net.layers and not net.layer:
        raise DataError(f"{path}: not a caffemodel, or empty: it has no layers")
    return found


def _modern(values: np.ndarray, index: int, product: bool) -> np.ndarray:
    """Old files pad every shape to four axes: a bias is 1 x 1 x 1 x n, the matrix of an InnerProduct 1 x 1 x n x k."""
    if index and values.shape[:3] == (1, 1, 1):
        return values.reshape(-1)
    return values[0, 0] if product and not index and values.shape[:2] == (1, 1) else values


def model_bytes(net: Any, weights: Mapping[str, Sequence[np.ndarray]], path: str | Path) -> bytes:
    """A ``.caffemodel``: the layers of a net (a message), each with its weights."""
    raw = message("NetParameter", raw=True)
    raw.ParseFromString(net.SerializePartialToString())
    present = {layer.name for layer in raw.layer}
    for name in weights:
        if weights[name] and name not in present:  # of an unrolled layer, whose copies have names of their own
            raw.layer.add().name = name
    for layer in raw.layer:
        for values in weights.get(layer.name, ()):
            fill_blob(layer.blobs.add(), np.asarray(values))
    size = raw.ByteSize()
    if size >= 1 << 31:
        raise DataError(f"{path}: {size} bytes do not fit into a caffemodel (2 GB); save as .caffemodel.h5")
    return raw.SerializePartialToString()


def bare_net(names: Mapping[str, Any] | Sequence[str]) -> Any:
    """A net of which only the layers' names are known."""
    net = message("NetParameter")
    for name in names:
        net.layer.add(name=name)
    return net


def read_state(path: str | Path) -> tuple[int, str, int, list[np.ndarray], str]:
    """Iteration, path of the weights, step of the learning rate, histories, and our notes of a ``.solverstate``."""
    state = read_binary(path, "SolverState", raw=True)
    if not state.HasField("iter"):
        raise DataError(f"{path}: not a solver state: it has no iteration")
    if state.iter < 0 or state.current_step < 0:
        raise DataError(f"{path}: not a solver state: iteration {state.iter}, step {state.current_step}")
    history = [array_of(blob, f"{path}: history {i}") for i, blob in enumerate(state.history)]
    return state.iter, state.learned_net, state.current_step, history, state.nbcaffe


def state_bytes(
    iteration: int, learned_net: str, current_step: int, history: Sequence[np.ndarray], notes: str
) -> bytes:
    """A ``.solverstate``."""
    state = message("SolverState", raw=True)
    state.iter, state.learned_net, state.current_step = iteration, learned_net, current_step
    if notes:
        state.nbcaffe = notes
    for values in history:
        fill_blob(state.history.add(), values)
    return state.SerializeToString()
