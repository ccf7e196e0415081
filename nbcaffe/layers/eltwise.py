"""Element-wise sum, product and maximum of several blobs."""

from collections.abc import Sequence
from typing import Any

from ..blob import Blob
from ..kernel import kernel
from ..layer import Layer
from ..params import Bool, Choice, Floats


@kernel
def scaled(i, x, y, factor):
    y[i] = factor * x[i]


@kernel
def add_scaled(i, x, y, factor):
    y[i] += factor * x[i]


@kernel
def times(i, x, y):
    y[i] *= x[i]


@kernel
def product_by_quotient(i, x, y, dy, dx):
    """The product of the others as the whole product over this one: a zero here gives NaN."""
    dx[i] = y[i] / x[i] * dy[i]


@kernel
def larger_of_two(i, a, b, y, winner):
    """A tie goes to the second, as in Caffe; a NaN wins."""
    first = a[i] > b[i] or a[i] != a[i]
    y[i] = a[i] if first else b[i]
    winner[i] = 0 if first else 1


@kernel
def larger(i, x, y, winner, number):
    wins = x[i] > y[i] or x[i] != x[i]
    y[i] = x[i] if wins else y[i]
    winner[i] = number if wins else winner[i]


@kernel
def to_winner(i, dy, dx, winner, number):
    dx[i] = dy[i] if winner[i] == number else 0.0


class Eltwise(Layer):
    """Combine blobs of one shape: ``sum_k coeff_k x_k`` (SUM), ``prod_k x_k`` (PROD) or ``max_k x_k`` (MAX).

    The gradient of MAX goes to the bottom that gave the maximum; of two equal ones, to the second of the first two
    bottoms, else to the earlier.
    """

    per_sample = True
    operation = Choice("PROD", "SUM", "MAX", default="SUM", doc="how elements are combined")
    coeff = Floats((), doc="for SUM: a factor for each bottom; 1 if not given")
    stable_prod_grad = Bool(True, doc="for PROD: multiply the others instead of dividing by this one")
    num_bottom = (2, None)
    bottom_shapes = ((2, 3, 2),) * 3
    examples = (
        {"coeff": [1, -0.5, 2]},
        {"operation": "PROD"},
        {"operation": "PROD", "stable_prod_grad": False},
        {"operation": "MAX"},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        for other in bottom[1:]:
            if other.shape != bottom[0].shape:
                self.fail(f"needs bottoms of one shape, got {bottom[0].shape} and {other.shape}")
        if self.coeff and (self.operation != "SUM" or len(self.coeff) != len(bottom)):
            self.fail(f"coeff is for SUM, one for each of the {len(bottom)} bottoms; got {len(self.coeff)}")
        self.factors = self.coeff or (1.0,) * len(bottom)
        self.n = bottom[0].count
        if self.operation == "MAX":
            self.winner = self.buffer(self.n, "int32", keep=True)
        return [bottom[0].shape]

    @property
    def plain_sum(self) -> bool:
        """Whether the top is the sum of the bottoms and nothing else."""
        return self.operation == "SUM" and all(factor == 1.0 for factor in self.factors)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = self.n
        first, *others = (b.data.reshape(n) for b in bottom)
        y = top[0].data.reshape(n)
        if self.operation == "MAX":
            larger_of_two[n](first, others[0], y, self.winner.data)
            for number, x in enumerate(others[1:], 2):
                larger[n](x, y, self.winner.data, number)
        elif self.operation == "SUM":
            scaled[n](first, y, self.factors[0])
            for x, factor in zip(others, self.factors[1:], strict=True):
                add_scaled[n](x, y, factor)
        else:
            self.product([first, *others], y)

    def product(self, factors: Sequence[Any], y: Any) -> None:
        scaled[self.n](factors[0], y, 1.0)
        for x in factors[1:]:
            times[self.n](x, y)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = self.n
        values = [b.data.reshape(n) for b in bottom]
        y, dy = top[0].data.reshape(n), top[0].diff.reshape(n)
        for k, blob in enumerate(bottom):
            if not self.propagate_down[k]:
                continue
            dx = blob.diff.reshape(n)
            if self.operation == "SUM":
                scaled[n](dy, dx, self.factors[k])
            elif self.operation == "MAX":
                to_winner[n](dy, dx, self.winner.data, k)
            elif self.stable_prod_grad:
                self.product([x for i, x in enumerate(values) if i != k] + [dy], dx)
            else:
                product_by_quotient[n](values[k], y, dy, dx)
