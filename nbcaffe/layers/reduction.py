"""Layers that make one number, or a few, of many: sums, means, places of the largest."""

import math
from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..kernel import kernel, real
from ..layer import Layer
from ..params import Bool, Choice, Float, Int
from ..sums import lanes_for, row_dots, row_sizes, row_sums


@kernel
def scale(row, y, factor):
    y[row] *= factor


@kernel
def spread(row, i, dy, dx, factor):
    dx[row, i] = dy[row] * factor


@kernel
def spread_signs(row, i, dy, dx, factor, x):
    """The absolute value has no slope at 0."""
    value = x[row, i]
    sign = value if value != value else (1.0 if value > 0.0 else (-1.0 if value < 0.0 else 0.0))
    dx[row, i] = dy[row] * factor * sign


@kernel
def spread_values(row, i, dy, dx, factor, x):
    dx[row, i] = dy[row] * factor * 2.0 * x[row, i]


TOTALS = {"ASUM": row_sizes, "SUMSQ": row_dots}


class Reduction(Layer):
    """One number for each row of the axes from ``axis`` on: their sum, sum of sizes, sum of squares or mean.

    (N, C, H, W) with ``axis: 1`` gives (N,); all times ``coeff``.
    """

    operation = Choice("SUM", "ASUM", "SUMSQ", "MEAN", doc="what becomes of the values; ASUM sums their sizes")
    axis = Int(0, doc="the first axis that vanishes, and all behind it do; negative counts from the end")
    coeff = Float(1.0, doc="factor of the result")
    kinks = (0.0,)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((3, 4, 2),)
    examples = (
        {},
        {"operation": "ASUM", "axis": 1, "coeff": 0.5},
        {"operation": "SUMSQ", "axis": -1},
        {"operation": "MEAN", "axis": 1},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        axis = self.axis_of(bottom[0], self.axis) if bottom[0].shape else 0
        shape = bottom[0].shape
        self.rows = (prod(shape[:axis]), prod(shape[axis:]))
        self.lanes = self.buffer(lanes_for(self.rows))
        self.factor = self.coeff / max(self.rows[1], 1) if self.operation == "MEAN" else self.coeff
        return [shape[:axis]]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rows, x, y = self.rows[0], bottom[0].data.reshape(self.rows), top[0].data.reshape(self.rows[0])
        TOTALS.get(self.operation, row_sums)[rows](x, x, self.lanes.data, y)
        if self.factor != 1.0:
            scale[rows](y, self.factor)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        x, dx = (a.reshape(self.rows) for a in (bottom[0].data, bottom[0].diff))
        arguments = (top[0].diff.reshape(self.rows[0]), dx, self.factor)
        if self.operation == "ASUM":
            spread_signs[self.rows](*arguments, x)
        elif self.operation == "SUMSQ":
            spread_values[self.rows](*arguments, x)
        else:
            spread[self.rows](*arguments)


@kernel
def largest(n, s, x, places, values, top_k):
    """The ``top_k`` largest of one row, each found after the one before; of equal ones the later comes first.

    A NaN has no place in that order: it makes the whole row NaN.
    """
    classes = x.shape[1]
    bound, before = math.inf, classes
    nans = 0
    for c in range(classes):
        nans += 1 if x[n, c, s] != x[n, c, s] else 0
    for rank in range(top_k):
        best, place = -math.inf, 0
        for c in range(classes):
            value = x[n, c, s]
            follows = value < bound or (value == bound and c < before)
            larger = follows and value >= best
            place = c if larger else place
            best = value if larger else best
        places[n, rank, s] = real(place) if nans == 0 else math.nan
        values[n, rank, s] = best if nans == 0 else math.nan
        bound, before = best, place


@kernel
def put_row(n, k, rows, top, at):
    top[n, at, k] = rows[n, k]


class ArgMax(Layer):
    """Where the largest values are: the ``top_k`` of each item, or of each row along ``axis``.

    Without ``axis`` the axes behind the first are one row; the top is (N, 1, top_k), with ``out_max_val``
    (N, 2, top_k), places then values.  With ``axis`` that axis gets the size ``top_k`` and holds the places, or with
    ``out_max_val`` the values.  Of equal values the later comes first, as in Caffe.  A row with a NaN gives NaN.
    """

    param_group = "argmax_param"  # written as one word in caffe.proto
    out_max_val = Bool(False, doc="give the values: beside the places, or with axis in place of them")
    top_k = Int(1, ge=1, doc="how many of the largest values")
    axis = Int(None, doc="the axis to search; if not given, all but the first; negative counts from the end")
    differentiable = ()
    backward_needs = frozenset()
    bottom_shapes = ((2, 5, 3),)
    examples = ({}, {"top_k": 2, "out_max_val": True}, {"axis": 1, "top_k": 2}, {"axis": -1, "out_max_val": True})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        axis = 1 if self.axis is None else self.axis_of(bottom[0], self.axis)
        if not shape or len(shape) < axis + 1:
            self.fail(f"needs a bottom of at least two axes, or axis; got shape {shape}")
        behind = 1 if self.axis is None else prod(shape[axis + 1 :])
        outer = prod(shape[:axis])
        self.sizes = (outer, prod(shape[axis:]) // max(behind, 1), behind)
        if not 1 <= self.top_k <= self.sizes[1]:
            self.fail(f"top_k {self.top_k} is more than the {self.sizes[1]} values of a row")
        found = (outer, self.top_k, behind)
        self.places, self.values = self.buffer(found), self.buffer(found)
        if self.axis is not None:
            return [(*shape[:axis], self.top_k, *shape[axis + 1 :])]
        return [(outer, 1 + self.out_max_val, self.top_k, *(1,) * (len(shape) - 3))]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        outer, _, behind = self.sizes
        found = (outer, self.top_k, behind)
        y, places, values = top[0].data, self.places.data, self.values.data
        if self.axis is not None:
            whole = y.reshape(found)
            places, values = (places, whole) if self.out_max_val else (whole, values)
        largest[outer, behind](bottom[0].data.reshape(self.sizes), places, values, self.top_k)
        if self.axis is None:
            rows = (outer, self.top_k)
            y = y.reshape(outer, 1 + self.out_max_val, self.top_k)
            for at, found_rows in enumerate((places, values)[: y.shape[1]]):
                put_row[rows](found_rows.reshape(rows), y, at)
