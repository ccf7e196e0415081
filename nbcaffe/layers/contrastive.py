"""The loss of pairs: like ones close together, unlike ones apart."""

import math
from collections.abc import Sequence
from math import prod

import numpy as np

from ..blob import Blob
from ..kernel import kernel
from ..layer import Loss
from ..params import Bool, Float
from .labels import Labelled, label_state
from .loss import reduce_loss


@kernel
def pair_loss(n, a, b, similar, losses, state, seen, squares, margin, legacy):
    """Half of one pair's loss, and its squared distance."""
    total = 0.0
    for i in range(a.shape[1]):
        total += (a[n, i] - b[n, i]) * (a[n, i] - b[n, i])
    kind = label_state(similar[n, 0], 2, 0, 0)
    gap = margin - (total if legacy != 0 else math.sqrt(total))
    gap = 0.0 if gap < 0.0 else gap
    apart = gap if legacy != 0 else gap * gap
    squares[n] = total
    losses[n] = 0.5 * (total if kind == 0 and similar[n, 0] != 0.0 else apart)
    state[n, 0] = kind
    seen[n, 0] = similar[n, 0]


@kernel
def pair_backward(n, i, a, b, similar, squares, dloss, dx, scale, margin, legacy):
    """Unlike pairs that are far enough get nothing; Caffe's 1e-4 keeps those that coincide finite."""
    distance = math.sqrt(squares[n])
    gap = margin - (squares[n] if legacy != 0 else distance)
    push = -1.0 if legacy != 0 else -gap / (distance + 1e-4)
    factor = 1.0 if similar[n, 0] != 0.0 else (0.0 if gap <= 0.0 else push)
    dx[n, i] = dloss[0] * scale * factor * (a[n, i] - b[n, i])


class ContrastiveLoss(Labelled, Loss):
    """Half the mean over pairs of ``d^2`` for like ones and ``max(margin - d, 0)^2`` for others, d their distance.

    Two blobs of N vectors, and for each pair a 1 (like) or a 0 (unlike); siamese nets train on it.  With
    ``legacy_version`` the loss of unlike pairs is ``max(margin - d^2, 0)``.

    Hadsell, Chopra and LeCun, *Dimensionality reduction by learning an invariant mapping*, CVPR 2006.
    """

    margin = Float(1.0, doc="unlike pairs farther apart than this have no loss")
    legacy_version = Bool(False, doc="the loss that Caffe had first, with the squared distance")
    num_bottom = 3
    ignore_label = None
    differentiable = (0, 1)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((6, 3), (6, 3), (6,))
    examples = (
        {"margin": 100},
        {"margin": 10000, "legacy_version": True, "bottom": [(6, 3, 1, 1), (6, 3, 1, 1), (6, 1, 1, 1)]},
        {},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        a, b, similar = bottom
        if not a.shape or a.shape != b.shape:
            self.fail(f"needs two bottoms of one shape, got {a.shape} and {b.shape}")
        self.rows = (a.shape[0], prod(a.shape[1:]))
        if similar.count != self.rows[0]:
            self.fail(f"{self.rows[0]} pairs need as many labels, 1 for like or 0; got shape {similar.shape}")
        self.places([Blob((self.rows[0], 2)), similar], 1)
        self.squares = self.buffer(self.rows[0], keep=True)
        self.losses, self.norm = self.buffer(self.rows[0]), self.buffer(1)
        return [()]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = self.rows[0]
        a, b = (blob.data.reshape(self.rows) for blob in bottom[:2])
        state, losses = self.state.data, self.losses.data
        outputs = (losses, state, self.seen.data, self.squares.data)
        pair_loss[n](a, b, bottom[2].data.reshape(n, 1), *outputs, self.margin, int(self.legacy_version))
        reduce_loss[1](losses, state.reshape(n), self.norm.data, top[0].data.reshape(1), float(max(n, 1)))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        a, b = (blob.data.reshape(self.rows) for blob in bottom[:2])
        arrays = (a, b, bottom[2].data.reshape(self.rows[0], 1), self.squares.data, top[0].diff.reshape(1))
        for index, sign in enumerate((1.0, -1.0)):
            if self.propagate_down[index]:
                numbers = (sign / max(self.rows[0], 1), self.margin, int(self.legacy_version))
                pair_backward[self.rows](*arrays, bottom[index].diff.reshape(self.rows), *numbers)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Pairs so far apart that the 1e-4 in the gradient does not count."""
        return rng.integers(0, 2, shape) if index == 2 else 30.0 * rng.standard_normal(shape)
