"""Batches from arrays that the user hands over, as pycaffe's ``set_input_arrays`` does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DataError


class MemorySource:
    """Batches of the arrays given last, in their order, from the first again after the last.

    Parameters
    ----------
    shape
        Of one sample: channels, height, width.
    """

    def __init__(self, batch_size: int, shape: Sequence[int]) -> None:
        self.batch_size = batch_size
        self.shape = tuple(shape)
        self.size = 0
        self.cursor = (0, 0)
        self.rows = np.empty(0, np.int64)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of a batch of data and of labels."""
        return (self.batch_size, *self.shape), (self.batch_size,)

    def set_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Use these samples from now on, starting with the first. They are copied when a batch is read."""
        if data.shape[1:] != self.shape:
            expected = ", ".join(str(extent) for extent in ("n", *self.shape))
            raise DataError(f"input data has shape {data.shape}, expected ({expected}) as the layer declares")
        if labels.size != len(data) or (labels.ndim and len(labels) != len(data)):
            raise DataError(f"input labels have shape {labels.shape}, expected ({len(data)},): one label a sample")
        if len(data) == 0 or len(data) % self.batch_size:
            raise DataError(
                f"{len(data)} input samples: the first dimension of the input arrays must be a multiple of the batch "
                f"size, {self.batch_size}"
            )
        self.data, self.labels = data, labels.reshape(len(data))
        self.size = len(data)
        self.rewind()

    def rewind(self) -> None:
        """Start again at the first sample."""
        self.cursor = (0, 0)

    def read(self, arrays: Sequence[np.ndarray]) -> None:
        """Fill the data and label arrays with the next batch."""
        if not self.size:
            raise DataError("a MemoryData layer has no samples yet: call net.set_input_arrays(data, labels) first")
        epoch, lo = self.cursor
        hi = lo + len(arrays[0])
        rows = np.arange(lo, hi) % self.size
        arrays[0][...] = self.data[rows]
        arrays[1][...] = self.labels[rows]
        for array, name in zip(arrays, ("data", "labels"), strict=True):
            if not np.isfinite(array).all():
                row = rows[np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1))]
                raise DataError(f"sample {row} of the input {name} holds a NaN or an infinity")
        self.rows = rows
        self.cursor = (epoch + hi // self.size, hi % self.size)

    @property
    def ids(self) -> list[str]:
        """What to call each sample of the last batch in a message."""
        return [f"sample {row} of the input arrays" for row in self.rows]
