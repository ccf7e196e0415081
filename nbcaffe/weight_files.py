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
from .params import did_you_mean

MODEL = ".caffemodel"  # protobuf; every other ending is HDF5
MOST_WEIGHTS = 1000  # of one layer
SMALL, MOST_PACKED = 64 << 20, 1100  # bytes; deflate packs no more than 1032 into one
Arrays = Mapping[str, Sequence[Any]]


def split_files(text: str | Path) -> list[Path]:
    """The files in Caffe's ``a.caffemodel,b.caffemodel``; a file whose name holds a comma is one file."""
    if isinstance(text, Path) or Path(text).is_file():
        return [Path(text)]
    return [Path(name.strip()) for name in text.split(",") if name.strip()]


def read_weights(path: str | Path) -> dict[str, list[Any]]:
    """Every layer's weights in a file, by the layer's name; what the file holds decides how it is read.

    None stands for a weight that another layer owns and that HDF5 files leave out.
    """
    path = Path(path)
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*") if p.is_file()] if path.name else []
        near = did_you_mean(path.name, beside)
        raise DataError(f"{path}: no such weight file{near if '?' in near else ''}")
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
        if not 0 <= min(arrays) <= max(arrays) < MOST_WEIGHTS:
            raise DataError(f"{path}: layer {layer!r}: expected weights 0, 1, ..., got {sorted(arrays)!s:.100}")
    return {layer: [arrays.get(i) for i in range(max(arrays) + 1)] for layer, arrays in found.items()}


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
        Each layer's weights, with None for those it borrows from another: what HDF5 stores.
    every
        With those: what a caffemodel stores.
    net
        The flat net (a mapping as in YAML), so that a caffemodel holds its layers' types and parameters, too.
    """
    if Path(path).suffix == MODEL:
        holes = [name for name, arrays in every.items() if any(values is None for values in arrays)]
        if holes:
            raise DataError(f"{path}: layer {holes[0]!r} borrows a weight; a caffemodel needs it: save it from the net")
        message = bare_net([n for n in every if every[n]]) if net is None else net_message(net, _anywhere, strict=False)
        return model_bytes(message, every, path)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        layers = file.create_group("data")
        for name, arrays in own.items():
            group = layers.require_group(name)
            for index, values in enumerate(arrays):
                if values is not None:
                    group.create_dataset(str(index), data=values)
    return memory.getvalue()


def _anywhere(index: int, key: str) -> str:
    return ""
