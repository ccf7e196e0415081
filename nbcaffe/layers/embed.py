"""Layers that pick rows by number: of a learned table, or of a batch."""

from collections.abc import Sequence
from math import prod

import numpy as np

from ..blob import Blob
from ..kernel import kernel
from ..ops.plain import bias_gradient
from ..params import Bool, Filler, Int
from ..sums import blocks
from .indices import Indexed, give_back_rows, pick_rows
from .structural import zero


@kernel
def pick_rows_and_shift(k, j, rows, table, b, y):
    y[k, j] = table[max(rows[k], 0), j] + b[j]


class Embed(Indexed):
    """Whole numbers to learned vectors: index i gives row i of the weights, plus a bias that all share.

    A bottom of any shape with values 0 to ``input_dim - 1`` gives a top with one more axis, of ``num_output``.  It is
    InnerProduct of one-hot vectors, without making them; an index out of range is an error.
    """

    per_sample = True
    num_output = Int(ge=1, doc="length of each vector")
    input_dim = Int(ge=1, doc="how many different indices there are")
    bias_term = Bool(True, doc="add a learned bias to all vectors")
    weight_filler = Filler("constant", doc="how the vectors start")
    bias_filler = Filler("constant", doc="how the bias starts")
    differentiable = ()
    backward_needs = frozenset()
    bottom_shapes = ((2, 5),)
    examples = (
        {"num_output": 3, "input_dim": 4, "weight_filler": "xavier"},
        {"num_output": 2, "input_dim": 5, "bias_term": False, "weight_filler": "gaussian", "bottom": [(6,)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        self.indices(bottom[0], self.input_dim)
        self.w = self.weight((self.input_dim, self.num_output), self.weight_filler)
        self.b = self.weight((self.num_output,), self.bias_filler) if self.bias_term else None
        return [(*bottom[0].shape, self.num_output)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shape = (bottom[0].count, self.num_output)
        self.read(bottom[0])
        rows, y = self.picked.data, top[0].data.reshape(shape)
        if self.b:
            pick_rows_and_shift[shape](rows, self.w.data, self.b.data, y)
        else:
            pick_rows[shape](rows, self.w.data, y)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shape = (bottom[0].count, self.num_output)
        if self.param_propagate[0]:
            give_back_rows[blocks(shape[1])](self.picked.data, top[0].diff.reshape(shape), self.w.diff)
        if self.b and self.param_propagate[1]:
            bias_gradient[self.num_output](top[0].diff.reshape(*shape, 1), self.b.diff)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 4, shape)


class BatchReindex(Indexed):
    """Pick items of a batch by number: ``y[k] = x[index[k]]``, some perhaps twice, others never.

    Bottom 1 has one whole number for each item of the top; a gradient is the sum over those that picked the item.
    """

    num_bottom = 2
    differentiable = (0,)
    backward_needs = frozenset()
    index_bottom = 1
    bottom_shapes = ((4, 3, 2), (5,))

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        x, index = bottom
        if not x.shape or len(index.shape) != 1:
            self.fail(f"needs a batch and one axis of indices, got shapes {x.shape} and {index.shape}")
        self.indices(index, x.shape[0])
        self.width = prod(x.shape[1:])
        return [(index.count, *x.shape[1:])]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.read(bottom[1])
        x, y = (b.data.reshape(b.shape[0], self.width) for b in (bottom[0], top[0]))
        pick_rows[y.shape](self.picked.data, x, y)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        n = bottom[0].count
        zero[n](bottom[0].diff.reshape(n))
        dy, dx = (b.diff.reshape(b.shape[0], self.width) for b in (top[0], bottom[0]))
        give_back_rows[blocks(self.width)](self.picked.data, dy, dx)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 4, shape) if index == 1 else rng.standard_normal(shape)
