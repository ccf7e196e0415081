"""Pooling of planes: by tiles on hosts that can mask their loads, by plain bodies elsewhere; nobody sees which."""

from typing import Any

import numpy as np
from numba import get_num_threads

from .host import masks
from .plain_pooling import PlainPooling
from .shapes import PoolShape
from .specialise import issue, specialise

WIDEST = 16  # the columns of a window are unrolled


class TilePooling(PlainPooling):
    """The engine for hosts: 16 windows of a row at once.

    What plain bodies do as fast stays with them: windows of 2 by 2, and the gradient of the largest values, where a
    scatter writes each plane once while it is in the cache (a gather by tiles took up to three times as long).
    """

    def __init__(self, shape: PoolShape, buffer: Any):
        super().__init__(shape, buffer)
        self.threads = get_num_threads()
        self.code = 0  # to run on what is written forward, or 0

    @staticmethod
    def supports(shape: PoolShape, dtype: Any, target: str) -> bool:
        """Float32 on the host, windows that are not wide and not the whole plane."""
        able = target == "cpu" and np.dtype(dtype) == np.float32 and masks()
        return able and shape.kernel[1] <= WIDEST and not shape.whole

    def finish(self, code: int, mean: bool) -> bool:
        """Run ``code`` on the mean or the largest values, too; False where that is not done."""
        able = mean or not self.quarters
        self.code = code if able else 0
        return able

    def run(self, template: str, direction: str, cells: Any, windows: Any, where: Any, code: int = 0) -> None:
        s = self.shape
        tile = specialise(template, KW=s.kernel[1], SW=s.stride[1])
        issue(
            specialise("pool_planes").each_plane, getattr(tile, direction).address, code, cells.reshape(-1),
            windows.reshape(-1), where.reshape(-1).view(np.float32), s.planes, *s.size, *s.out, s.kernel[0],
            s.stride[0], *s.pad, self.threads,
        )  # fmt: skip

    def largest(self, x: Any, y: Any, where: Any) -> None:
        if self.quarters:
            super().largest(x, y, where)
        else:
            self.run("max_pool_tile", "forward", x, y, where, self.code)

    def mean(self, x: Any, y: Any) -> None:
        self.run("mean_pool_tile", "forward", x, y, y, self.code)

    def spread(self, dx: Any, dy: Any) -> None:
        self.run("mean_pool_tile", "backward", dx, dy, dy)


ENGINES = (TilePooling, PlainPooling)


def pooling(shape: PoolShape, buffer: Any, dtype: Any, target: str) -> Any:
    """The first engine that can pool these planes; its methods are the passes.

    ``largest(x, y, where)``, the gradient's way back ``chosen(dx, dy, where)``, ``mean(x, y)`` and ``spread(dx, dy)``
    take arrays ``(planes, height, width)``; ``where`` is the place of each largest value in its plane, int32.
    """
    return next(E for E in ENGINES if E.supports(shape, dtype, target))(shape, buffer)
