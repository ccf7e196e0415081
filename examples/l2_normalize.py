"""A row body: the index is a sample, and the body loops over its channels."""

import math

from nbcaffe import Float, Layer, kernel


@kernel
def normalize(n, x, y, norm, eps):
    total = 0.0
    for c in range(x.shape[1]):
        total += x[n, c] * x[n, c]
    norm[n] = math.sqrt(total + eps)
    for c in range(x.shape[1]):
        y[n, c] = x[n, c] / norm[n]


@kernel
def normalize_backward(n, y, norm, dy, dx):
    """What points along y cannot change it."""
    along = 0.0
    for c in range(y.shape[1]):
        along += y[n, c] * dy[n, c]
    for c in range(y.shape[1]):
        dx[n, c] = (dy[n, c] - along * y[n, c]) / norm[n]


class L2Normalize(Layer):
    """Every sample of an (N, C) bottom divided by its length."""

    eps = Float(1e-6, gt=0, doc="added to the squared length")
    backward_needs = frozenset({"top"})
    inplace = True
    bottom_shapes = ((3, 5),)

    def setup(self, bottom):
        self.norm = self.buffer(bottom[0].shape[0], keep=True)  # the backward pass reads it
        return [bottom[0].shape]

    def forward(self, bottom, top):
        normalize[self.norm.shape](bottom[0].data, top[0].data, self.norm.data, self.eps)

    def backward(self, bottom, top):
        normalize_backward[self.norm.shape](top[0].data, self.norm.data, top[0].diff, bottom[0].diff)

    @staticmethod
    def reference(x, eps):
        """The same in NumPy; `nbcaffe check` compares."""
        return x / ((x * x).sum(axis=1, keepdims=True) + eps) ** 0.5
