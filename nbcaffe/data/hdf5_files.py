"""Finding, opening and checking the HDF5 files behind a data layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..errors import DataError
from ..params import did_you_mean
from .sets import remedy

SUFFIXES = {".h5", ".hdf5", ".hdf"}
Source = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class DataFile:
    """An HDF5 file that holds every top, with the same number of rows of each."""

    path: Path
    rows: int
    shapes: tuple[tuple[int, ...], ...]  # of one row, per top
    row_bytes: int
    chunk_rows: int  # rows that HDF5 reads at a time anyway

    def read(self, tops: Sequence[str], lo: int, hi: int) -> list[np.ndarray]:
        """Rows ``lo`` to ``hi`` of each top, all finite."""
        with open_hdf5(self.path) as file:
            return [self._read(file, top, lo, hi) for top in tops]

    def _read(self, file: h5py.File, top: str, lo: int, hi: int) -> np.ndarray:
        try:
            values = file[top][lo:hi]
        except (OSError, KeyError) as error:
            raise DataError(f"{self.path}: dataset '{top}': rows {lo} to {hi - 1} cannot be read: {error}") from error
        if len(values) != hi - lo:
            raise DataError(f"{self.path}: dataset '{top}' has changed since it was opened: row {hi - 1} is gone")
        finite = values.dtype.kind != "f" or bool(np.isfinite(values).all())
        if not finite:
            sound = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            row = lo + int(np.argmin(sound))
            kind = "a NaN" if np.isnan(values[row - lo]).any() else "an infinity"
            raise DataError(f"{self.path}: dataset '{top}', row {row} holds {kind}; remove or mend the sample")
        return values


def open_hdf5(path: Path) -> h5py.File:
    """The file, open for reading, or one message that says what is wrong with it."""
    if not path.exists():
        raise DataError(f"{path}: no such file{remedy(path)}")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            size = path.stat().st_size
            raise DataError(f"{path}: truncated HDF5 file, it ends after {size} bytes; copy it again") from error
        if path.is_file() and not h5py.is_hdf5(path):
            raise DataError(f"{path}: not an HDF5 file, or damaged at its start") from error
        raise DataError(f"{path}: cannot be opened: {error}") from error


def find_files(source: Source, folder: str | Path | None = None) -> list[Path]:
    """The HDF5 files that ``source`` means: one file, a list of files, or Caffe's text file with one path a line.

    Relative paths count from ``folder`` (or, inside a list file, from the list file's folder) and, when nothing is
    there, from the working directory as in Caffe.
    """
    if not isinstance(source, str | Path):
        if not source:
            raise DataError("source: an empty list of files; expected at least one HDF5 file")
        return [locate(item, folder) for item in source]
    path = locate(source, folder)
    if path.suffix in SUFFIXES or h5py.is_hdf5(path):
        return [path]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: neither an HDF5 file nor a text file that lists HDF5 files") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(f"{path}: an empty list; expected one HDF5 file a line")
    return [locate(name, path.parent, listed_in=path) for name in names]


def locate(name: str | Path, folder: str | Path | None, listed_in: Path | None = None) -> Path:
    """A file that exists: from ``folder``, else from the working directory."""
    here = Path(name)
    near = Path(folder or ".") / here
    for path in (near, here):
        if path.exists():
            return path
    by = f"{listed_in}: " if listed_in else ""
    also = "" if near == here else f" (nor {here} in the working directory)"
    raise DataError(f"{by}{near}: no such file{also}{remedy(near)}")


def inspect(path: Path, tops: Sequence[str]) -> DataFile:
    """What the file holds for the given tops, checked for everything that can be seen without reading a row."""
    with open_hdf5(path) as file:
        sets = [numbers(path, file, top) for top in tops]
        lengths = {top: len(dataset) for top, dataset in zip(tops, sets, strict=True)}
        if len(set(lengths.values())) > 1:
            got = ", ".join(f"'{top}' {rows}" for top, rows in lengths.items())
            raise DataError(f"{path}: datasets of different lengths ({got}); each row is one sample of every top")
        rows = len(sets[0])
        if rows == 0:
            raise DataError(f"{path}: empty, dataset '{tops[0]}' has no rows")
        widths = [dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64)) for dataset in sets]
        widest = sets[int(np.argmax(widths))]
        chunk = widest.chunks[0] if widest.chunks else 1
        return DataFile(path, rows, tuple(d.shape[1:] for d in sets), max(1, sum(widths)), chunk)


def numbers(path: Path, file: h5py.File, top: str) -> h5py.Dataset:
    """The dataset of a name, which holds numbers and has rows."""
    dataset = file.get(top)
    if dataset is None:
        raise DataError(f"{path}: no dataset '{top}'{did_you_mean(top, list(file))}; a top is named as its dataset")
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{path}: '{top}' is a group, expected a dataset of numbers")
    if dataset.dtype.kind not in "biuf":
        raise DataError(f"{path}: dataset '{top}' has type {dataset.dtype}, expected integers or floats")
    if dataset.ndim == 0:
        raise DataError(f"{path}: dataset '{top}' is a single number, expected one row a sample")
    return dataset
