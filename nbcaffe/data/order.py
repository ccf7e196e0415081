"""Which row of a data set comes at which position of an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DataError
from ..rng import key as derive_key, permutation


class RowOrder:
    """The order of the rows in each epoch, as a pure function of the key and the epoch.

    Without shuffling it is the order of the files. With shuffling and one window it is one permutation of all rows,
    the same whatever files they lie in. A set too big to be held is shuffled in two levels: its blocks of contiguous
    rows are permuted and dealt into windows that fit in memory, and the rows of a window are permuted.

    Parameters
    ----------
    lengths
        Number of rows in each block.
    window
        How many blocks can be held at a time.
    """

    def __init__(self, lengths: np.ndarray, window: int, shuffle: bool, key: int) -> None:
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.size = int(self.starts[-1])
        self.window = window
        self.shuffle = shuffle
        self.key = key
        self._held: tuple[tuple[int, int], np.ndarray] | None = None

    def take(self, epoch: int, position: int, count: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """The rows of the next ``count`` positions, the epoch each belongs to, and the position after them."""
        rows = np.empty(count, np.int64)
        epochs = np.empty(count, np.int64)
        done = 0
        while done < count:
            piece = self._piece(epoch, position, count - done)
            rows[done : done + len(piece)] = piece
            epochs[done : done + len(piece)] = epoch
            done += len(piece)
            position += len(piece)
            if position == self.size:
                epoch, position = epoch + 1, 0
        return rows, epochs, (epoch, position)

    def _piece(self, epoch: int, position: int, count: int) -> np.ndarray:
        """Up to ``count`` rows from ``position``, as far as one window reaches."""
        if not self.shuffle:
            return np.arange(position, min(position + count, self.size))
        blocks = self._blocks(epoch)
        ends = np.cumsum(np.diff(self.starts)[blocks])[self.window - 1 :: self.window]
        number = int(np.searchsorted(ends, position, side="right"))
        first = int(ends[number - 1]) if number else 0
        return self._window(epoch, number, blocks)[position - first : position - first + count]

    def _blocks(self, epoch: int) -> np.ndarray:
        count = len(self.starts) - 1
        if count <= self.window:  # one window: the geometry of the blocks must not show in the order
            return np.arange(count)
        return permutation(derive_key(self.key, "blocks"), epoch, count)

    def _window(self, epoch: int, number: int, blocks: np.ndarray) -> np.ndarray:
        """The shuffled rows of one window; the last one asked for is kept."""
        if self._held is None or self._held[0] != (epoch, number):
            mine = blocks[number * self.window : (number + 1) * self.window]
            rows = np.concatenate([np.arange(self.starts[b], self.starts[b + 1]) for b in mine])
            shuffled = rows[permutation(derive_key(self.key, "rows", number), epoch, len(rows))]
            self._held = ((epoch, number), self.arrange(epoch, shuffled))
        return self._held[1]

    def arrange(self, epoch: int, rows: np.ndarray) -> np.ndarray:
        """What a subclass changes about the order of the shuffled rows of a window."""
        return rows


class BucketOrder(RowOrder):
    """A shuffled order whose batches have rows of similar length.

    Shuffled rows are taken ``bucket`` batches at a time and sorted by length; the batches that this makes are shuffled.
    A batch that an epoch only begins is completed by the rows that come first in the next, which are not sorted.

    Parameters
    ----------
    lengths
        Of each row.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, bucket: int, key: int) -> None:
        super().__init__(np.array([len(lengths)]), 1, True, key)
        self.lengths, self.batch_size, self.bucket = lengths, batch_size, bucket

    def arrange(self, epoch: int, rows: np.ndarray) -> np.ndarray:
        rows, step = rows.copy(), self.batch_size * self.bucket
        for start in range(-epoch * len(rows) % self.batch_size, len(rows), step):
            window = rows[start : start + step]
            ordered = window[np.argsort(self.lengths[window], kind="stable")]
            whole = len(ordered) // self.batch_size
            batches = ordered[: whole * self.batch_size].reshape(whole, self.batch_size)
            shuffled = batches[permutation(derive_key(self.key, "batches", start), epoch, whole)]
            window[: shuffled.size] = shuffled.ravel()
            window[shuffled.size :] = ordered[shuffled.size :]
        return rows


class Ordered:
    """A source whose samples come in the order of a :class:`RowOrder`, with a cursor that can be set."""

    order: RowOrder
    name = "the set"
    start = 0  # position of the sample that comes first of all

    @property
    def size(self) -> int:
        """Samples of the whole set."""
        return self.order.size

    @property
    def cursor(self) -> tuple[int, int]:
        """Epoch and position in it of the next sample; setting it resumes there, bit for bit."""
        return self._cursor

    @cursor.setter
    def cursor(self, cursor: Sequence[int]) -> None:
        epoch, position = (int(number) for number in cursor)
        if epoch < 0 or not 0 <= position < self.size:
            raise DataError(
                f"{self.name}: cannot resume at sample {position} of epoch {epoch}: it has {self.size} samples; it is "
                "not the set that the run was started with"
            )
        self._cursor = (epoch, position)

    def rewind(self) -> None:
        """Start again at the first sample of the first epoch."""
        self._cursor = (0, self.start)
        self.rows = np.empty(0, np.int64)
