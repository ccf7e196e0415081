"""Losses: one number to minimise."""

import math
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..blob import Blob
from ..kernel import kernel, real, team_range, team_sum
from ..layer import Layer, Loss
from ..params import Bool, Choice, Int
from .labels import Labelled, label_state
from .softmax import softmax
from .structural import copy

NORMALIZATIONS = ("FULL", "VALID", "BATCH_SIZE", "NONE")
SMALLEST = float(np.finfo(np.float32).tiny)  # Caffe's bound for probabilities; a loss is at most 87.3365


@kernel
def softmax_loss(n, s, prob, labels, losses, state, seen, ignored, ignores):
    """Loss of one place from its probabilities: a NaN, which is not below the bound, stays one."""
    kind = label_state(labels[n, s], prob.shape[1], ignored, ignores)
    loss = 0.0
    if kind == 0:
        p = prob[n, int(labels[n, s]), s]
        loss = -math.log(SMALLEST if p < SMALLEST else p)
    losses[n, s] = loss
    state[n, s] = kind
    seen[n, s] = labels[n, s]


@kernel
def softmax_loss_backward(n, s, prob, labels, state, norm, dloss, dx):
    scale = dloss[0] / norm[0]
    for c in range(prob.shape[1]):
        dx[n, c, s] = prob[n, c, s] * scale if state[n, s] == 0 else 0.0
    if state[n, s] == 0:
        dx[n, int(labels[n, s]), s] -= scale


@kernel
def sigmoid_loss(i, x, target, losses, state, ignored, ignores):
    """Cross entropy of one logit, without overflow for either sign."""
    value, wanted = x[i], target[i]
    skip = ignores != 0 and wanted == real(ignored)
    positive = 1.0 if value >= 0.0 else 0.0
    loss = math.log(1.0 + math.exp(value - 2.0 * value * positive)) - value * (wanted - positive)
    losses[i] = 0.0 if skip else loss
    state[i] = 1 if skip else 0


@kernel
def sigmoid_loss_backward(i, x, target, state, norm, dloss, dx):
    scale = dloss[0] / norm[0]
    slope = 0.5 * math.tanh(0.5 * x[i]) + 0.5 - target[i]
    dx[i] = slope * scale if state[i] == 0 else 0.0


@kernel(team=True)
def reduce_loss(row, losses, state, norm, loss, fixed):
    """The sum of all places over the normaliser: ``fixed``, or how many places counted.

    Four sums side by side: an addition waits for the one before.
    """
    size = losses.shape[0]
    a = b = c = d = 0.0
    counted = 0
    for i in team_range(size // 4):
        at = 4 * i
        a += losses[at]
        b += losses[at + 1]
        c += losses[at + 2]
        d += losses[at + 3]
    for i in team_range(size % 4):
        a += losses[size - 1 - i]
    for i in team_range(size):
        counted += 1 if state[i] == 0 else 0
    total, places = team_sum((a + b) + (c + d)), team_sum(real(counted))
    norm[0] = max(1.0, fixed if fixed > 0.0 else places)
    loss[0] = total / norm[0]


@kernel(team=True)
def squares(n, a, b, sums):
    """Half the squared distance of one row."""
    total = 0.0
    for i in team_range(a.shape[1]):
        total += (a[n, i] - b[n, i]) * (a[n, i] - b[n, i])
    sums[n] = 0.5 * team_sum(total)


@kernel(team=True)
def mean(row, sums, out):
    total = 0.0
    for i in team_range(sums.shape[0]):
        total += sums[i]
    out[0] = team_sum(total) / real(sums.shape[0])


@kernel
def distance_backward(i, a, b, dloss, dx, sign, num):
    dx[i] = sign * (a[i] - b[i]) * dloss[0] / num


class Normalized(Layer, abstract=True):
    """The loss is a sum over places; ``loss_param`` says what it is divided by."""

    normalization = Choice(
        *NORMALIZATIONS,
        default=None,
        doc="divide by all places (FULL), those not ignored (VALID), the batch size, or 1",
        group="loss_param",
    )
    normalize = Bool(None, doc="old form of normalization: true is VALID, false is BATCH_SIZE", group="loss_param")
    default_normalization = "VALID"

    def normalizer(self, outer: int, inner: int) -> float:
        """A fixed number, or 0 for the number of places that count."""
        kind = self.normalization or self.default_normalization
        if self.normalization is None and self.normalize is not None:
            kind = "VALID" if self.normalize else "BATCH_SIZE"
        return {"FULL": float(outer * inner), "VALID": 0.0, "BATCH_SIZE": float(outer), "NONE": 1.0}[kind]


class SoftmaxWithLoss(Normalized, Labelled, Loss):
    """Softmax and multinomial logistic loss in one, from the scores: ``-log(softmax(x)[label])``.

    Summed over all places and divided as ``normalization`` says.  Scores (N, C, ...), integer labels (N, ...), a scalar
    top; a second top holds the probabilities.  The loss of one place is at most 87.3365, as in Caffe, where the
    probability cannot fall below the smallest float.
    """

    axis = Int(1, doc="the class axis; negative counts from the end", group="softmax_param")
    ignore_label = Int(None, doc="labels of this value count for nothing", group="loss_param")
    num_top = (1, 2)
    param_group = "softmax_with_loss_param"
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((4, 3), (4,))
    examples = (
        {},
        {"normalization": "FULL", "ignore_label": 1, "bottom": [(2, 3, 4), (2, 4)]},
        {"axis": -1, "normalize": False, "bottom": [(2, 3, 4), (2, 3)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        outer, classes, inner = self.places(bottom, self.axis)
        self.prob = self.buffer((outer, classes, inner), keep=True)
        self.losses, self.norm = self.buffer((outer, inner), keep=True), self.buffer(1, keep=True)
        return [(), bottom[0].shape][: self.num_tops]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        outer, classes, inner = self.sizes
        x, labels = bottom[0].data.reshape(self.sizes), bottom[1].data.reshape(outer, inner)
        state = self.state.data
        softmax[outer, inner](x, self.prob.data)
        softmax_loss[outer, inner](self.prob.data, labels, self.losses.data, state, self.seen.data, *self.ignored)
        fixed = self.normalizer(outer, inner)
        places = outer * inner
        losses, state = self.losses.data.reshape(places), state.reshape(places)
        reduce_loss[1](losses, state, self.norm.data, top[0].data.reshape(1), fixed)
        if self.num_tops == 2:
            n = places * classes
            copy[n](self.prob.data.reshape(n), top[1].data.reshape(n))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        outer, _, inner = self.sizes
        labels, dx = bottom[1].data.reshape(outer, inner), bottom[0].diff.reshape(self.sizes)
        state, dloss = self.state.data, top[0].diff.reshape(1)
        softmax_loss_backward[outer, inner](self.prob.data, labels, state, self.norm.data, dloss, dx)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 3, shape) if index == 1 else rng.standard_normal(shape)


class SigmoidCrossEntropyLoss(Normalized, Loss):
    """Cross entropy of targets in 0 to 1 and the sigmoid of the scores, from the scores.

    ``log(1 + exp(x)) - t x`` for each element, without overflow; the sum is divided as ``normalization`` says, by the
    batch size unless told otherwise.  A target that is ``ignore_label`` counts for nothing, but not,
    as in Caffe, one of the same integer part: 0.9 is no 0.
    """

    ignore_label = Int(None, doc="targets of this value count for nothing", group="loss_param")
    default_normalization = "BATCH_SIZE"
    differentiable = (0,)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((3, 4), (3, 4))
    examples = ({}, {"normalization": "VALID", "ignore_label": 1})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        x, target = bottom
        if x.count != target.count:
            self.fail(f"needs as many targets as scores, got shapes {x.shape} and {target.shape}")
        self.losses, self.norm = self.buffer(x.count, keep=True), self.buffer(1, keep=True)
        self.state = self.buffer(x.count, "int32", keep=True)
        return [()]

    def flat(self, *blobs: Any) -> list[Any]:
        return [a.reshape(a.size) for a in blobs]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = bottom[0].count
        x, target = self.flat(bottom[0].data, bottom[1].data)
        losses, state = self.losses.data, self.state.data
        ignored = (0, 0) if self.ignore_label is None else (self.ignore_label, 1)
        sigmoid_loss[n](x, target, losses, state, *ignored)
        outer = bottom[0].shape[0] if bottom[0].shape else 1
        reduce_loss[1](
            losses, state, self.norm.data, top[0].data.reshape(1), self.normalizer(outer, n // max(outer, 1))
        )

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            x, target, dx = self.flat(bottom[0].data, bottom[1].data, bottom[0].diff)
            dloss = top[0].diff.reshape(1)
            sigmoid_loss_backward[bottom[0].count](x, target, self.state.data, self.norm.data, dloss, dx)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(0.1, 0.9, shape) if index == 1 else rng.standard_normal(shape)


class EuclideanLoss(Loss):
    """Half the mean squared distance of the rows: ``sum (a - b)^2 / (2 N)``; both bottoms can get a gradient."""

    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((3, 4), (3, 2, 2))
    examples = ({},)

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        a, b = bottom
        if not a.shape or not b.shape or a.shape[0] != b.shape[0] or prod(a.shape) != prod(b.shape):
            self.fail(f"needs two bottoms with as many rows of as many values, got {a.shape} and {b.shape}")
        self.sums = self.buffer(a.shape[0])
        return [()]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows = bottom[0].shape[0]
        a, b = (blob.data.reshape(rows, blob.count // max(rows, 1)) for blob in bottom)
        squares[rows](a, b, self.sums.data)
        mean[1](self.sums.data, top[0].data.reshape(1))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n, rows = bottom[0].count, float(bottom[0].shape[0])
        a, b = (blob.data.reshape(n) for blob in bottom)
        for index, sign in enumerate((1.0, -1.0)):
            if self.propagate_down[index]:
                distance_backward[n](a, b, top[0].diff.reshape(1), bottom[index].diff.reshape(n), sign, rows)
