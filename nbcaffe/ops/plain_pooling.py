"""PLAIN: pooling as one kernel body each, for any target and float type; the oracle of the tiles."""

import math
from typing import Any

from ..kernel import kernel, real
from ..sums import lanes_for, row_sums
from .shapes import PoolShape


@kernel
def max_pool(p, oh, x, y, where, kh, kw, sh, sw, ph, pw):
    """One row of outputs.  NaNs are counted beside the search: a test for them in it would cost a branch each time."""
    _, height, width = x.shape
    above = oh * sh - ph
    first, last = max(above, 0), min(above + kh, height)
    for ow in range(y.shape[2]):
        left = ow * sw - pw
        low, high = max(left, 0), min(left + kw, width)
        best, place, nans = -3.4028234663852886e38, -1, 0
        for h in range(first, last):
            for w in range(low, high):
                value = x[p, h, w]
                larger = not value <= best
                place = h * width + w if larger else place
                best = value if larger else best
                nans += 1 if value != value else 0
        if place < 0 and first < last and low < high:  # nothing but -inf
            best, place = -math.inf, first * width + low
        y[p, oh, ow] = best if nans == 0 else math.nan
        where[p, oh, ow] = place


@kernel
def max_pool_2x2(p, oh, x, y, where):
    """The usual case, all windows inside: the four values at once."""
    width = x.shape[2]
    for ow in range(y.shape[2]):
        h, w = 2 * oh, 2 * ow
        a, b, c, d = x[p, h, w], x[p, h, w + 1], x[p, h + 1, w], x[p, h + 1, w + 1]
        best, place = a, 0
        place = 1 if b > best or b != b else place
        best = b if b > best or b != b else best
        place = width if c > best or c != c else place
        best = c if c > best or c != c else best
        place = width + 1 if d > best or d != d else place
        y[p, oh, ow] = d if d > best or d != d else best
        where[p, oh, ow] = h * width + w + place


@kernel
def max_pool_backward(p, dx, dy, where):
    """Scatter inside the own plane: no two planes share a cell."""
    for i in range(dx.shape[1]):
        dx[p, i] = 0.0
    for o in range(dy.shape[1]):
        if where[p, o] >= 0:
            dx[p, where[p, o]] += dy[p, o]


@kernel
def mean_pool(p, oh, x, y, kh, kw, sh, sw, ph, pw):
    """One row of outputs: window sums over the windows' padded areas."""
    _, height, width = x.shape
    outputs = y.shape[2]
    for ow in range(outputs):
        y[p, oh, ow] = 0.0
    above = oh * sh - ph
    for h in range(max(above, 0), min(above + kh, height)):
        for j in range(kw):
            first = max(0, (pw - j + sw - 1) // sw)
            last = min(outputs, (width - 1 + pw - j) // sw + 1)
            for ow in range(first, last):
                y[p, oh, ow] += x[p, h, ow * sw - pw + j]
    rows = min(above + kh, height + ph) - above
    for ow in range(outputs):
        left = ow * sw - pw
        y[p, oh, ow] /= real(rows * (min(left + kw, width + pw) - left))


@kernel
def mean_pool_backward(p, dx, dy, kh, kw, sh, sw, ph, pw):
    """One plane: each window spreads its gradient over its padded area."""
    _, height, width = dx.shape
    _, rows, outputs = dy.shape
    for h in range(height):
        for w in range(width):
            dx[p, h, w] = 0.0
    for oh in range(rows):
        above = oh * sh - ph
        tall = min(above + kh, height + ph) - above
        for ow in range(outputs):
            left = ow * sw - pw
            share = dy[p, oh, ow] / real(tall * (min(left + kw, width + pw) - left))
            for h in range(max(above, 0), min(above + kh, height)):
                for w in range(max(left, 0), min(left + kw, width)):
                    dx[p, h, w] += share


@kernel
def scale_rows(p, y, sums, factor):
    y[p] = sums[p] * factor


@kernel
def spread_rows(p, i, dx, dy, factor):
    dx[p, i] = dy[p] * factor


class PlainPooling:
    """The engine."""

    def __init__(self, shape: PoolShape, buffer: Any):
        self.shape, self.numbers = shape, (*shape.kernel, *shape.stride, *shape.pad)
        inside = all(2 * o <= n for o, n in zip(shape.out, shape.size, strict=True))
        self.quarters = self.numbers == (2, 2, 2, 2, 0, 0) and inside
        if shape.whole:
            cells = shape.size[0] * shape.size[1]
            self.plane, self.share = (shape.planes, cells), 1.0 / cells
            self.lanes, self.sums = buffer(lanes_for(self.plane)), buffer(shape.planes)

    @staticmethod
    def supports(shape: PoolShape, dtype: Any, target: str) -> bool:
        """Anything."""
        return True

    def largest(self, x: Any, y: Any, where: Any) -> None:
        if self.quarters:
            max_pool_2x2[y.shape[:2]](x, y, where)
        else:
            max_pool[y.shape[:2]](x, y, where, *self.numbers)

    def chosen(self, dx: Any, dy: Any, where: Any) -> None:
        plane, out = ((self.shape.planes, a.shape[1] * a.shape[2]) for a in (dx, dy))
        max_pool_backward[self.shape.planes](dx.reshape(plane), dy.reshape(out), where.reshape(out))

    def mean(self, x: Any, y: Any) -> None:
        if self.shape.whole:
            x, y, planes = x.reshape(self.plane), y.reshape(self.shape.planes), self.shape.planes
            row_sums[planes](x, x, self.lanes.data, self.sums.data)
            scale_rows[planes](y, self.sums.data, self.share)
        else:
            mean_pool[y.shape[:2]](x, y, *self.numbers)

    def spread(self, dx: Any, dy: Any) -> None:
        if self.shape.whole:
            spread_rows[self.plane](dx.reshape(self.plane), dy.reshape(self.shape.planes), self.share)
        else:
            mean_pool_backward[self.shape.planes](dx, dy, *self.numbers)
