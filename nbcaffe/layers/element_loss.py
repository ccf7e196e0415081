"""Losses that are a sum over elements: give the loss of one element."""

from collections.abc import Sequence

from ..blob import Blob
from ..elementwise import Elementwise
from ..formula import LANES
from ..kernel import kernel, team_range, team_sum
from ..layer import Loss
from .loss import Normalized


@kernel(team=True)
def part_of_sum(row, losses, sums):
    """The sum of one row, by lanes."""
    for lane in team_range(sums.shape[1]):
        sums[row, lane] = 0.0
    for start in range(0, losses.shape[1], sums.shape[1]):
        for lane in team_range(min(sums.shape[1], losses.shape[1] - start)):
            sums[row, lane] += losses[row, start + lane]


@kernel(team=True)
def scaled_sum(i, sums, loss, scale):
    total = 0.0
    for row in range(sums.shape[0]):
        for lane in team_range(sums.shape[1]):
            total += sums[row, lane]
    loss[0] = team_sum(total) * scale


class ElementwiseLoss(Normalized, Elementwise, Loss, abstract=True):
    """The sum of ``f(x, ..., parameters)`` over all elements, divided as ``normalization`` says.

    Scores first, then what they are compared with; by default only the first bottom gets a gradient, and the sum is
    divided by the batch size.  The top is a scalar.
    """

    default_normalization = "BATCH_SIZE"
    differentiable = (0,)
    upstream = "top_diff[0] * scale"

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        super().setup(bottom)
        count = bottom[0].count
        batch = bottom[0].shape[0] if bottom[0].shape else 1
        self.scale = 1.0 / max(1.0, self.normalizer(batch, count // max(batch, 1)) or count)
        self.losses, self.parts = self.buffer(count), self.buffer((max(batch, 1), LANES))
        return [()]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.evaluate(bottom, self.losses.data)
        rows = self.parts.shape[0]
        part_of_sum[rows](self.losses.data.reshape(rows, self.losses.data.size // rows), self.parts.data)
        scaled_sum[1](self.parts.data, top[0].data.reshape(1), self.scale)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.differentiate(bottom, top, top[0].data.reshape(1), top[0].diff.reshape(1), self.scale)
