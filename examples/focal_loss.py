"""A loss: what is right already counts for less (Lin et al., Focal Loss for Dense Object Detection, 2017)."""

import math

import numpy as np

from nbcaffe import Float, Loss, kernel
from nbcaffe.layers.labels import Labelled, label_state
from nbcaffe.layers.loss import mean
from nbcaffe.layers.softmax import softmax


@kernel
def focal(n, prob, labels, losses, state, seen, gamma):
    """One sample: ``-(1 - p)^gamma log p``, where p is the probability of its class."""
    kind = label_state(labels[n], prob.shape[1], 0, 0)
    p = prob[n, int(labels[n]), 0] if kind == 0 else 1.0
    losses[n] = -((1.0 - p) ** gamma) * math.log(max(p, 1e-30))
    state[n, 0] = kind
    seen[n, 0] = labels[n]


@kernel
def focal_backward(n, prob, labels, state, dloss, dx, gamma, share):
    p = prob[n, int(labels[n]), 0] if state[n, 0] == 0 else 1.0
    slope = gamma * p * (1.0 - p) ** (gamma - 1.0) * math.log(max(p, 1e-30)) - (1.0 - p) ** gamma
    for c in range(prob.shape[1]):
        own = 1.0 if c == int(labels[n]) else 0.0
        dx[n, c] = dloss[0] * share * slope * (own - prob[n, c, 0])


class FocalLoss(Labelled, Loss):
    """Mean over the samples of ``-(1 - p)^gamma log p``, from scores (N, C) and integer labels (N,).

    ``Labelled`` refuses labels that no class has, with the sample and the value.
    """

    gamma = Float(2.0, ge=1, doc="how much less the easy samples count")
    ignore_label = None
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((4, 3), (4,))
    examples = ({}, {"gamma": 1.0})

    def setup(self, bottom):
        rows, _, _ = self.places(bottom, 1)
        self.prob, self.losses = self.buffer(self.sizes, keep=True), self.buffer(rows)
        return [()]

    def forward(self, bottom, top):
        rows, labels = self.sizes[0], bottom[1].data
        softmax[rows, 1](bottom[0].data.reshape(self.sizes), self.prob.data)
        focal[rows](self.prob.data, labels, self.losses.data, self.state.data, self.seen.data, self.gamma)
        mean[1](self.losses.data, top[0].data.reshape(1))

    def backward(self, bottom, top):
        if not self.propagate_down[0]:
            return
        rows, dloss = self.sizes[0], top[0].diff.reshape(1)
        arrays = (self.prob.data, bottom[1].data, self.state.data, dloss, bottom[0].diff)
        focal_backward[rows](*arrays, self.gamma, 1.0 / max(rows, 1))

    @classmethod
    def sample(cls, index, shape, rng):
        """Values for the checks: labels are no random numbers."""
        return rng.integers(0, 3, shape) if index == 1 else rng.standard_normal(shape)

    @staticmethod
    def reference(x, label, gamma):
        """The same in NumPy; `nbcaffe check` compares."""
        prob = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        p = prob[np.arange(len(x)), label.astype(int)]
        return np.mean(-((1 - p) ** gamma) * np.log(p))
