"""Batches of samples that a function makes from their numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import DataError
from .order import Ordered, RowOrder


class RowSource(Ordered):
    """Rows 0 to ``size`` - 1 of a set, in order or shuffled anew in each epoch, with a cursor that can be set.

    Parameters
    ----------
    rows
        ``rows(numbers)`` makes the samples of these numbers: one array for each top.
    shuffle, key
        A fresh order each epoch, the same for the same key and epoch.
    """

    def __init__(
        self,
        rows: Callable[[np.ndarray], Sequence[np.ndarray]],
        size: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        key: int = 0,
    ):
        self.make, self.batch_size = rows, batch_size
        self.order = RowOrder(np.array([size]), 1, shuffle, key)
        self.rewind()

    def read(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill one array for each top with the next batch; when that fails, the cursor stays."""
        rows, _, after = self.order.take(*self._cursor, len(arrays[0]))
        for index, (array, values) in enumerate(zip(arrays, self.make(rows), strict=True)):
            if np.shape(values) != array.shape:
                raise DataError(f"top {index}: expected samples of shape {array.shape}, got {np.shape(values)}")
            if not np.isfinite(values).all():
                bad = rows[np.argmin(np.isfinite(values).reshape(len(rows), -1).all(axis=1))]
                raise DataError(f"top {index}: sample {bad} holds a NaN or an infinity")
            array[...] = values
        self._cursor, self.rows = after, rows

    @property
    def ids(self) -> list[str]:
        """What to call each sample of the last batch in a message."""
        return [f"sample {row}" for row in self.rows]
