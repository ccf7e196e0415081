"""PLAIN: local response normalization as kernel bodies, for any target, float type and power."""

import math
from typing import Any

from ..kernel import device, kernel, team_range
from .shapes import LrnShape


@device
def shrink(scale, beta):
    """``scale ** -beta``; roots are six times as fast as exp and log, and 0.75 is what nets have."""
    if beta == 0.75:
        return 1.0 / math.sqrt(scale * math.sqrt(scale))
    return math.exp(-beta * math.log(scale))


@kernel(team=True)
def across(p, x, y, channels, size, k, alpha, beta):
    """One plane; ``y`` first holds the squares of the planes around it."""
    width, c = x.shape[1], p % channels
    for i in team_range(width):
        y[p, i] = 0.0
    for q in range(p - min(c, size // 2), p + min(channels - c, size // 2 + 1)):
        for i in team_range(width):
            y[p, i] += x[q, i] * x[q, i]
    for i in team_range(width):
        y[p, i] = x[p, i] * shrink(k + alpha * y[p, i], beta)


@kernel(team=True)
def across_slopes(p, x, dy, dx, slopes, channels, size, k, alpha, beta):
    """The direct part of the gradient, and what the planes around get of it, without their own value."""
    width, c = x.shape[1], p % channels
    for i in team_range(width):
        dx[p, i] = 0.0
    for q in range(p - min(c, size // 2), p + min(channels - c, size // 2 + 1)):
        for i in team_range(width):
            dx[p, i] += x[q, i] * x[q, i]
    for i in team_range(width):
        scale = k + alpha * dx[p, i]
        dx[p, i] = dy[p, i] * shrink(scale, beta)
        slopes[p, i] = x[p, i] * dx[p, i] / scale


@kernel(team=True)
def across_backward(p, x, slopes, dx, channels, size, factor):
    width, c = x.shape[1], p % channels
    for q in range(p - min(c, size // 2), p + min(channels - c, size // 2 + 1)):
        for i in team_range(width):
            dx[p, i] -= factor * x[p, i] * slopes[q, i]


@kernel
def beside(p, h, a, b, out, reach):
    """Products of ``a`` and ``b`` summed over ``reach`` columns to each side."""
    width = a.shape[2]
    for w in range(width):
        out[p, h, w] = 0.0
    for j in range(2 * reach + 1):
        for w in range(max(0, reach - j), min(width, width + reach - j)):
            out[p, h, w] += a[p, h, w + j - reach] * b[p, h, w + j - reach]


@kernel
def within(p, h, x, sums, y, reach, alpha, beta):
    """One row; ``y`` first holds the squares of the square around each value."""
    _, height, width = x.shape
    for w in range(width):
        y[p, h, w] = 0.0
    for v in range(max(0, h - reach), min(height, h + reach + 1)):
        for w in range(width):
            y[p, h, w] += sums[p, v, w]
    for w in range(width):
        y[p, h, w] = x[p, h, w] * shrink(1.0 + alpha * y[p, h, w], beta)


@kernel
def within_slopes(p, h, sums, dy, dx, slopes, reach, alpha, beta):
    _, height, width = dy.shape
    for w in range(width):
        dx[p, h, w] = 0.0
    for v in range(max(0, h - reach), min(height, h + reach + 1)):
        for w in range(width):
            dx[p, h, w] += sums[p, v, w]
    for w in range(width):
        scale = 1.0 + alpha * dx[p, h, w]
        dx[p, h, w] = dy[p, h, w] * shrink(scale, beta)
        slopes[p, h, w] = dx[p, h, w] / scale


@kernel
def within_backward(p, h, x, sums, dx, reach, factor):
    _, height, width = x.shape
    for v in range(max(0, h - reach), min(height, h + reach + 1)):
        for w in range(width):
            dx[p, h, w] -= factor * x[p, h, w] * sums[p, v, w]


class PlainAcross:
    """The engine for neighbours in other channels."""

    def __init__(self, shape: LrnShape, buffer: Any):
        self.shape, self.planes = shape, (shape.images * shape.steps, shape.pixels)
        self.slopes = buffer(self.planes, way="data")

    @staticmethod
    def supports(shape: LrnShape, dtype: Any, target: str) -> bool:
        """Neighbours in other channels."""
        return not shape.square

    def forward(self, x: Any, y: Any) -> None:
        s = self.shape
        numbers = (s.steps, s.size, s.k, s.alpha, s.beta)
        across[self.planes[0]](x.reshape(self.planes), y.reshape(self.planes), *numbers)

    def backward(self, x: Any, dy: Any, dx: Any) -> None:
        s, rows, slopes = self.shape, self.planes[0], self.slopes.data
        x, dy, dx = (a.reshape(self.planes) for a in (x, dy, dx))
        across_slopes[rows](x, dy, dx, slopes, s.steps, s.size, s.k, s.alpha, s.beta)
        across_backward[rows](x, slopes, dx, s.steps, s.size, s.factor)


class PlainWithin:
    """The engine for neighbours in the own plane."""

    def __init__(self, shape: LrnShape, buffer: Any):
        self.shape, self.pixels = shape, (shape.images, shape.steps, shape.pixels)
        self.sums, self.slopes = buffer(self.pixels), buffer(self.pixels, way="data")

    @staticmethod
    def supports(shape: LrnShape, dtype: Any, target: str) -> bool:
        """Neighbours in the own plane."""
        return shape.square

    def forward(self, x: Any, y: Any) -> None:
        s, rows, sums = self.shape, self.pixels[:2], self.sums.data
        x, y = x.reshape(self.pixels), y.reshape(self.pixels)
        beside[rows](x, x, sums, s.reach)
        within[rows](x, sums, y, s.reach, s.alpha, s.beta)

    def backward(self, x: Any, dy: Any, dx: Any) -> None:
        s, rows, sums, slopes = self.shape, self.pixels[:2], self.sums.data, self.slopes.data
        x, dy, dx = (a.reshape(self.pixels) for a in (x, dy, dx))
        beside[rows](x, x, sums, s.reach)
        within_slopes[rows](sums, dy, dx, slopes, s.reach, s.alpha, s.beta)
        beside[rows](x, slopes, sums, s.reach)
        within_backward[rows](x, sums, dx, s.reach, s.factor)
