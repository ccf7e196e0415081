"""The point-wise part of recurrent cells, each one kernel a pass."""

import math
from collections.abc import Sequence
from math import prod
from typing import ClassVar

import numpy as np

from ..blob import Blob, Buffer
from ..kernel import kernel
from ..layer import Layer
from ..scalars import sigmoid


@kernel
def lstm_step(n, j, c_prev, gates, cont, acts, c, h, units, marked):
    """``acts`` keeps the gates and tanh(c) for the way back; unless ``marked``, ``cont`` is not read."""
    i = sigmoid(gates[n, j])
    f = sigmoid(gates[n, units + j])
    f = f * cont[n] if marked != 0 else f
    o = sigmoid(gates[n, 2 * units + j])
    g = math.tanh(gates[n, 3 * units + j])
    new = f * c_prev[n, j] + i * g
    squashed = math.tanh(new)
    c[n, j] = new
    h[n, j] = o * squashed
    acts[n, j] = i
    acts[n, units + j] = f
    acts[n, 2 * units + j] = o
    acts[n, 3 * units + j] = g
    acts[n, 4 * units + j] = squashed


@kernel
def lstm_step_backward(n, j, c_prev, acts, dc, dh, dc_prev, dgates, units):
    i, f = acts[n, j], acts[n, units + j]
    o, g = acts[n, 2 * units + j], acts[n, 3 * units + j]
    squashed, above = acts[n, 4 * units + j], dh[n, j]
    cell = dc[n, j] + above * o * (1.0 - squashed * squashed)
    dc_prev[n, j] = cell * f
    dgates[n, j] = cell * g * i * (1.0 - i)
    dgates[n, units + j] = cell * c_prev[n, j] * f * (1.0 - f)
    dgates[n, 2 * units + j] = above * squashed * o * (1.0 - o)
    dgates[n, 3 * units + j] = cell * i * (1.0 - g * g)


@kernel
def gru_step(n, j, h, x, z, acts, y, units):
    """``acts`` keeps the gates for the way back."""
    reset = sigmoid(x[n, j] + z[n, j])
    update = sigmoid(x[n, units + j] + z[n, units + j])
    new = math.tanh(x[n, 2 * units + j] + reset * z[n, 2 * units + j])
    y[n, j] = new + update * (h[n, j] - new)
    acts[n, j] = reset
    acts[n, units + j] = update
    acts[n, 2 * units + j] = new


@kernel
def gru_step_backward(n, j, h, z, acts, dy, dh, dx, dz, units):
    reset, update, new = acts[n, j], acts[n, units + j], acts[n, 2 * units + j]
    above = dy[n, j]
    dnew = above * (1.0 - update) * (1.0 - new * new)
    dreset = dnew * z[n, 2 * units + j] * reset * (1.0 - reset)
    dupdate = above * (h[n, j] - new) * update * (1.0 - update)
    dh[n, j] = above * update
    dx[n, j] = dreset
    dz[n, j] = dreset
    dx[n, units + j] = dupdate
    dz[n, units + j] = dupdate
    dx[n, 2 * units + j] = dnew
    dz[n, 2 * units + j] = dnew * reset


class Unit(Layer, abstract=True):
    """All gradients of a unit come from one kernel: those that nobody asks for go to work space.

    ``acts`` keeps what ``gates`` names, side by side, for the way back.
    """

    gates: ClassVar[tuple[str, ...]]
    acts: Buffer
    units: int

    per_sample = True

    def spares(self, bottom: Sequence[Blob]) -> list[Buffer]:
        return [self.buffer(blob.count, way="data") for blob in bottom]

    def gradients(self, bottom: Sequence[Blob], spare: Sequence[Buffer], shapes: Sequence[tuple[int, int]]) -> list:
        """Where the gradient of each bottom goes."""
        wanted = zip(bottom, spare, shapes, self.propagate_down, strict=False)
        return [(blob.diff if want else other.data).reshape(shape) for blob, other, shape, want in wanted]


class LSTMUnit(Unit):
    """The gates of one LSTM step: ``c = f c_prev + i g`` and ``h = o tanh(c)``.

    Bottoms: c_prev (..., D); the gates' inputs (..., 4 D) in the order i, f, o, g, of which the first three go through
    a sigmoid and the last through tanh; and, if given, cont (...), which multiplies f: 0 where a sequence begins.
    Tops: c and h.  Source: Hochreiter and Schmidhuber 1997; caffe/layers/lstm_unit_layer.
    """

    gates = ("in", "forget", "out", "cell", "tanh(c)")
    num_bottom = (2, 3)
    num_top = 2
    differentiable = (0, 1)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((1, 3, 4), (1, 3, 16))
    examples = ({"num_top": 2}, {"num_top": 2, "bottom": [(3, 5), (3, 20), (3,)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, gates = bottom[0].shape, bottom[1].shape
        if len(shape) < 2 or gates != (*shape[:-1], 4 * shape[-1]):
            self.fail(f"needs four inputs of gates for each of the {shape} cells, got {gates}")
        if len(bottom) == 3 and bottom[2].count != prod(shape[:-1]):
            self.fail(f"cont needs one value for each row of {shape}, got {bottom[2].shape}")
        self.rows, self.units = prod(shape[:-1]), shape[-1]
        self.acts = self.buffer((self.rows, 5 * self.units), keep=True)
        self.spare = self.spares(bottom[:2])
        return [shape, shape]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        grid = (self.rows, self.units)
        marked = len(bottom) == 3
        cont = (bottom[2] if marked else top[0]).data.reshape(-1)
        c, h = (blob.data.reshape(grid) for blob in top)
        gates = bottom[1].data.reshape(self.rows, 4 * self.units)
        lstm_step[grid](bottom[0].data.reshape(grid), gates, cont, self.acts.data, c, h, self.units, int(marked))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        grid = (self.rows, self.units)
        dc, dh = (blob.diff.reshape(grid) for blob in top)
        dc_prev, dgates = self.gradients(bottom, self.spare, (grid, (self.rows, 4 * self.units)))
        lstm_step_backward[grid](bottom[0].data.reshape(grid), self.acts.data, dc, dh, dc_prev, dgates, self.units)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 2, shape) if index == 2 else rng.standard_normal(shape)


class GRUUnit(Unit):
    """The gates of one GRU step, from h (N, D), the input's part x (N, 3 D) and the state's part z (N, 3 D).

    ``r = sigmoid(x_r + z_r)``, ``u = sigmoid(x_u + z_u)``, ``n = tanh(x_n + r z_n)`` and the top ``n + u (h - n)``.
    Source: Cho and others 2014, in cuDNN's form.
    """

    gates = ("reset", "update", "new")
    num_bottom = 3
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((3, 4), (3, 12), (3, 12))
    examples = ({},)

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        if len(shape) < 2 or any(blob.shape != (*shape[:-1], 3 * shape[-1]) for blob in bottom[1:]):
            self.fail(f"needs three parts for each of the {shape} cells, got {bottom[1].shape} and {bottom[2].shape}")
        self.rows, self.units = prod(shape[:-1]), shape[-1]
        self.acts = self.buffer((self.rows, 3 * self.units), keep=True)
        self.spare = self.spares(bottom)
        return [shape]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        grid, wide = (self.rows, self.units), (self.rows, 3 * self.units)
        x, z = (blob.data.reshape(wide) for blob in bottom[1:])
        gru_step[grid](bottom[0].data.reshape(grid), x, z, self.acts.data, top[0].data.reshape(grid), self.units)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        grid, wide = (self.rows, self.units), (self.rows, 3 * self.units)
        dh, dx, dz = self.gradients(bottom, self.spare, (grid, wide, wide))
        h, z, dy = bottom[0].data.reshape(grid), bottom[2].data.reshape(wide), top[0].diff.reshape(grid)
        gru_step_backward[grid](h, z, self.acts.data, dy, dh, dx, dz, self.units)
