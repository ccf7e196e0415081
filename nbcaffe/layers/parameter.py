"""A learned blob as a top."""

from collections.abc import Sequence

from ..blob import Blob
from ..layer import Layer
from ..params import FillerSpec, Shapes
from .structural import add, copy


class Parameter(Layer):
    """A learned blob of any shape that other layers read like any other; it starts as zeros.

    Whatever takes two bottoms can learn one of them this way, and layers can share it.
    """

    shape = Shapes(doc="its shape")
    num_bottom = 0
    backward_needs = frozenset()
    bottom_shapes = ()
    examples = ({"shape": [3, 4]},)

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        if len(self.shape) != 1:
            self.fail(f"shape needs one list of sizes, got {list(self.shape)}")
        self.w = self.weight(self.shape[0], FillerSpec())
        return [self.shape[0]]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = top[0].count
        copy[n](self.w.data.reshape(n), top[0].data.reshape(n))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.param_propagate[0]:
            n = top[0].count
            add[n](top[0].diff.reshape(n), self.w.diff.reshape(n))
