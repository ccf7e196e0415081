"""Numbers in a blob that name rows: none is out of range, and what picks a row gives its gradient back."""

from ..blob import Blob
from ..device import device_of
from ..errors import LabelError
from ..kernel import kernel, team_range
from ..layer import Layer
from ..sums import LANES
from .labels import label_state


@kernel
def read_indices(i, values, rows, seen, limit):
    """The row that each value names; -1 for one that none has."""
    rows[i] = int(values[i]) if label_state(values[i], limit, 0, 0) == 0 else -1
    seen[i] = values[i]


@kernel
def pick_rows(k, j, rows, table, y):
    y[k, j] = table[max(rows[k], 0), j]


@kernel(team=True)
def give_back_rows(block, rows, dy, table):
    """Add each picked row's gradient to the row it came from; a team owns LANES columns of all rows."""
    first = block * LANES
    for k in range(rows.shape[0]):
        for lane in team_range(min(LANES, dy.shape[1] - first)):
            table[max(rows[k], 0), first + lane] += dy[k, first + lane]


class Indexed(Layer, abstract=True):
    """One bottom holds whole numbers from 0 to a limit; :meth:`guard` looks at them after the pass."""

    index_bottom = 0

    def indices(self, blob: Blob, limit: int) -> None:
        """Declare the work space for the indices in ``blob``."""
        self.limit = limit
        self.picked = self.buffer(blob.count, "int32", keep=True)
        self.seen = self.buffer(blob.count, keep=True)

    def read(self, blob: Blob) -> None:
        n = blob.count
        read_indices[n](blob.data.reshape(n), self.picked.data, self.seen.data, self.limit)

    def guard(self) -> None:
        download = device_of(self.picked.data).download
        rows = download(self.picked.data)
        if rows.size == 0 or rows.min() >= 0:
            return
        at = int((rows < 0).argmax())
        value = float(download(self.seen.data)[at])
        shown = int(value) if value == value and abs(value) < 2**31 else value
        raise LabelError(
            f"{self.place}: index {shown} at position {at} of bottom {self.index_bottom}, "
            f"expected 0 to {self.limit - 1}; correct the data"
        )
