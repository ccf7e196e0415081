"""The fully connected layer."""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

from ..blob import Blob, Weight
from ..elementwise import Elementwise
from ..layer import Layer
from ..ops.choose import PRODUCT_CHOICES, product
from ..ops.finish import code_of
from ..ops.shapes import ProductShape
from ..params import Bool, Choice, Filler, Int
from ..sums import add_column_sums, blocks
from .embed import Embed
from .embedded import EmbeddedProduct
from .structural import copy

LARGE, MOST = 1 << 16, 512  # a late gradient pays for so many weights; with more samples the product takes the time


class InnerProduct(Layer):
    """Every output is a weighted sum of every input: ``y = x w^T + b``.

    The axes from ``axis`` on are one vector, those before it count vectors: (N, C, H, W) gives (N, num_output).
    Weights are (num_output, inputs), with ``transpose`` (inputs, num_output).
    """

    per_sample = True
    embedded: EmbeddedProduct | None = None  # this and the Embed below in one
    # what a recurrent layer found: what the product, and the bottom's gradient, are added to; that the bottom is zeros
    start: Blob | None = None
    start_diff: Blob | None = None
    of_zeros = False
    num_output = Int(ge=1, doc="number of outputs")
    bias_term = Bool(True, doc="add a learned bias to each output")
    weight_filler = Filler("constant", doc="how the weights start")
    bias_filler = Filler("constant", doc="how the bias starts")
    axis = Int(1, doc="first axis of the input vector; negative counts from the end")
    transpose = Bool(False, doc="keep the weights as (inputs, num_output)")
    engine = Choice(*PRODUCT_CHOICES, doc="who computes it; DEFAULT takes the fastest that can")

    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((3, 2, 4),)
    examples = (
        {"num_output": 5, "weight_filler": "xavier"},
        {"num_output": 3, "axis": -1, "transpose": True, "weight_filler": "xavier"},
        {"num_output": 3, "bias_term": False, "weight_filler": "xavier"},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, axes = bottom[0].shape, len(bottom[0].shape)
        axis = self.axis + axes if self.axis < 0 else self.axis
        if not 0 <= axis < axes:
            self.fail(f"axis {self.axis} is none of the {axes} axes of the bottom, {shape}")
        self.shape = ProductShape(prod(shape[:axis]), prod(shape[axis:]), self.num_output, self.transpose)
        asked = vars(self).setdefault("asked_engine", self.engine)
        self.w = self.weight(self.shape.weight_shape, self.weight_filler)
        self.b = self.weight((self.num_output,), self.bias_filler) if self.bias_term else None
        self.embedded = None
        self.engine, self.op = product(self.shape, self.buffer, self.dtype, self.target, asked, self.place)
        return [(*shape[:axis], self.num_output)]

    @property
    def can_start(self) -> bool:
        """Whether the product can be added to another blob, ``start``, in one go."""
        return self.engine == "DIRECT" and self.b is None

    def embed(self, index: int, table: Layer) -> bool:
        s = self.shape
        gains = isinstance(table, Embed) and 2 * table.input_dim <= s.rows and table.num_output == s.inner
        gains = gains and not self.w.late  # after a reshape
        if gains and isinstance(table, Embed):
            self.embedded = EmbeddedProduct(table, s, self.buffer, self.dtype, self.target)
        return gains

    def finish(self, activation: Layer) -> bool:
        able = self.engine == "DIRECT" and self.embedded is None
        return able and isinstance(activation, Elementwise) and self.op.finish(code_of(activation))

    def postpone(self) -> Sequence[Weight]:
        pays = self.w.count >= LARGE and self.shape.rows <= MOST and self.embedded is None
        return [self.w] if pays and self.engine == "DIRECT" and self.param_propagate[0] else []

    def gradient_factors(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> Sequence[tuple[Weight, Any, Any]]:
        s = self.shape
        x, dy = bottom[0].data.reshape(s.rows, s.inner), top[0].diff.reshape(s.rows, s.cols)
        return [(self.w, x, dy) if s.transpose else (self.w, dy, x)]

    def repeat(self, copies: Sequence[Layer]) -> bool:
        if self.engine != "DIRECT":
            return False
        self.op.repeat([one.op for one in copies if isinstance(one, InnerProduct)], partial(self.buffer, keep=True))
        return True

    def before_forward(self) -> None:
        self.op.y.prepare(self.w.data)

    def before_backward(self) -> None:
        self.op.dx.prepare(self.w.data)

    @property
    def multiply_adds(self) -> int:
        return self.shape.multiply_adds

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        s, bias = self.shape, self.b.data if self.b else None
        x, y = bottom[0].data.reshape(s.rows, s.inner), top[0].data.reshape(s.rows, s.cols)
        if self.embedded is not None:
            self.embedded.forward(self.w.data, bias, y)
        elif self.start is None:
            self.op.forward(x, self.w.data, bias, y)
        elif self.of_zeros:
            copy[y.size](self.start.data.reshape(y.size), y.reshape(y.size))
        else:
            self.op.forward(x, self.w.data, None, y, start=self.start.data.reshape(s.rows, s.cols))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        s, wanted = self.shape, self.param_propagate
        bias = self.b.diff if self.b and wanted[1] else None
        dy = top[0].diff.reshape(s.rows, s.cols)
        if self.embedded is not None:
            self.embedded.backward(self.w.data, dy, self.w.diff if wanted[0] else None, bias)
        elif wanted[0] and not self.w.late and not self.of_zeros:
            self.op.backward_weights(bottom[0].data.reshape(s.rows, s.inner), dy, self.w.diff, bias)
        elif bias is not None:
            add_column_sums[blocks(s.cols)](dy, dy, bias.reshape(s.cols))
        if self.propagate_down[0] and self.embedded is None:
            dx = bottom[0].diff.reshape(s.rows, s.inner)
            if self.start_diff is None:
                self.op.backward_data(dy, self.w.data, dx)
            else:
                self.op.backward_data(dy, self.w.data, dx, start=self.start_diff.diff.reshape(s.rows, s.inner))
