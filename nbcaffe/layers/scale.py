"""Scale and Bias: one number for each index of some axes, the same along the others."""

from collections.abc import Sequence
from math import prod

from ..blob import Blob, Weight
from ..kernel import kernel
from ..layer import Layer
from ..params import Bool, Filler, FillerSpec, Int
from .structural import copy
from .sums import add_column_sums, blocks, lanes_for, row_dots, row_sums

ONE = FillerSpec(value=1.0)


@kernel
def shift(n, d, i, x, b, y):
    y[n, d, i] = x[n, d, i] + b[d]


@kernel
def stretch(n, d, i, x, a, y):
    y[n, d, i] = x[n, d, i] * a[d]


@kernel
def stretch_and_shift(n, d, i, x, a, b, y):
    y[n, d, i] = x[n, d, i] * a[d] + b[d]


@kernel
def clear(d, x):
    x[d] = 0.0


class Broadcast(Layer, abstract=True):
    """A blob and a smaller one, learned or the second bottom, whose axes are those of the first from ``axis`` on."""

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

    def add_sums(self, diff: Blob, overwrite: bool, *factors: object) -> None:
        """Add to ``diff``, for each of its values, the sum of what it met: of one array, or of two arrays' products."""
        out, sums = diff.diff.reshape(self.sizes[1]), self.sums.data
        if overwrite:
            clear[self.sizes[1]](out)
        arrays = [a.reshape(self.rows) for a in factors]  # type: ignore[attr-defined]
        kernel = row_dots if len(factors) == 2 else row_sums
        kernel[self.rows[0]](*arrays, self.lanes.data, sums.reshape(self.rows[0]))
        add_column_sums[blocks(self.sizes[1])](sums, out)


class Bias(Broadcast):
    """Add one number for each channel (or for each index of the axes ``axis`` to ``axis + num_axes - 1``).

    The numbers are learned, or the second bottom, whose number of axes then takes the place of ``num_axes``.
    """

    filler = Filler("constant", doc="how the numbers start")
    backward_needs = frozenset()
    examples = (
        {},
        {"axis": 0, "num_axes": -1, "filler": "gaussian"},
        {"num_axes": 0},
        {"axis": 1, "bottom": [(2, 3, 4, 2), (3, 4)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        small = self.fit(bottom)
        self.b = bottom[1] if len(bottom) == 2 else self.weight(small, self.filler)
        return [bottom[0].shape]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        x, y = (blob.data.reshape(self.sizes) for blob in (bottom[0], top[0]))
        shift[self.sizes](x, self.b.data.reshape(self.sizes[1]), y)

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
        x, y = (blob.data.reshape(self.sizes) for blob in (bottom[0], top[0]))
        a = self.a.data.reshape(self.sizes[1])
        if self.b:
            stretch_and_shift[self.sizes](x, a, self.b.data.reshape(self.sizes[1]), y)
        else:
            stretch[self.sizes](x, a, y)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        given, dy = len(bottom) == 2, top[0].diff
        x = self.copy.data if self.copy else bottom[0].data
        if self.propagate_down[1] if given else self.param_propagate[0]:
            self.add_sums(self.a, given, dy, x)
        if self.b and self.param_propagate[-1]:
            self.add_sums(self.b, False, dy)
        if self.propagate_down[0]:
            dy, dx = dy.reshape(self.sizes), bottom[0].diff.reshape(self.sizes)
            stretch[self.sizes](dy, self.a.data.reshape(self.sizes[1]), dx)
