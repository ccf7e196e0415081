"""Batches from HDF5 files, streamed: only the rows that are needed, in blocks, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from .hdf5_files import DataFile, Source, find_files, inspect
from .order import Ordered, RowOrder

BLOCK_BYTES = 4 << 20  # read at a time: large enough for a disk, small enough to mix well
HELD_BYTES = 256 << 20  # fixed, not taken from the machine: the order of a shuffled set depends on it


class HDF5Source(Ordered):
    """Batches of rows of HDF5 datasets, one dataset per top, converted to the type of the arrays they are read into.

    Files follow each other, batches run across file boundaries, and after the last row comes the first one again.
    A set of up to 256 MB (as stored) is kept in memory once it has been read. Of a larger one, two blocks of 4 MB are
    kept when it is read in order, or 256 MB of blocks when it is shuffled (see `RowOrder`). A block is at least one
    row and at least one HDF5 chunk.

    Parameters
    ----------
    source
        An HDF5 file, a list of them, or Caffe's text file with one path a line.
    tops
        Names of the datasets to read; each has one row per sample.
    shuffle, key
        A fresh order each epoch, the same for the same key, epoch and data.
    scale
        Factor for the first top (ours, not Caffe's), so that pictures can be stored as bytes.
    folder
        Where relative paths start: the folder of the file that names ``source``.

    Attributes
    ----------
    size
        Rows of the whole set.
    batch_size
        May be changed at any time; what is read is as many rows as the arrays have.
    rows, epochs
        Row number in the whole set, and epoch, of each sample of the last batch.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        tops: Sequence[str],
        shuffle: bool = False,
        key: int = 0,
        *,
        scale: float = 1.0,
        folder: str | Path | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.scale = scale
        self.files = [inspect(path, self.tops) for path in find_files(source, folder)]
        _check_same_shapes(self.files, self.tops)
        self._blocks = _cut(self.files)
        self._file_starts = np.concatenate([[0], np.cumsum([file.rows for file in self.files])])
        window = max(2, HELD_BYTES // max(file.row_bytes * (hi - lo) for file, lo, hi in self._blocks))
        fits = sum(file.rows * file.row_bytes for file in self.files) <= HELD_BYTES
        window = len(self._blocks) if fits else window
        self._capacity = window if fits or shuffle else 2
        self._held: OrderedDict[int, list[np.ndarray]] = OrderedDict()
        self.order = RowOrder(np.array([hi - lo for _, lo, hi in self._blocks]), window, shuffle, key)
        self.name = str(self.files[0].path)
        self.rewind()

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of the batch of each top."""
        return tuple((self.batch_size, *shape) for shape in self.files[0].shapes)

    def read(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill one array per top with the next batch; when that fails, the cursor stays."""
        rows, _, after = self.order.take(*self._cursor, len(arrays[0]))
        blocks = np.searchsorted(self.order.starts, rows, side="right") - 1
        for block in np.unique(blocks):
            here = np.flatnonzero(blocks == block)
            inside = rows[here] - self.order.starts[block]
            for array, values in zip(arrays, self._block(int(block)), strict=True):
                array[here] = values[inside]
        if self.scale != 1.0:
            arrays[0][...] *= arrays[0].dtype.type(self.scale)
        self._cursor, self.rows = after, rows

    @property
    def ids(self) -> list[str]:
        """What to call each sample of the last batch in a message: 'sample 1234 of train.h5'."""
        owners = np.searchsorted(self._file_starts, self.rows, side="right") - 1
        return [
            f"sample {row - self._file_starts[owner]} of {self.files[owner].path}"
            for row, owner in zip(self.rows, owners, strict=True)
        ]

    def _block(self, number: int) -> list[np.ndarray]:
        """The rows of one block, from memory if they are there; the block unused for longest makes room."""
        if number not in self._held:
            if len(self._held) >= self._capacity:
                self._held.popitem(last=False)
            file, lo, hi = self._blocks[number]
            self._held[number] = file.read(self.tops, lo, hi)
        self._held.move_to_end(number)
        return self._held[number]


def _check_same_shapes(files: Sequence[DataFile], tops: Sequence[str]) -> None:
    first = files[0]
    for file in files[1:]:
        for top, shape, expected in zip(tops, file.shapes, first.shapes, strict=True):
            if shape != expected:
                raise DataError(
                    f"{file.path}: dataset '{top}' has rows of shape {shape}, expected {expected} as in {first.path}"
                )


def _cut(files: Sequence[DataFile]) -> list[tuple[DataFile, int, int]]:
    """Blocks (file, first row, end) of contiguous rows that do not cut HDF5's own chunks."""
    blocks = []
    for file in files:
        rows = max(1, BLOCK_BYTES // file.row_bytes)
        rows = max(file.chunk_rows, rows - rows % file.chunk_rows)
        blocks += [(file, lo, min(lo + rows, file.rows)) for lo in range(0, file.rows, rows)]
    return blocks
