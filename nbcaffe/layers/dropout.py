"""Dropout with a mask that is computed, not kept."""

from collections.abc import Sequence

from ..blob import Blob
from ..kernel import kernel
from ..layer import Layer
from ..params import Float
from ..rng import philox
from .structural import copy


@kernel
def dropout(i, x, y, key, clock, threshold, scale):
    """Element i of this pass is dropped if its random word is below the threshold."""
    word, _ = philox(key, clock[0], i)
    y[i] = x[i] * scale if word >= threshold else 0.0


class Dropout(Layer):
    """Zero each value with probability ``dropout_ratio`` while training and scale the others by ``1 / (1 - ratio)``.

    In TEST it is the identity.  The mask follows from the seed, the layer's name, the pass and the index, so the
    backward pass computes it again, and it is the same on every target.  The top has the bottom's shape.

    Srivastava et al., *Dropout: a simple way to prevent neural networks from overfitting*, JMLR 2014.
    """

    dropout_ratio = Float(0.5, ge=0.0, lt=1.0, doc="probability that a value is dropped")
    inplace = True
    backward_needs = frozenset()
    examples = ({}, {"dropout_ratio": 0.3})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        return [bottom[0].shape]

    def apply(self, source: object, target: object, n: int) -> None:
        """The same for data and gradients."""
        if self.phase == "TEST":
            copy[n](source, target)
        else:
            threshold, scale = int(self.dropout_ratio * 2**32), 1.0 / (1.0 - self.dropout_ratio)
            dropout[n](source, target, self.key, self.clock, threshold, scale)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = bottom[0].count
        self.apply(bottom[0].data.reshape(n), top[0].data.reshape(n), n)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            n = bottom[0].count
            self.apply(top[0].diff.reshape(n), bottom[0].diff.reshape(n), n)
