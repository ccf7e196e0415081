"""Local response normalization: by tiles on hosts that can mask their loads, by plain bodies elsewhere."""

from typing import Any

import numpy as np
from numba import get_num_threads

from .host import has, masks
from .plain_lrn import PlainAcross, PlainWithin
from .shapes import LrnShape
from .specialise import issue, specialise

LARGEST = 7  # three windows of so many vectors are held in registers


class TileLrn:
    """The engine for hosts: one pass each way, and no work space."""

    def __init__(self, shape: LrnShape, buffer: Any):
        self.shape, self.threads = shape, get_num_threads()

    @staticmethod
    def supports(shape: LrnShape, dtype: Any, target: str) -> bool:
        """Float32 on the host, beta 0.75, few neighbours; those in other channels need AVX-512's registers."""
        able = target == "cpu" and np.dtype(dtype) == np.float32 and (masks() if shape.square else has("avx512f"))
        return able and shape.beta == 0.75 and shape.size <= LARGEST

    def run(self, direction: str, margin: int, a: Any, b: Any, c: Any) -> None:
        s = self.shape
        tile = specialise("lrn_tile", SIZE=s.size, WIDE=s.size if s.square else 1)
        arrays = (array.reshape(-1) for array in (a, b, c))
        issue(
            specialise("lrn_blocks").each_block, getattr(tile, direction).address, *arrays, s.images, s.steps,
            s.pixels, margin if s.square else 0, *map(np.float32, (s.k, s.alpha, s.factor)), self.threads,
        )  # fmt: skip

    def forward(self, x: Any, y: Any) -> None:
        self.run("forward", self.shape.reach, x, y, y)

    def backward(self, x: Any, dy: Any, dx: Any) -> None:
        self.run("backward", 2 * self.shape.reach, x, dy, dx)


ENGINES = (TileLrn, PlainAcross, PlainWithin)


def lrn(shape: LrnShape, buffer: Any, dtype: Any, target: str) -> Any:
    """The first engine that can; its passes are ``forward(x, y)`` and ``backward(x, dy, dx)``."""
    return next(E for E in ENGINES if E.supports(shape, dtype, target))(shape, buffer)
