"""Layers that cut, repeat and reshape blobs without computing."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from ..blob import Blob
from ..kernel import kernel
from ..layer import Layer
from ..params import Int, Ints, Shapes
from .structural import put_part, take_part

CROP_AXES = 5


@kernel
def repeat(n, t, i, x, y):
    y[n, t, i] = x[n, i]


@kernel
def repeat_backward(n, i, dy, dx):
    total = 0.0
    for t in range(dy.shape[1]):
        total += dy[n, t, i]
    dx[n, i] = total


@kernel
def crop(a, b, c, d, e, x, y, oa, ob, oc, od, oe):
    y[a, b, c, d, e] = x[a + oa, b + ob, c + oc, d + od, e + oe]


@kernel
def clear(i, dx):
    """What was cut away has no gradient."""
    dx[i] = 0.0


@kernel
def crop_backward(a, b, c, d, e, dy, dx, oa, ob, oc, od, oe):
    dx[a + oa, b + ob, c + oc, d + od, e + oe] = dy[a, b, c, d, e]


class Slice(Layer):
    """Cut a blob along ``axis`` into several: before each ``slice_point``, or into equal parts.

    The opposite of Concat: (N, A+B, ...) gives (N, A, ...) and (N, B, ...).
    """

    per_sample = True
    axis = Int(1, doc="the axis along which the blob is cut; negative counts from the end")
    slice_point = Ints((), ge=1, doc="where each further top begins, one fewer than tops; equal parts if not given")
    slice_dim = Int(None, ge=0, doc="old name of axis")
    num_top = (1, None)
    backward_needs = frozenset()
    bottom_shapes = ((2, 6, 3),)
    examples = ({"num_top": 3}, {"axis": -1, "slice_point": [1], "num_top": 2})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        axis = self.axis_of(bottom[0], self.axis if self.slice_dim is None else self.slice_dim)
        size, tops = shape[axis], self.num_tops
        if not self.slice_point and size % tops:
            self.fail(f"axis {axis} of {shape} has no {tops} equal parts; give slice_point")
        if self.slice_point and len(self.slice_point) != tops - 1:
            self.fail(f"{tops} tops need {tops - 1} slice points, got {list(self.slice_point)}")
        points = self.slice_point or tuple(range(size // tops, size, max(size // tops, 1)))
        edges = (0, *points, size)
        if any(low >= high for low, high in pairwise(edges)):
            self.fail(f"slice points must rise between 0 and {size}, the size of axis {axis}; got {list(points)}")
        self.rows, step = prod(shape[:axis]), prod(shape[axis + 1 :])
        self.columns = [edge * step for edge in edges]
        sizes = (high - low for low, high in pairwise(edges))
        return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]

    def move(self, kernel: object, whole: object, parts: Sequence) -> None:
        whole = whole.reshape(self.rows, self.columns[-1])  # type: ignore[attr-defined]
        for part, (first, last) in zip(parts, pairwise(self.columns), strict=True):
            size = (self.rows, last - first)
            pair = (whole, part.reshape(size)) if kernel is take_part else (part.reshape(size), whole)
            kernel[size](*pair, first)  # type: ignore[index]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.move(take_part, bottom[0].data, [t.data for t in top])

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            self.move(put_part, bottom[0].diff, [t.diff for t in top])


class Tile(Layer):
    """Repeat a blob ``tiles`` times along ``axis``: (N, C, ...) gives (N, tiles C, ...)."""

    tiles = Int(ge=1, doc="how many copies")
    axis = Int(1, doc="the axis along which they follow each other; negative counts from the end")
    backward_needs = frozenset()
    bottom_shapes = ((2, 3, 4),)
    examples = ({"tiles": 3}, {"tiles": 2, "axis": -1})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, axis = bottom[0].shape, self.axis_of(bottom[0], self.axis)
        self.rows, self.inner = prod(shape[:axis]), prod(shape[axis:])
        return [(*shape[:axis], shape[axis] * self.tiles, *shape[axis + 1 :])]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        tiled = (self.rows, self.tiles, self.inner)
        repeat[tiled](bottom[0].data.reshape(self.rows, self.inner), top[0].data.reshape(tiled))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            single = (self.rows, self.inner)
            dy = top[0].diff.reshape(self.rows, self.tiles, self.inner)
            repeat_backward[single](dy, bottom[0].diff.reshape(single))


class Reshape(Layer):
    """The same values in another shape, as a view.

    ``shape`` replaces the axes from ``axis`` on, ``num_axes`` of them; a 0 in it keeps the size at its place, one -1
    takes what the others leave.  ``[0, -1]`` flattens images, ``axis: 1, num_axes: 0`` puts axes in.
    """

    shape = Shapes((), doc="the new sizes; 0 copies one, -1 is inferred")
    axis = Int(0, doc="first axis to replace; negative counts from the end, -1 is behind the last axis")
    num_axes = Int(-1, ge=-1, doc="how many axes to replace; -1 is all from axis on")
    backward_needs = frozenset()
    shares = "both"
    examples = (
        {"shape": [0, -1]},
        {"shape": [-1, 5], "axis": 1, "num_axes": 2},
        {"shape": [1], "axis": -1, "num_axes": 0},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        old, axes = bottom[0].shape, len(bottom[0].shape)
        first = self.axis + axes + 1 if self.axis < 0 else self.axis
        last = axes if self.num_axes < 0 else first + self.num_axes
        if not 0 <= first <= last <= axes:
            self.fail(f"axis {self.axis} and num_axes {self.num_axes} are no range of the {axes} axes of {old}")
        if len(self.shape) > 1 or any(size < -1 for size in self.wanted) or self.wanted.count(-1) > 1:
            self.fail(f"shape needs one list of sizes, 0 to copy one and at most one -1; got {list(self.wanted)}")
        if any(size == 0 and first + i >= axes for i, size in enumerate(self.wanted)):
            self.fail(f"a 0 in shape {list(self.wanted)} copies an axis that {old} does not have")
        sizes = [old[first + i] if size == 0 else size for i, size in enumerate(self.wanted)]
        known = prod(old[:first]) * prod(size for size in sizes if size != -1) * prod(old[last:])
        if -1 in sizes and known and prod(old) % known == 0:
            sizes[sizes.index(-1)] = prod(old) // known
        new = (*old[:first], *sizes, *old[last:])
        if -1 in sizes or prod(new) != prod(old):
            self.fail(f"shape {list(self.wanted)} does not fit the {prod(old)} values of {old}")
        return [new]

    @property
    def wanted(self) -> tuple[int, ...]:
        return self.shape[0] if self.shape else ()

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass  # a view

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass  # a view


class Crop(Layer):
    """Cut bottom 0 to the size of bottom 1 in every axis from ``axis`` on, starting at ``offset``.

    Fully convolutional nets trim their enlarged scores to the picture with it.  Bottom 1 gives its shape only.
    """

    axis = Int(2, doc="first axis to cut; negative counts from the end")
    offset = Ints((), ge=0, doc="where the cut begins: one number for all axes, or one for each; 0 if not given")
    num_bottom = 2
    differentiable = (0,)
    backward_needs = frozenset()
    bottom_shapes = ((2, 3, 5, 6), (2, 3, 4, 3))
    examples = ({"offset": [1, 2]}, {"axis": -1, "offset": 1, "bottom": [(2, 6), (5, 4)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, like, axis = bottom[0].shape, bottom[1].shape, self.axis_of(bottom[0], self.axis)
        cut = len(shape) - axis
        if len(like) != len(shape) or len(shape) > CROP_AXES:
            self.fail(f"needs two blobs of as many axes, at most {CROP_AXES}; got {shape} and {like}")
        if len(self.offset) not in (0, 1, cut):
            self.fail(f"offset needs 1 or {cut} values for the axes from {axis} on, got {list(self.offset)}")
        offsets = self.offset if len(self.offset) == cut else (self.offset or (0,)) * cut
        sizes = (*shape[:axis], *like[axis:])
        starts = (*(0,) * axis, *offsets)
        for size, start, whole in zip(sizes, starts, shape, strict=True):
            if start + size > whole:
                self.fail(f"size {sizes} at offset {starts} reaches beyond the bottom, {shape}")
        missing = (1,) * (CROP_AXES - len(shape))
        self.whole, self.part = (*missing, *shape), (*missing, *sizes)
        self.starts = (*(0 for _ in missing), *starts)
        return [sizes]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        crop[self.part](bottom[0].data.reshape(self.whole), top[0].data.reshape(self.part), *self.starts)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            dy, dx = top[0].diff.reshape(self.part), bottom[0].diff.reshape(self.whole)
            clear[dx.size](dx.reshape(dx.size))
            crop_backward[self.part](dy, dx, *self.starts)
