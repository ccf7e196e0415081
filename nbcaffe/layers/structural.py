"""Layers that arrange blobs: split, join, reshape, swallow."""

from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..kernel import kernel
from ..layer import Layer
from ..params import Int


@kernel
def copy(i, x, y):
    y[i] = x[i]


@kernel
def add(i, x, y):
    y[i] += x[i]


@kernel
def add_two(i, a, b, y):
    y[i] = a[i] + b[i]


@kernel
def add_three(i, a, b, c, y):
    y[i] = a[i] + b[i] + c[i]


@kernel
def add_four(i, a, b, c, d, y):
    y[i] = a[i] + b[i] + c[i] + d[i]


SUMS = (copy, add_two, add_three, add_four)  # of so many arrays in one pass


@kernel
def put_part(n, i, part, whole, first):
    whole[n, first + i] = part[n, i]


@kernel
def take_part(n, i, whole, part, first):
    part[n, i] = whole[n, first + i]


@kernel
def zero(i, x):
    x[i] = 0.0


class Split(Layer):
    """One blob for several readers: tops share the bottom's data, their gradients are summed.

    Nets insert it wherever a blob has more than one reader.
    """

    per_sample = True
    num_top = (1, None)
    backward_needs = frozenset()
    shares = "data"
    examples = ({"num_top": 2}, {"num_top": 3}, {"num_top": 6})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        return [bottom[0].shape] * self.num_tops

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass  # the tops are the bottom's memory

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        n = bottom[0].count
        dx, diffs = bottom[0].diff.reshape(n), [t.diff.reshape(n) for t in top]
        together = diffs[: len(SUMS)]
        SUMS[len(together) - 1][n](*together, dx)
        for dy in diffs[len(together) :]:
            add[n](dy, dx)


class Flatten(Layer):
    """Merge the axes from ``axis`` to ``end_axis`` into one; (N, C, H, W) gives (N, CHW), as a view."""

    per_sample = True
    axis = Int(1, doc="first axis to merge; negative counts from the end")
    end_axis = Int(-1, doc="last axis to merge; negative counts from the end")
    backward_needs = frozenset()
    shares = "both"
    examples = ({}, {"axis": 0, "end_axis": 1})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, axes = bottom[0].shape, len(bottom[0].shape)
        first, last = (a + axes if a < 0 else a for a in (self.axis, self.end_axis))
        if not 0 <= first <= last < axes:
            self.fail(f"axis {self.axis} to end_axis {self.end_axis} is no range of the {axes} axes of {shape}")
        return [(*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass  # a view

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass  # a view


class Concat(Layer):
    """Join blobs along ``axis``; their other axes must agree.  (N, A, ...) and (N, B, ...) give (N, A+B, ...)."""

    per_sample = True
    axis = Int(1, doc="the axis along which blobs are joined; negative counts from the end")
    concat_dim = Int(None, ge=0, doc="old name of axis")
    num_bottom = (1, None)
    backward_needs = frozenset()
    bottom_shapes = ((2, 3, 4), (2, 2, 4))
    examples = ({}, {"axis": -1, "bottom": [(2, 3), (2, 1), (2, 2)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, axes = bottom[0].shape, len(bottom[0].shape)
        axis = self.axis if self.concat_dim is None else self.concat_dim
        along = axis + axes if axis < 0 else axis
        if not 0 <= along < axes:
            self.fail(f"axis {axis} is none of the {axes} axes of the first bottom, {shape}")
        for other in bottom[1:]:
            others = (*other.shape[:along], *other.shape[along + 1 :])
            if len(other.shape) != axes or others != (*shape[:along], *shape[along + 1 :]):
                self.fail(f"bottoms must agree in every axis but {along}, got {shape} and {other.shape}")
        total = sum(b.shape[along] for b in bottom)
        self.rows, step = prod(shape[:along]), prod(shape[along + 1 :])
        self.widths = [b.shape[along] * step for b in bottom]
        return [(*shape[:along], total, *shape[along + 1 :])]

    def parts(self) -> list[tuple[int, int]]:
        """(first column, columns) of each bottom in the top as a matrix."""
        return [(sum(self.widths[:i]), width) for i, width in enumerate(self.widths)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        whole = top[0].data.reshape(self.rows, sum(self.widths))
        for blob, (first, width) in zip(bottom, self.parts(), strict=True):
            put_part[self.rows, width](blob.data.reshape(self.rows, width), whole, first)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        whole = top[0].diff.reshape(self.rows, sum(self.widths))
        for index, (first, width) in enumerate(self.parts()):
            if self.propagate_down[index]:
                take_part[self.rows, width](whole, bottom[index].diff.reshape(self.rows, width), first)


class Silence(Layer):
    """Swallow blobs that nobody reads, so that they are no outputs of the net; their gradient is 0."""

    num_bottom = (1, None)
    num_top = 0
    backward_needs = frozenset()
    bottom_shapes = ((2, 3), (4,))

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        return []

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass  # nothing to compute

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        for index, blob in enumerate(bottom):
            if self.propagate_down[index]:
                zero[blob.count](blob.diff.reshape(blob.count))
