"""Datasets of sequences of unequal length, which an HDF5 file holds one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import DataError
from .hdf5 import HELD_BYTES
from .hdf5_files import numbers, open_hdf5
from .vocabulary import Vocabulary

OFFSETS = {"data": "offsets", "target": "target_offsets"}  # where the sequences of a dataset begin


@dataclass(frozen=True)
class OnDisk:
    """A dataset too large to be held; the file is open only while rows are read."""

    path: Path
    name: str
    shape: tuple[int, ...]

    def __getitem__(self, rows: int | slice) -> Any:
        with open_hdf5(self.path) as file:
            try:
                return file[self.name][rows]
            except (OSError, KeyError, ValueError, IndexError) as error:
                raise DataError(f"{self.path}: dataset {self.name[1:]!r}: rows cannot be read: {error}") from None


Values = np.ndarray | OnDisk


@dataclass(frozen=True)
class Ragged:
    """Sequences of one dataset: the rows ``starts[i]`` to ``starts[i + 1]`` are sequence i.

    Attributes
    ----------
    values
        Of all sequences.
    steps
        The length to pad to, or to cut.
    vocabulary
        The symbols that the values are indices of.
    """

    path: Path
    name: str
    values: Values
    starts: np.ndarray
    steps: int
    vocabulary: Vocabulary | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def stored_lengths(self) -> np.ndarray:
        """Of every sequence of the file."""
        return np.diff(self.starts)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """How many steps of these sequences are read."""
        return np.minimum(self.starts[rows + 1] - self.starts[rows], self.steps)

    def padded(self, rows: np.ndarray, pad: float) -> np.ndarray:
        """These sequences, time first: (steps, rows, ...) in float32."""
        out = np.full((self.steps, len(rows), *self.values.shape[1:]), pad, np.float32)
        for i, (start, length) in enumerate(zip(self.starts[rows], self.lengths(rows), strict=True)):
            out[:length, i] = self._checked(self.values[start : start + length], rows[i])
        return out

    def _checked(self, values: np.ndarray, row: int) -> np.ndarray:
        known, where = self.vocabulary, f"{self.path}: dataset {self.name!r}, sequence {row}"
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(f"{where} holds a NaN or an infinity; remove or mend the sequence")
        if known is not None and not 0 <= values.min() <= values.max() < len(known):
            wrong = values.min() if values.min() < 0 else values.max()
            raise DataError(f"{where} holds the index {wrong}, its vocabulary has {len(known)} symbols")
        return values


def read_ragged(path: Path, file: h5py.File, name: str, steps: int) -> Ragged:
    """The dataset of a name with its offsets, and its vocabulary if the file has one."""
    dataset = numbers(path, file, name)
    starts = _starts(path, numbers(path, file, OFFSETS[name]), dataset)
    return Ragged(path, name, held(path, dataset), starts, steps, _vocabulary(path, file, name))


def held(path: Path, dataset: h5py.Dataset) -> Values:
    """The values in memory, if they are not too many."""
    return dataset[()] if dataset.nbytes <= HELD_BYTES else OnDisk(path, dataset.name, dataset.shape)


def _starts(path: Path, offsets: h5py.Dataset, dataset: h5py.Dataset) -> np.ndarray:
    """Offsets that rise from 0 to the number of rows."""
    where, total = f"{path}: dataset {offsets.name[1:]!r}", len(dataset)
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 2:
        raise DataError(f"{where}: expected n + 1 integers for n sequences, got {offsets.dtype} of {offsets.shape}")
    starts = offsets[()].astype(np.int64)
    falls = np.diff(starts) < 1
    if falls.any():
        row = int(np.argmax(falls))
        raise DataError(f"{where} must rise: sequence {row} goes from {starts[row]} to {starts[row + 1]}")
    if (starts[0], starts[-1]) != (0, total):
        ends = f"from {starts[0]} to {starts[-1]}"
        raise DataError(f"{where} goes {ends}, expected from 0 to {total}, the rows of {dataset.name[1:]!r}")
    return starts


def _vocabulary(path: Path, file: h5py.File, name: str) -> Vocabulary | None:
    stored = file.get(f"vocabulary/{name}")
    if stored is None:
        return None
    try:
        symbols = [str(symbol) for symbol in stored.asstr("utf-8")[()]]
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: dataset 'vocabulary/{name}': expected a list of symbols in UTF-8: {error}") from None
    return Vocabulary(symbols, "char" if all(len(symbol) == 1 for symbol in symbols) else "word")
