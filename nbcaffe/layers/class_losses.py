"""Losses of class scores other than SoftmaxWithLoss: by margins, from probabilities, with a price for each mistake."""

import math
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from ..blob import Blob
from ..device import device_of
from ..errors import ConfigError
from ..kernel import kernel, launch
from ..layer import Count, Loss
from ..params import Choice, Int, Str
from .labels import Labelled, label_state
from .loss import Normalized, reduce_loss
from .softmax import softmax
from .structural import copy

SMALLEST = 1e-20  # Caffe's bound for probabilities in these losses


@kernel
def hinge(n, x, labels, losses, state, seen, squares):
    """Each score is to be below -1, the true class's above 1."""
    kind = label_state(labels[n, 0], x.shape[1], 0, 0)
    total = 0.0
    for c in range(x.shape[1]):
        margin = 1.0 - x[n, c] if kind == 0 and c == int(labels[n, 0]) else 1.0 + x[n, c]
        margin = 0.0 if margin < 0.0 else margin
        total += margin * margin if squares != 0 else margin
    losses[n, 0] = total
    state[n, 0] = kind
    seen[n, 0] = labels[n, 0]


@kernel
def hinge_backward(n, c, x, labels, state, dloss, dx, squares, scale):
    true = state[n, 0] == 0 and c == int(labels[n, 0])
    sign = -1.0 if true else 1.0
    margin = 1.0 + sign * x[n, c]
    slope = 2.0 * margin if squares != 0 else (margin if margin != margin else 1.0)
    dx[n, c] = dloss[0] * scale * sign * (0.0 if margin <= 0.0 else slope)


@kernel
def log_loss(n, prob, labels, losses, state, seen):
    kind = label_state(labels[n, 0], prob.shape[1], 0, 0)
    p = prob[n, int(labels[n, 0]) if kind == 0 else 0]
    losses[n, 0] = -math.log(SMALLEST if p < SMALLEST else p)
    state[n, 0] = kind
    seen[n, 0] = labels[n, 0]


@kernel
def log_loss_backward(n, c, prob, labels, state, dloss, dx, scale):
    true = state[n, 0] == 0 and c == int(labels[n, 0])
    p = prob[n, c]
    dx[n, c] = -dloss[0] * scale / (SMALLEST if p < SMALLEST else p) if true else 0.0


@kernel
def priced_loss(n, s, prob, labels, price, losses, state, seen, ignored, ignores):
    """The negative logarithms of all classes' probabilities, each times its price where the label is the true one."""
    classes = prob.shape[1]
    kind = label_state(labels[n, s], classes, ignored, ignores)
    label = int(labels[n, s]) if kind == 0 else 0
    total = 0.0
    for c in range(classes):
        p = prob[n, c, s]
        total -= price[label, c] * math.log(SMALLEST if p < SMALLEST else p)
    losses[n, s] = total if kind == 0 else 0.0
    state[n, s] = kind
    seen[n, s] = labels[n, s]


@kernel
def priced_loss_backward(n, s, prob, labels, price, state, norm, dloss, dx):
    classes, known = prob.shape[1], state[n, s] == 0
    label = int(labels[n, s]) if known else 0
    prices = 0.0
    for c in range(classes):
        prices += price[label, c]
    for c in range(classes):
        slope = prob[n, c, s] * prices - price[label, c]
        dx[n, c, s] = slope * dloss[0] / norm[0] if known else 0.0


class RowLoss(Labelled, Loss, abstract=True):
    """One label for each item, the axes behind the first are its classes; the mean over the items."""

    ignore_label = None
    differentiable = (0,)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((4, 3), (4,))

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        if not shape:
            self.fail("needs scores with an axis of items, got a scalar")
        self.rows = (shape[0], prod(shape[1:]))
        self.places([Blob(self.rows), bottom[1]], 1)
        self.losses, self.divisor = self.buffer((shape[0], 1)), self.buffer(1)
        return [()]

    def mean(self, top: Sequence[Blob]) -> None:
        n = self.rows[0]
        losses, state = self.losses.data.reshape(n), self.state.data.reshape(n)
        reduce_loss[1](losses, state, self.divisor.data, top[0].data.reshape(1), float(max(n, 1)))

    def arrays(self, bottom: Sequence[Blob]) -> tuple[Any, Any]:
        return bottom[0].data.reshape(self.rows), bottom[1].data.reshape(self.rows[0], 1)

    def backward_arrays(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> tuple:
        return (*self.arrays(bottom), self.state.data, top[0].diff.reshape(1), bottom[0].diff.reshape(self.rows))

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, min(3, shape[-1] if len(shape) > 1 else 3), shape) if index else rng.normal(size=shape)


class HingeLoss(RowLoss):
    """One against all: ``sum_c max(0, 1 - t_c x_c)`` with t 1 for the true class and -1 for others; mean over items.

    With ``norm: L2`` each margin is squared.  Scores (N, ...), one integer label for each item, a scalar top.
    """

    norm = Choice("L1", "L2", doc="the margins as they are, or their squares")
    kinks = (-1.0, 1.0)
    examples = ({}, {"norm": "L2", "bottom": [(4, 3, 1, 1), (4,)]})

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        outputs = (self.losses.data, self.state.data, self.seen.data)
        hinge[self.rows[0]](*self.arrays(bottom), *outputs, int(self.squares))
        self.mean(top)

    @property
    def squares(self) -> bool:
        return self.norm == "L2"

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            arrays = self.backward_arrays(bottom, top)
            hinge_backward[self.rows](*arrays, int(self.squares), 1.0 / max(self.rows[0], 1))


class MultinomialLogisticLoss(RowLoss):
    """The mean over items of ``-log(p[label])``, from probabilities; use SoftmaxWithLoss where there are scores.

    A probability below 1e-20 counts as that.  Probabilities (N, ...), one integer label for each item, a scalar top.
    """

    examples = ({}, {"bottom": [(4, 3, 1, 1), (4,)]})

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        log_loss[self.rows[0]](*self.arrays(bottom), self.losses.data, self.state.data, self.seen.data)
        self.mean(top)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            log_loss_backward[self.rows](*self.backward_arrays(bottom, top), 1.0 / max(self.rows[0], 1))

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return super().sample(index, shape, rng) if index else rng.uniform(0.1, 0.9, shape)


class InfogainLoss(Normalized, Labelled, Loss):
    """Softmax and a logistic loss with a matrix H of prices: ``-sum_k H[label, k] log(p_k)``, from the scores.

    H is the third bottom or the ``source``, of classes times classes values; the identity gives SoftmaxWithLoss, a
    diagonal weights the classes.  Summed over all places and divided as ``normalization`` says.  A second top holds the
    probabilities; one below 1e-20 counts as that.
    """

    source = Str(None, doc="a .binaryproto file with H, where it is no third bottom")
    axis = Int(1, doc="the class axis; negative counts from the end")
    ignore_label = Int(None, doc="labels of this value count for nothing", group="loss_param")
    num_bottom: ClassVar[Count] = (2, 3)
    num_top = (1, 2)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((4, 3), (4,), (1, 1, 3, 3))
    examples = (
        {},
        {"normalization": "FULL", "ignore_label": 1, "bottom": [(2, 3, 4), (2, 4), (3, 3)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        outer, classes, inner = self.places(bottom, self.axis)
        self.matrix = None
        if len(bottom) == 2:
            self.matrix = self.read_matrix()
            self.price = self.buffer((classes, classes))
        count = bottom[2].count if self.matrix is None else self.matrix.size
        if count != classes**2:
            self.fail(f"{classes} classes need {classes} x {classes} prices, got {count} values")
        self.prob = self.buffer((outer, classes, inner), keep=True)
        self.losses, self.norm = self.buffer((outer, inner)), self.buffer(1, keep=True)
        return [(), bottom[0].shape][: self.num_tops]

    def read_matrix(self) -> np.ndarray:
        if not self.source:
            raise ConfigError(f"{self.place}: needs a third bottom with the prices, or source: a .binaryproto file")
        from ..caffe.blobs import read_binaryproto  # needs the [caffe] extra

        return read_binaryproto(self.source)

    def prices(self, bottom: Sequence[Blob]) -> Any:
        """H where kernels can read it; work space is not ours between passes, so a file's values go there each time."""
        if self.matrix is None:
            return bottom[2].data.reshape(self.sizes[1], self.sizes[1])
        launch(device_of(self.price.data).upload, self.price.data, self.matrix.reshape(self.price.shape))
        return self.price.data

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        outer, classes, inner = self.sizes
        x, labels = bottom[0].data.reshape(self.sizes), bottom[1].data.reshape(outer, inner)
        prob, losses, state = self.prob.data, self.losses.data, self.state.data
        softmax[outer, inner](x, prob)
        outputs = (losses, state, self.seen.data)
        priced_loss[outer, inner](prob, labels, self.prices(bottom), *outputs, *self.ignored)
        n = outer * inner
        fixed, loss = self.normalizer(outer, inner), top[0].data.reshape(1)
        reduce_loss[1](losses.reshape(n), state.reshape(n), self.norm.data, loss, fixed)
        if self.num_tops == 2:
            copy[n * classes](prob.reshape(n * classes), top[1].data.reshape(n * classes))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        outer, _, inner = self.sizes
        labels, dx = bottom[1].data.reshape(outer, inner), bottom[0].diff.reshape(self.sizes)
        arrays = (self.prob.data, labels, self.prices(bottom), self.state.data, self.norm.data, top[0].diff.reshape(1))
        priced_loss_backward[outer, inner](*arrays, dx)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 3, shape) if index == 1 else rng.uniform(0.1, 1.0, shape)
