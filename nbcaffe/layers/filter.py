"""Only the chosen items of a batch."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..blob import Blob
from ..device import device_of
from ..errors import LabelError
from ..kernel import launch
from ..layer import Layer
from ..sums import blocks
from .indices import give_back_rows, pick_rows
from .structural import zero


class Filter(Layer):
    """Pass on the items for which the last bottom has no 0; every other bottom gets a top with these items only.

    The tops' batch size is another one in each pass, and so is that of the layers behind.  The selector has one value
    for each item; items left out have a gradient of 0.
    """

    num_bottom = (2, None)
    num_top = (1, None)
    differentiable = (0,)
    backward_needs = frozenset()
    resizes = True
    bottom_shapes = ((5, 3), (5,))
    examples = ({}, {"bottom": [(6, 2, 3), (6, 1), (6, 1)], "num_top": 2})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        *blobs, selector = bottom
        if self.num_tops != len(blobs):
            self.fail(f"needs a top for each bottom but the selector, {len(blobs)}; got {self.num_tops}")
        if not selector.shape or any(blob.shape[:1] != selector.shape[:1] for blob in blobs):
            self.fail(f"needs as many items in each bottom, got shapes {[blob.shape for blob in bottom]}")
        if selector.count != selector.shape[0]:
            self.fail(f"the selector has one value for each item, got shape {selector.shape}")
        vars(self)["differentiable"] = tuple(range(len(blobs)))
        self.rows = self.buffer(selector.shape[0], "int32", keep=True)
        self.chosen = np.arange(selector.shape[0], dtype=np.int32)
        return [blob.shape for blob in blobs]

    def prepare(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> list[tuple[int, ...]]:
        selector = device_of(bottom[-1].data).download(bottom[-1].data).reshape(-1)
        if np.isnan(selector).any():
            raise LabelError(f"{self.place}: the selector has a NaN at item {int(np.isnan(selector).argmax())}")
        self.chosen = np.flatnonzero(selector).astype(np.int32)
        return [(len(self.chosen), *blob.shape[1:]) for blob in top]

    def picked(self, top: Blob) -> Any:
        """The rows of this pass."""
        return self.rows.data[: top.shape[0]]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        launch(self.upload, self.picked(top[0]))
        for x, y in zip(bottom, top, strict=False):
            width = prod(y.shape[1:])
            pick_rows[y.shape[0], width](
                self.picked(y), x.data.reshape(x.shape[0], width), y.data.reshape(y.shape[0], width)
            )

    def upload(self, rows: Any) -> None:
        device_of(rows).upload(rows, self.chosen)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for index, y in enumerate(top):
            if self.propagate_down[index]:
                dx, width = bottom[index].diff, prod(y.shape[1:])
                zero[dx.size](dx.reshape(dx.size))
                dx, dy = dx.reshape(dx.shape[0], width), y.diff.reshape(y.shape[0], width)
                give_back_rows[blocks(width)](self.picked(y), dy, dx)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 2, shape) if index else rng.standard_normal(shape)
