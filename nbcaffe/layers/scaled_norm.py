"""A Scale folded into the BatchNorm in front of it: one pass over the blob where two layers take two, both ways.

``y = (x - mean) / sqrt(variance + eps) * a + b``.  What lies between the two layers is never written: the gradients of
the factors and of x come from the same two sums over each channel, of dy and of dy times the distance from the mean.
"""

import math
from typing import Any

from ..kernel import kernel
from .scale import Scale


@kernel
def normalize_and_scale(n, c, i, x, mean, variance, eps, a, b, y):
    y[n, c, i] = (x[n, c, i] - mean[c]) * (a[c] / math.sqrt(variance[c] + eps)) + b[c]


@kernel
def scaled_gradients(c, sums, dots, variance, eps, scale, mean_dy, slope, total, dot):
    """Per channel both sums, and what the gradient of x loses: its mean, and ``slope`` times the distance from it."""
    total[c] = 0.0
    dot[c] = 0.0
    for n in range(sums.shape[0]):
        total[c] += sums[n, c]
        dot[c] += dots[n, c]
    inverse = 1.0 / math.sqrt(variance[c] + eps)
    dot[c] *= inverse
    mean_dy[c] = total[c] * scale
    slope[c] = dot[c] * scale * inverse


@kernel
def normalize_and_scale_backward(n, c, i, x, dy, mean, variance, eps, a, mean_dy, slope, dx):
    factor = a[c] / math.sqrt(variance[c] + eps)
    dx[n, c, i] = (dy[n, c, i] - mean_dy[c] - (x[n, c, i] - mean[c]) * slope[c]) * factor


@kernel
def gain(c, more, diff):
    diff[c] += more[c]


class Scaled:
    """The learned factors and shifts of a Scale with one of each for a channel, for the BatchNorm that applies them."""

    def __init__(self, scale: Scale, buffer: Any):
        self.scale, channels = scale, scale.sizes[1]
        self.total, self.dot = buffer(channels), buffer(channels)

    @staticmethod
    def fits(scale: Scale, sizes: tuple[int, ...]) -> bool:
        """Whether a Scale learns what it multiplies by and adds, for each of the channels of ``sizes``."""
        return len(scale.weights) == 2 and scale.sizes == sizes and sizes[2] > 1

    def numbers(self) -> tuple[Any, Any]:
        a, b = (weight.data.reshape(weight.count) for weight in self.scale.weights)
        return a, b

    def forward(self, x: Any, mean: Any, variance: Any, eps: float, y: Any) -> None:
        form = self.scale.sizes
        normalize_and_scale[form](x.reshape(form), mean, variance, eps, *self.numbers(), y.reshape(form))

    def backward(
        self, x: Any, dy: Any, parts: Any, moments: Any, eps: float, scale: float, losses: Any, dx: Any
    ) -> None:
        """``parts`` are the planes' sums, ``losses`` work space; ``scale`` is 0 where the moments are constants."""
        form, (a, _), (mean, variance), (mean_dy, slope) = self.scale.sizes, self.numbers(), moments, losses
        total, dot = self.total.data, self.dot.data
        scaled_gradients[form[1]](*parts, variance, eps, scale, mean_dy, slope, total, dot)
        for weight, wanted, more in zip(self.scale.weights, self.scale.param_propagate, (dot, total), strict=True):
            if wanted:
                gain[form[1]](more, weight.diff.reshape(weight.count))
        large = (x.reshape(form), dy.reshape(form))
        normalize_and_scale_backward[form](*large, mean, variance, eps, a, mean_dy, slope, dx.reshape(form))
