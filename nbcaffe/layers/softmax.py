"""Softmax over one axis."""

import math
from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..kernel import kernel
from ..layer import Layer
from ..params import Choice, Int


@kernel
def softmax(n, s, x, y):
    """Exponentials of one place over their sum, the largest taken off first."""
    classes = x.shape[1]
    largest = x[n, 0, s]
    for c in range(classes):
        largest = max(largest, x[n, c, s])
    for c in range(classes):  # apart from the sum, whose fixed order keeps a loop from being vectorised
        y[n, c, s] = math.exp(x[n, c, s] - largest)
    total = 0.0
    for c in range(classes):
        total += y[n, c, s]
    for c in range(classes):
        y[n, c, s] /= total


@kernel
def softmax_backward(n, s, y, dy, dx):
    classes = y.shape[1]
    dot = 0.0
    for c in range(classes):
        dot += y[n, c, s] * dy[n, c, s]
    for c in range(classes):
        dx[n, c, s] = (dy[n, c, s] - dot) * y[n, c, s]


class Softmax(Layer):
    """Scores to probabilities: ``y_c = exp(x_c) / sum_k exp(x_k)`` along ``axis``.  The top has the bottom's shape."""

    per_sample = True
    axis = Int(1, doc="the class axis; negative counts from the end")
    engine = Choice("DEFAULT", "CAFFE", "CUDNN", doc="accepted for Caffe's files; changes nothing here")
    inplace = True
    backward_needs = frozenset({"top"})
    bottom_shapes = ((2, 5, 3),)
    examples = ({}, {"axis": -1})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, axes = bottom[0].shape, len(bottom[0].shape)
        axis = self.axis + axes if self.axis < 0 else self.axis
        if not 0 <= axis < axes:
            self.fail(f"axis {self.axis} is none of the {axes} axes of the bottom, {shape}")
        self.sizes = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
        return [shape]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n, _, s = self.sizes
        softmax[n, s](bottom[0].data.reshape(self.sizes), top[0].data.reshape(self.sizes))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n, _, s = self.sizes
        arrays = (top[0].data, top[0].diff, bottom[0].diff)
        softmax_backward[n, s](*(a.reshape(self.sizes) for a in arrays))
