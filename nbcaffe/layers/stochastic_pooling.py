"""Pooling by a draw, and by what the draw gives on average.  Windows have no padding; negative values weigh nothing."""

import math

from ..kernel import device, kernel, real
from ..rng import philox

STEP = 2.0**-24


@device
def weight(value):
    """A NaN, which is not below 0, stays one."""
    return 0.0 if value < 0.0 else value


@kernel
def drawn_pool(p, oh, x, y, where, key, clock, kh, kw, sh, sw, ph, pw):
    """One row of outputs, each a value of its window, drawn with a probability in proportion to it."""
    _, height, width = x.shape
    _, rows, outputs = y.shape
    first, last = oh * sh, min(oh * sh + kh, height)
    for ow in range(outputs):
        left, right = ow * sw, min(ow * sw + kw, width)
        total = 0.0
        for h in range(first, last):
            for w in range(left, right):
                total += weight(x[p, h, w])
        word, _ = philox(key, clock[0], (p * rows + oh) * outputs + ow)
        bound = total * ((real(word >> 8) + 0.5) * STEP)
        reached, place, value = 0.0, -1, 0.0
        for h in range(first, last):
            for w in range(left, right):
                reached += weight(x[p, h, w])
                if place < 0 and not reached < bound:
                    place, value = h * width + w, x[p, h, w]
        y[p, oh, ow] = value if total == total else math.nan
        where[p, oh, ow] = place


@kernel
def expected_pool(p, oh, x, y, kh, kw, sh, sw, ph, pw):
    """The mean of the draws: squares over sums, 0 where nothing is positive."""
    _, height, width = x.shape
    for ow in range(y.shape[2]):
        total, square = 0.0, 0.0
        for h in range(oh * sh, min(oh * sh + kh, height)):
            for w in range(ow * sw, min(ow * sw + kw, width)):
                total += weight(x[p, h, w])
                square += weight(x[p, h, w]) * weight(x[p, h, w])
        y[p, oh, ow] = 0.0 if total <= 0.0 else square / total


@kernel
def expected_pool_backward(p, x, dx, dy, kh, kw, sh, sw, ph, pw):
    _, height, width = dx.shape
    for h in range(height):
        for w in range(width):
            dx[p, h, w] = 0.0
    for oh in range(dy.shape[1]):
        for ow in range(dy.shape[2]):
            total, square = 0.0, 0.0
            for h in range(oh * sh, min(oh * sh + kh, height)):
                for w in range(ow * sw, min(ow * sw + kw, width)):
                    total += weight(x[p, h, w])
                    square += weight(x[p, h, w]) * weight(x[p, h, w])
            share = 0.0 if total <= 0.0 else dy[p, oh, ow] / total
            mean = 0.0 if total <= 0.0 else square / total
            for h in range(oh * sh, min(oh * sh + kh, height)):
                for w in range(ow * sw, min(ow * sw + kw, width)):
                    dx[p, h, w] += 0.0 if x[p, h, w] < 0.0 else (2.0 * x[p, h, w] - mean) * share
