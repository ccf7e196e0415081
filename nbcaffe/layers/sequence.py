"""What unrolled nets are held together by: time cut and put together, first values, values held and carried over."""

from collections.abc import Sequence
from math import prod

import numpy as np

from ..blob import Blob, Weight
from ..device import device_of
from ..errors import LabelError
from ..kernel import kernel
from ..layer import Layer
from ..params import Bool, Filler, Int, Ints, Str
from ..sums import add_column_sums, blocks
from .structural import copy, put_part, take_part, zero


@kernel
def repeat_row(n, i, row, y):
    y[n, i] = row[i]


@kernel
def hold(n, i, new, old, lengths, y, time):
    fresh, kept = new[n, i], old[n, i]  # both are read: a choice of what to read is not vectorised
    y[n, i] = fresh if lengths[n] > time else kept


@kernel
def mask(n, i, new, lengths, y, time):
    y[n, i] = new[n, i] if lengths[n] > time else 0.0


@kernel
def mask_rest(n, i, new, lengths, y, time):
    y[n, i] = 0.0 if lengths[n] > time else new[n, i]


class Unstack(Layer):
    """Cut a blob along its first axis and drop it: (T, N, ...) gives T tops (N, ...)."""

    num_top = (1, None)
    backward_needs = frozenset()
    bottom_shapes = ((3, 2, 4),)
    examples = ({"num_top": 3}, {"num_top": 2, "bottom": [(2, 5)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        if not shape or shape[0] != self.num_tops:
            self.fail(f"{self.num_tops} tops need as many steps in the first axis of the bottom, got {shape}")
        self.size = prod(shape[1:])
        return [shape[1:]] * self.num_tops

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        whole = bottom[0].data.reshape(1, bottom[0].count)
        for time, blob in enumerate(top):
            take_part[1, self.size](whole, blob.data.reshape(1, self.size), time * self.size)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            whole = bottom[0].diff.reshape(1, bottom[0].count)
            for time, blob in enumerate(top):
                put_part[1, self.size](blob.diff.reshape(1, self.size), whole, time * self.size)


class Stack(Layer):
    """Put blobs of one shape together along a new first axis: T bottoms (N, ...) give (T, N, ...)."""

    num_bottom = (1, None)
    backward_needs = frozenset()
    bottom_shapes = ((2, 4), (2, 4), (2, 4))
    examples = ({}, {"bottom": [(3,), (3,)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shapes = {blob.shape for blob in bottom}
        if len(shapes) > 1:
            self.fail(f"bottoms of one shape can be stacked, got {' and '.join(map(str, sorted(shapes)))}")
        self.size = bottom[0].count
        return [(len(bottom), *bottom[0].shape)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        whole = top[0].data.reshape(1, top[0].count)
        for time, blob in enumerate(bottom):
            put_part[1, self.size](blob.data.reshape(1, self.size), whole, time * self.size)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        whole = top[0].diff.reshape(1, top[0].count)
        for time, blob in enumerate(bottom):
            if self.propagate_down[time]:
                take_part[1, self.size](whole, blob.diff.reshape(1, self.size), time * self.size)


class InitialState(Layer):
    """The first value of a state, (N, *shape) with the N of the bottom's ``axis``: zeros, learned, or carried over.

    A learned one is one row for all samples.  A carried one is what the KeepState layer of that name last read; at the
    beginning, and after a change of shapes, that is zeros.
    """

    shape = Ints((), ge=1, doc="shape of one sample's value")
    learned = Bool(False, doc="learn it")
    filler = Filler("constant", doc="how a learned one starts")
    carry = Str("", doc="name of a state carried from batch to batch")
    axis = Int(0, ge=0, doc="the axis of the bottom that counts samples")
    backward_needs = frozenset()
    differentiable = ()
    bottom_shapes = ((4, 3),)
    examples = (
        {"shape": [3]},
        {"shape": [2, 2], "learned": True, "filler": "gaussian"},
        {"shape": [3], "carry": "h", "axis": 1},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        self.axis_of(bottom[0], self.axis)
        if self.learned and self.carry:
            self.fail("a state is learned or carried over, not both")
        self.rows, self.size = bottom[0].shape[self.axis], prod(self.shape)
        self.value: Weight | None = self.weight((1, *self.shape), self.filler) if self.learned else None
        shape = (self.rows, *self.shape)
        self.kept = self.buffer(shape, keep=True, carried=True) if self.carry else None
        if self.kept:
            self.states[self.carry] = self.kept
        return [shape]

    @property
    def zeros(self) -> bool:
        """Whether the state always starts from zeros."""
        return not self.learned and not self.carry

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        y, n = top[0].data, top[0].count
        if self.value:
            repeat_row[self.rows, self.size](self.value.data.reshape(self.size), y.reshape(self.rows, self.size))
        elif self.kept:
            copy[n](self.kept.data.reshape(n), y.reshape(n))
        else:
            zero[n](y.reshape(n))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.value and self.param_propagate[0]:
            dy = top[0].diff.reshape(self.rows, self.size)
            add_column_sums[blocks(self.size)](dy, dy, self.value.diff.reshape(self.size))


class KeepState(Layer):
    """Remember the bottom for the next batch, where the InitialState layer of the same ``carry`` starts from it.

    Gradients end here: back-propagation through time is cut between batches.
    """

    carry = Str(doc="name of the state")
    num_top = 0
    backward_needs = frozenset()
    bottom_shapes = ((4, 3),)
    examples = ({"carry": "h"},)

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        self.kept = self.states.get(self.carry) or self.buffer(shape, keep=True, carried=True)
        if self.kept.shape != shape:
            self.fail(f"state {self.carry!r} begins with the shape {self.kept.shape}, but ends with {shape}")
        return []

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = bottom[0].count
        copy[n](bottom[0].data.reshape(n), self.kept.data.reshape(n))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            zero[bottom[0].count](bottom[0].diff.reshape(bottom[0].count))


def refuse_lengths(blob: Blob, steps: int, place: str) -> None:
    """Raise unless all sequences have a whole number of steps, 1 to ``steps``."""
    lengths = device_of(blob.data).download(blob.data)
    wrong = ~((lengths >= 1) & (lengths <= steps) & (lengths == np.floor(lengths)))
    if wrong.any():
        sample = int(wrong.argmax())
        raise LabelError(
            f"{place}: sequence {sample} has the length {lengths[sample]:g}; expected a whole number, 1 to "
            f"{steps}, the number of time steps"
        )


class Hold(Layer):
    """Where a sequence has ended: bottom 0 for samples longer than ``time``, else bottom 1, or 0 if there is none.

    The last bottom has the lengths, one for each sample.
    """

    time = Int(ge=0, doc="the time step, counted from 0")
    steps = Int(None, ge=1, doc="the number of time steps: then lengths are checked to be whole and at most that many")
    num_bottom = (2, 3)
    differentiable = (0, 1)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((4, 3), (4, 3), (4,))
    examples = ({"time": 1, "steps": 3}, {"time": 2, "steps": 3, "bottom": [(4, 2, 3), (4,)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        *values, lengths = bottom
        if any(value.shape != values[0].shape for value in values):
            self.fail(f"a new and an old value need one shape, got {values[0].shape} and {values[1].shape}")
        if not values[0].shape or lengths.shape != values[0].shape[:1]:
            self.fail(f"the last bottom needs one length for each sample of {values[0].shape}, got {lengths.shape}")
        vars(self)["differentiable"] = tuple(range(len(values)))
        self.grid = (values[0].shape[0], prod(values[0].shape[1:]))
        self.lengths = lengths
        return [values[0].shape]

    def guard(self) -> None:
        if self.steps is not None:
            refuse_lengths(self.lengths, self.steps, self.place)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        *values, lengths = bottom
        arrays = [value.data.reshape(self.grid) for value in values]
        body = hold if len(values) == 2 else mask
        body[self.grid](*arrays, lengths.data, top[0].data.reshape(self.grid), float(self.time))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        *values, lengths = bottom
        dy = top[0].diff.reshape(self.grid)
        for value, body, wanted in zip(values, (mask, mask_rest), self.propagate_down, strict=False):
            if wanted:
                body[self.grid](dy, lengths.data, value.diff.reshape(self.grid), float(self.time))

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(1, 4, shape) if len(shape) == 1 else rng.standard_normal(shape)
