"""Files of trained weights: Caffe's HDF5 layout ``/data/<layer>/<index>``, and caffemodels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .caffe.blobs import bare_net, model_bytes, read_model
from .caffe.fields import net_message
from .errors import DataError

MODEL = ".caffemodel"  # protobuf; every other ending is HDF5
SMALL, MOST_PACKED = 64 << 20, 1100  # bytes; deflate packs no more than 1032 into one
Arrays = Mapping[str, Sequence[np.ndarray]]


def read_weights(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Every layer's weights in a file, by the layer's name; what the file holds decides how it is read."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such weight file")
    if path.suffix == MODEL and not h5py.is_hdf5(path):
        return read_model(path)
    try:
        with h5py.File(path) as file:
            found: dict[str, dict[int, np.ndarray]] = {}

            def visit(name: str, item: object) -> None:
                # a layer's name may hold slashes: its group is the one right above the numbered datasets
                if isinstance(item, h5py.Dataset):
                    layer, _, index = name.rpartition("/")
                    found.setdefault(layer, {})[int(index)] = read_array(item, path)

            file["data"].visititems(visit)
    except (OSError, KeyError, AttributeError, ValueError, RuntimeError, TypeError) as error:
        raise DataError(f"{path}: not a weight file in Caffe's HDF5 layout, or truncated: {error}") from None
    for layer, arrays in found.items():
        if sorted(arrays) != list(range(len(arrays))):
            raise DataError(f"{path}: layer {layer!r}: expected weights 0 to {len(arrays) - 1}, got {sorted(arrays)}")
    return {layer: [arrays[i] for i in sorted(arrays)] for layer, arrays in found.items()}


def read_array(dataset: Any, path: str | Path) -> np.ndarray:
    """A dataset of numbers, if it lies in this file and is not much larger than what the file holds of it."""
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf" or dataset.shape is None:
        raise DataError(f"{path}: {dataset.name!r} is not an array of numbers")
    if dataset.external or dataset.is_virtual:
        raise DataError(f"{path}: {dataset.name!r} lies in another file")
    packed = dataset.id.get_storage_size()
    if dataset.nbytes > SMALL and dataset.nbytes > MOST_PACKED * packed:
        raise DataError(f"{path}: {dataset.name!r} claims {dataset.nbytes} bytes, the file holds {packed} of them")
    return dataset[()]


def weights_bytes(path: str | Path, own: Arrays, every: Arrays, net: Any = None) -> bytes:
    """The content of a weight file, in the format that its name ends in.

    Parameters
    ----------
    own
        Each layer's weights without those it borrows from another: what HDF5 stores.
    every
        With those: what a caffemodel stores.
    net
        The flat net (a mapping as in YAML), so that a caffemodel holds its layers' types and parameters, too.
    """
    if Path(path).suffix == MODEL:
        message = bare_net([n for n in every if every[n]]) if net is None else net_message(net, _anywhere, strict=False)
        return model_bytes(message, every, path)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        layers = file.create_group("data")
        for name, arrays in own.items():
            group = layers.require_group(name)
            for index, values in enumerate(arrays):
                group.create_dataset(str(index), data=values)
    return memory.getvalue()


def _anywhere(index: int, key: str) -> str:
    return ""
