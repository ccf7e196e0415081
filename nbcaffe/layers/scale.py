"""Scale and Bias: one number for each index of some axes, the same along the others."""

from collections.abc import Sequence
from math import prod
from typing import Any

from ..blob import Blob, Weight
from ..kernel import Kernel, kernel
from ..layer import Layer
from ..params import Bool, Filler, FillerSpec, Int
from ..sums import add_column_dots, add_column_sums, blocks, lanes_for, row_dots, row_sums
from .structural import copy, zero

ONE = FillerSpec(value=1.0)


@kernel
def shift(n, d, i, x, b, y):
    y[n, d, i] = x[n, d, i] + b[d]


@kernel
def shift_columns(n, d, x, b, y):
    y[n, d] = x[n, d] + b[d]


@kernel
def stretch(n, d, i, x, a, y):
    y[n, d, i] = x[n, d, i] * a[d]


@kernel
def stretch_columns(n, d, x, a, y):
    y[n, d] = x[n, d] * a[d]


@kernel
def stretch_and_shift(n, d, i, x, a, b, y):
    y[n, d, i] = x[n, d, i] * a[d] + b[d]


@kernel
def stretch_and_shift_columns(n, d, x, a, b, y):
    y[n, d] = x[n, d] * a[d] + b[d]


# Where each value stands for one element of a row, not for a plane, loops run along the row
COLUMNS = {shift: shift_columns, stretch: stretch_columns, stretch_and_shift: stretch_and_shift_columns}


class Broadcast(Layer, abstract=True):
    """A blob and a smaller one, learned or the second bottom, whose axes are those of the first from ``axis`` on."""

    per_sample = True
    axis = Int(1, doc="the first of the axes along which the values differ; negative counts from the end")
    num_axes = Int(1, ge=-1, doc="how many axes differ; -1 is all from axis on, 0 one value for everything")
    num_bottom = (1, 2)
    inplace = True
    bottom_shapes = ((2, 3, 4),)

    def fit(self, bottom: Sequence[Blob]) -> tuple[int, ...]:
        """The shape of the smaller blob; the larger one is (outer, that many, inner)."""
        shape = bottom[0].shape
        axes = len(shape)
        first = self.axis_of(bottom[0], self.axis)
        count = len(bottom[1].shape) if len(bottom) == 2 else axes - first if self.num_axes < 0 else self.num_axes
        if first + count > axes:
            self.fail(f"axis {self.axis} and {count} axes reach beyond the {axes} axes of {shape}")
        small = shape[first : first + count]
        if len(bottom) == 2 and bottom[1].shape != small:
            self.fail(f"bottom 1 needs the shape {small} of axes {first} to {first + count - 1}, got {bottom[1].shape}")
        self.sizes = (prod(shape[:first]), prod(small), prod(shape[first + count :]))
        rows = (self.sizes[0] * self.sizes[1], self.sizes[2])
        self.rows, self.lanes, self.sums = rows, self.buffer(lanes_for(rows)), self.buffer(self.sizes[:2])
        return small

    def add_sums(self, diff: Blob, overwrite: bool, *factors: Any) -> None:
        """Add to ``diff``, for each of its values, the sum of what it met: of one array, or of two arrays' products."""
        count = self.sizes[1]
        out, sums, pair = diff.diff.reshape(count), self.sums.data, (factors[0], factors[-1])
        if overwrite:
            zero[count](out)
        if self.sizes[2] == 1:
            kernel = add_column_dots if len(factors) == 2 else add_column_sums
            kernel[blocks(count)](*(a.reshape(self.sizes[:2]) for a in pair), out)
            return
        kernel = row_dots if len(factors) == 2 else row_sums
        kernel[self.rows[0]](*(a.reshape(self.rows) for a in pair), self.lanes.data, sums.reshape(self.rows[0]))
        add_column_sums[blocks(count)](sums, sums, out)

    def spread(self, kernel: Kernel, x: Any, y: Any, *smaller: Blob) -> None:
        """Run a kernel on the large arrays, which have one shape, and the small ones."""
        form, kernel = (self.sizes[:2], COLUMNS[kernel]) if self.sizes[2] == 1 else (self.sizes, kernel)
        kernel[form](x.reshape(form), *(blob.data.reshape(self.sizes[1]) for blob in smaller), y.reshape(form))


class Bias(Broadcast):
    """Add one number for each channel (or for each index of the axes ``axis`` to ``axis + num_axes - 1``).

    The numbers are learned, or the second bottom, whose number of axes then takes the place of ``num_axes``.
    """

    filler = Filler("constant", doc="how the numbers start")
    backward_needs = frozenset()
    examples = (
        {},
        {"axis": 0, "num_axes": -1, "filler": "gaussian"},
        {"axis": -1},
        {"num_axes": 0},
        {"axis": 1, "bottom": [(2, 3, 4, 2), (3, 4)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        small = self.fit(bottom)
        self.b = bottom[1] if len(bottom) == 2 else self.weight(small, self.filler)
        return [bottom[0].shape]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.spread(shift, bottom[0].data, top[0].data, self.b)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        given = len(bottom) == 2
        if self.propagate_down[1] if given else self.param_propagate[0]:
            self.add_sums(self.b, given, top[0].diff)
        if self.propagate_down[0] and not self.overwriting:
            n = bottom[0].count
            copy[n](top[0].diff.reshape(n), bottom[0].diff.reshape(n))


class Scale(Broadcast):
    """Multiply by one number for each channel (or index of ``num_axes`` axes from ``axis`` on), and shift if asked to.

    ``y = a x + b``: what BatchNorm leaves out.  The factors are learned, or the second bottom, whose number of axes
    then takes the place of ``num_axes``; with ``bias_term`` the shifts are learned.  In place it keeps a copy of its
    bottom, which the factors' gradient needs.
    """

    filler = Filler(ONE, doc="how the factors start; 1 if not given")
    bias_term = Bool(False, doc="add a learned shift too")
    bias_filler = Filler("constant", doc="how the shifts start")
    backward_needs = frozenset({"bottom"})
    examples = (
        {},
        {"axis": -2, "num_axes": 2, "bias_term": True},
        {"num_axes": 0, "bias_term": True},
        {"axis": 0, "num_axes": -1},
        {"axis": -1, "bias_term": True},
        {"axis": 1, "bias_term": True, "bottom": [(2, 3, 4, 2), (3, 4)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        small = self.fit(bottom)
        self.a = bottom[1] if len(bottom) == 2 else self.weight(small, self.filler)
        self.b: Weight | None = self.weight(small, self.bias_filler) if self.bias_term else None
        self.copy = self.buffer(bottom[0].count, keep=True) if self.overwriting else None
        return [bottom[0].shape]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = bottom[0].count
        if self.copy:
            copy[n](bottom[0].data.reshape(n), self.copy.data)
        smaller = (self.a, self.b) if self.b else (self.a,)
        self.spread(stretch_and_shift if self.b else stretch, bottom[0].data, top[0].data, *smaller)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        given, dy = len(bottom) == 2, top[0].diff
        x = self.copy.data if self.copy else bottom[0].data
        if self.propagate_down[1] if given else self.param_propagate[0]:
            self.add_sums(self.a, given, dy, x)
        if self.b and self.param_propagate[-1]:
            self.add_sums(self.b, False, dy)
        if self.propagate_down[0]:
            self.spread(stretch, dy, bottom[0].diff, self.a)
