"""An Embed folded into the product that follows it: the product of the table once, instead of one for each index.

With V rows and many more indices, ``(table W^T + b)[index]`` is ``table[index] W^T + b`` for V / indices of the work;
backward, the gradients of equal indices are added up first.  Exact algebra; sums are taken in another order.
"""

from collections.abc import Callable
from typing import Any

from ..blob import Buffer
from ..kernel import kernel
from ..ops.choose import product
from ..ops.shapes import ProductShape
from ..sums import add_column_sums, blocks
from .embed import Embed
from .indices import give_back_rows, pick_rows
from .structural import add, copy, zero


@kernel
def add_row(n, j, table, b, y):
    y[n, j] = table[n, j] + b[j]


class EmbeddedProduct:
    """The product ``y = embed(index) w^T + b`` of an Embed and an InnerProduct, both ways.

    ``buffer`` declares work space of the product's layer, which keeps what is kept from forward to backward.
    """

    def __init__(self, embed: Embed, shape: ProductShape, buffer: Callable[..., Buffer], dtype: Any, target: str):
        self.embed, self.shape = embed, ProductShape(embed.input_dim, shape.inner, shape.cols, shape.transpose)
        self.op = product(self.shape, buffer, dtype, target)[1]
        self.table = buffer((embed.input_dim, shape.inner), keep=True)  # with the embedding's bias
        self.products = buffer((embed.input_dim, shape.cols), way="forward")
        self.dproducts = buffer((embed.input_dim, shape.cols), way="weights")
        self.dtable = buffer((embed.input_dim, shape.inner), way="weights")

    def forward(self, w: Any, b: Any, y: Any) -> None:
        table, n = self.table.data, self.table.data.size
        if self.embed.b:
            add_row[table.shape](self.embed.w.data, self.embed.b.data, table)
        else:
            copy[n](self.embed.w.data.reshape(n), table.reshape(n))
        self.op.forward(table, w, b, self.products.data)
        pick_rows[y.shape](self.embed.picked.data, self.products.data, y)

    def backward(self, w: Any, dy: Any, dw: Any, db: Any) -> None:
        """Add to the gradients of both layers' weights; ``dw`` and ``db`` are None where they are not wanted."""
        sums, dtable = self.dproducts.data, self.dtable.data
        zero[sums.size](sums.reshape(sums.size))
        give_back_rows[blocks(sums.shape[1])](self.embed.picked.data, dy, sums)
        if dw is not None:
            self.op.backward_weights(self.table.data, sums, dw, db)
        elif db is not None:
            add_column_sums[blocks(db.size)](sums, sums, db)
        wanted = self.embed.param_propagate
        if any(wanted):
            self.op.backward_data(sums, w, dtable)
        if wanted[0]:
            add[dtable.size](dtable.reshape(dtable.size), self.embed.w.diff.reshape(dtable.size))
        if self.embed.b and wanted[1]:
            add_column_sums[blocks(dtable.shape[1])](dtable, dtable, self.embed.b.diff)
