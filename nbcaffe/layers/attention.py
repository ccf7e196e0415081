"""Attention: a query looks at a sequence."""

import math
from collections.abc import Sequence
from math import prod

import numpy as np

from ..blob import Blob
from ..kernel import kernel, team_range, team_sum
from ..layer import Layer
from ..params import Float
from ..sums import LANES
from .sequence import refuse_lengths
from .structural import copy


@kernel
def full_lengths(n, lengths, steps):
    lengths[n] = steps


@kernel(team=True)
def dots(row, query, memory, lengths, lanes, out, scale):
    """The product of one query with each step of its sequence; 0 after the end."""
    steps, batch, width = memory.shape
    n, used = row % batch, lanes.shape[1]
    end = int(lengths[n])
    for t in range(steps):
        total = 0.0
        if t < end:
            for lane in team_range(used):
                lanes[row, lane] = 0.0
            for start in range(0, width, LANES):
                for lane in team_range(min(LANES, width - start)):
                    lanes[row, lane] += query[row, start + lane] * memory[t, n, start + lane]
            for lane in team_range(used):
                total += lanes[row, lane]
        out[row, t] = scale * team_sum(total)


@kernel
def softmax_to_end(row, scores, lengths, alpha):
    steps = scores.shape[1]
    end = int(lengths[row % lengths.shape[0]])
    largest = scores[row, 0]
    for t in range(steps):
        largest = max(largest, scores[row, t]) if t < end else largest
    total = 0.0
    for t in range(steps):
        alpha[row, t] = math.exp(scores[row, t] - largest) if t < end else 0.0
        total += alpha[row, t]
    for t in range(steps):
        alpha[row, t] /= total


@kernel(team=True)
def mix(row, alpha, memory, lengths, y):
    """The sum of a sequence's steps, each as much as it weighs."""
    steps, batch, width = memory.shape
    n = row % batch
    end = int(lengths[n])
    for i in team_range(width):
        y[row, i] = 0.0
    for t in range(steps):
        if t < end:
            for i in team_range(width):
                y[row, i] += alpha[row, t] * memory[t, n, i]


@kernel
def add_rows(row, t, x, y):
    y[row, t] += x[row, t]


@kernel
def softmax_slopes(row, alpha, slopes, scale):
    """From the gradient of the weights to that of the products; in place."""
    dot = 0.0
    for t in range(alpha.shape[1]):
        dot += alpha[row, t] * slopes[row, t]
    for t in range(alpha.shape[1]):
        slopes[row, t] = scale * alpha[row, t] * (slopes[row, t] - dot)


@kernel(team=True)
def memory_gradient(step, alpha, slopes, dy, query, dx, batch):
    """One step of one sequence: what it gave to the contexts, and what it gave to the products."""
    t, n, width = step // batch, step % batch, dx.shape[1]
    for i in team_range(width):
        dx[step, i] = 0.0
    for k in range(alpha.shape[0] // batch):
        row = k * batch + n
        for i in team_range(width):
            dx[step, i] += alpha[row, t] * dy[row, i] + slopes[row, t] * query[row, i]


class Attention(Layer):
    """The mean of a sequence's steps, those weighing more that are like the query: dot-product attention.

    ``a_t = softmax_t(scale q . m_t)`` over the steps of the sequence, and the context ``sum_t a_t m_t``.  Bottoms: the
    query (N, D), or queries (S, N, D); the memory (T, N, D); and, if given, the lengths (N) of the sequences in it, 1
    to T.  Tops: the contexts, of the query's shape, and, if named, the weights, (N, T) or (S, N, T).  In a step of an
    ``unroll`` block the query may follow from the last context; outside, all steps are one pass.  Source: Luong, Pham
    and Manning 2015, "dot".
    """

    scale = Float(1.0, gt=0, doc="factor of the products; Transformers take 1 / sqrt(D)")
    num_bottom = (2, 3)
    num_top = (1, 2)
    differentiable = (0, 1)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((3, 5), (4, 3, 5))
    examples = (
        {},
        {"num_top": 2, "scale": 0.5, "bottom": [(2, 3, 5), (4, 3, 5), (3,)]},
        {"bottom": [(2, 2, 40), (3, 2, 40), (2,)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        query, memory = bottom[0].shape, bottom[1].shape
        if len(query) not in (2, 3) or len(memory) != 3 or query[-2:] != memory[1:] or not prod(memory):
            self.fail(f"needs queries (N, D) or (S, N, D) and a memory (T, N, D), got {query} and {memory}")
        if len(bottom) == 3 and bottom[2].shape != memory[1:2]:
            self.fail(f"needs one length for each of the {memory[1]} sequences, got {bottom[2].shape}")
        self.rows, self.steps, self.width = prod(query[:-1]), memory[0], memory[2]
        self.alpha = self.buffer((self.rows, self.steps), keep=True)
        self.products = self.buffer((self.rows, self.steps))
        self.lanes = self.buffer((self.rows, min(LANES, self.width)))
        self.full = self.buffer(memory[1]) if len(bottom) == 2 else None
        self.given = bottom[2] if len(bottom) == 3 else None
        return [query, (*query[:-1], self.steps)][: self.num_tops]

    def guard(self) -> None:
        if self.given is not None:
            refuse_lengths(self.given, self.steps, self.place)

    def lengths(self, bottom: Sequence[Blob]) -> np.ndarray:
        if self.full is None:
            return bottom[2].data
        full_lengths[bottom[1].shape[1]](self.full.data, self.steps)
        return self.full.data

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        query, context = (blob.data.reshape(self.rows, self.width) for blob in (bottom[0], top[0]))
        lengths, memory, alpha = self.lengths(bottom), bottom[1].data, self.alpha.data
        dots[self.rows](query, memory, lengths, self.lanes.data, self.products.data, self.scale)
        softmax_to_end[self.rows](self.products.data, lengths, alpha)
        mix[self.rows](alpha, memory, lengths, context)
        if len(top) > 1:
            n = self.rows * self.steps
            copy[n](alpha.reshape(n), top[1].data.reshape(n))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        dy = top[0].diff.reshape(self.rows, self.width)
        lengths, memory, alpha, slopes = self.lengths(bottom), bottom[1].data, self.alpha.data, self.products.data
        dots[self.rows](dy, memory, lengths, self.lanes.data, slopes, 1.0)
        if len(top) > 1:
            add_rows[slopes.shape](top[1].diff.reshape(slopes.shape), slopes)
        softmax_slopes[self.rows](alpha, slopes, self.scale)
        if self.propagate_down[0]:
            mix[self.rows](slopes, memory, lengths, bottom[0].diff.reshape(self.rows, self.width))
        if self.propagate_down[1]:
            steps, batch, width = memory.shape
            dx, query = bottom[1].diff.reshape(steps * batch, width), bottom[0].data.reshape(self.rows, width)
            memory_gradient[steps * batch](alpha, slopes, dy, query, dx, batch)

    @classmethod
    def sample(cls, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.integers(1, 4, shape) if index == 2 else rng.standard_normal(shape)
