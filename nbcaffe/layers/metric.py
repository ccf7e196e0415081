"""Accuracy, which nothing trains on."""

import math
from collections.abc import Sequence

import numpy as np

from ..blob import Blob
from ..kernel import kernel, team_range, team_sum
from ..params import Int
from .labels import Labelled, label_state


@kernel
def rank(n, s, x, labels, state, seen, right, top_k, ignored, ignores):
    """1 where the true class of a place is among its ``top_k``, a tie counting against it; NaN where a score is."""
    classes = x.shape[1]
    kind = label_state(labels[n, s], classes, ignored, ignores)
    correct = 0.0
    if kind == 0:
        score = x[n, int(labels[n, s]), s]
        better, nans = -1, 0  # the true class counts itself
        for c in range(classes):
            better += 1 if not x[n, c, s] < score else 0
            nans += 1 if x[n, c, s] != x[n, c, s] else 0
        correct = math.nan if nans > 0 else 1.0 if better < top_k else 0.0
    right[n, s] = correct
    state[n, s] = kind
    seen[n, s] = labels[n, s]


@kernel(team=True)
def share(row, right, state, out):
    """Right places over places that count."""
    hits = 0.0
    counted = 0.0
    for i in team_range(right.shape[0]):
        hits += right[i]
        counted += 1.0 if state[i] == 0 else 0.0
    hits, counted = team_sum(hits), team_sum(counted)
    out[0] = hits / counted if counted > 0.0 else 0.0


@kernel(team=True)
def share_of_class(c, right, state, labels, out):
    hits = 0.0
    counted = 0.0
    for i in team_range(right.shape[0]):
        mine = state[i] == 0 and int(labels[i]) == c
        hits += right[i] if mine else 0.0
        counted += 1.0 if mine else 0.0
    hits, counted = team_sum(hits), team_sum(counted)
    out[c] = hits / counted if counted > 0.0 else 0.0


class Accuracy(Labelled):
    """The share of places whose true class is among the ``top_k`` best scores.

    A class that ties with the true one counts as better, as in Caffe.  A NaN among the scores makes the accuracy NaN,
    where Caffe counts the place as right.  Scores (N, C, ...), integer
    labels (N, ...), a scalar top; a second top (C,) has the accuracy among the places of each class, 0 where there are
    none.
    """

    top_k = Int(1, ge=1, doc="how many of the best scores count as right")
    axis = Int(1, doc="the class axis; negative counts from the end")
    ignore_label = Int(None, doc="labels of this value count for nothing")
    num_bottom = 2
    num_top = (1, 2)
    differentiable = ()
    backward_needs = frozenset()
    bottom_shapes = ((6, 4), (6,))
    examples = ({}, {"top_k": 2, "ignore_label": 1, "num_top": 2, "bottom": [(2, 4, 3), (2, 3)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        outer, classes, inner = self.places(bottom, self.axis)
        if self.top_k > classes:
            self.fail(f"top_k {self.top_k} is more than the {classes} classes")
        self.right = self.buffer((outer, inner))
        return [(), (classes,)][: self.num_tops]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        outer, classes, inner = self.sizes
        x, labels = bottom[0].data.reshape(self.sizes), bottom[1].data.reshape(outer, inner)
        state, right = self.state.data, self.right.data
        rank[outer, inner](x, labels, state, self.seen.data, right, self.top_k, *self.ignored)
        n = outer * inner
        share[1](right.reshape(n), state.reshape(n), top[0].data.reshape(1))
        if self.num_tops == 2:
            share_of_class[classes](right.reshape(n), state.reshape(n), labels.reshape(n), top[1].data)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 3, shape) if index == 1 else rng.standard_normal(shape)
