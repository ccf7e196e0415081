"""Samples between an LMDB of Datum and HDF5, a few at a time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np

from ..caffe.datum import Sample, datum_bytes
from ..caffe.lmdb_file import Lmdb
from ..caffe.schema import need
from ..errors import DataError
from .hdf5 import HDF5Source
from .hdf5_files import open_hdf5

AT_ONCE = 256  # samples in memory
ROOM = 1 << 20  # bytes of a new database beyond its samples, for pages that are not full


def is_database(path: str | Path) -> bool:
    """Whether this is a folder with an LMDB, or with a LevelDB, about which opening it complains."""
    return Path(path).is_dir()


def database_to_hdf5(source: Path, target: Path) -> int:
    """Every sample into the datasets ``data`` and ``label``; pictures must be of one size."""
    database = Lmdb(source)
    records = database.records()
    if not records:
        raise DataError(f"{source}: the database is empty")
    part = target.with_name(target.name + ".part")
    try:
        with h5py.File(part, "w") as file:
            for at in range(0, len(records), AT_ONCE):
                some = records[at : at + AT_ONCE]
                samples = [
                    Sample(database.value(r), f"{source}, key {r.key[:60].decode(errors='replace')}") for r in some
                ]
                arrays = [sample.array() for sample in samples]
                if not at:
                    first = arrays[0]
                    shape = (len(records), *first.shape)
                    data = file.create_dataset("data", shape, first.dtype, chunks=(1, *first.shape))
                    label = file.create_dataset("label", (len(records),), np.int32)
                for sample, array in zip(samples, arrays, strict=True):
                    if array.shape != first.shape or array.dtype != first.dtype:
                        what = f"{array.shape} of {array.dtype}, the first is {first.shape} of {first.dtype}"
                        raise DataError(f"{sample.who}: {what}; HDF5 holds samples of one shape")
                data[at : at + len(some)] = np.stack(arrays)
                label[at : at + len(some)] = [sample.label for sample in samples]
        os.replace(part, target)
    except OSError as error:
        raise DataError(f"{target}: could not be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return len(records)


def hdf5_to_database(source: Path, target: Path) -> int:
    """Every row of ``data`` with its whole number in ``label``; bytes stay bytes, other numbers become float32."""
    lmdb = need("lmdb")
    rows = HDF5Source(source, AT_ONCE, ("data", "label"))
    shape = rows.shapes[0][1:]
    if len(shape) > 3:
        raise DataError(f"{source}: samples of shape {shape}; a Datum has channels, height and width")
    with open_hdf5(rows.files[0].path) as file:
        stored = np.uint8 if file["data"].dtype == np.uint8 else np.float32
    shape = (*shape, 1, 1, 1)[:3]
    size = rows.size * (int(np.prod(shape)) * (1 if stored is np.uint8 else 5) + 4096)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with lmdb.open(str(part), map_size=2 * size + ROOM) as database:
            for at in range(0, rows.size, AT_ONCE):
                count = min(AT_ONCE, rows.size - at)
                data, labels = np.empty((count, *rows.shapes[0][1:]), stored), np.empty((count, *rows.shapes[1][1:]))
                rows.read([data, labels])
                with database.begin(write=True) as transaction:
                    for i, (values, label) in enumerate(zip(data, _whole(labels, source, at), strict=True)):
                        transaction.put(b"%08d" % (at + i), datum_bytes(values.reshape(shape), label), append=True)
        (part / "lock.mdb").unlink(missing_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(part, target)
    except (OSError, lmdb.Error) as error:
        raise DataError(f"{target}: could not be written: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return rows.size


def _whole(labels: np.ndarray, source: Path, at: int) -> list[int]:
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1 or (flat != np.round(flat)).any():
        raise DataError(f"{source}: a Datum has one label, a whole number; the rows from {at} on have others")
    return [int(label) for label in flat[:, 0]]
