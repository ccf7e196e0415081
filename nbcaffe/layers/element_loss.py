"""Losses that are a sum over elements: give the loss of one element."""

from collections.abc import Sequence

from ..blob import Blob
from ..elementwise import Elementwise
from ..kernel import kernel, team_range, team_sum
from ..layer import Loss
from ..sums import lanes_for, row_sums
from .loss import Normalized


@kernel(team=True)
def scaled_sum(i, sums, loss, scale):
    total = 0.0
    for row in team_range(sums.shape[0]):
        total += sums[row]
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
        self.rows = (max(batch, 1), count // max(batch, 1))
        self.losses, self.lanes, self.sums_of_rows = map(self.buffer, (self.rows, lanes_for(self.rows), self.rows[0]))
        return [()]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        losses, sums, rows = self.losses.data, self.sums_of_rows.data, self.rows[0]
        self.evaluate(bottom, losses)
        row_sums[rows](losses, losses, self.lanes.data, sums)
        scaled_sum[1](sums, top[0].data.reshape(1), self.scale)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.differentiate(bottom, top, top[0].data.reshape(1), top[0].diff.reshape(1), self.scale)
