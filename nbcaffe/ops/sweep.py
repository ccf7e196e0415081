"""The update of a large matrix of weights, fused into the product that is its gradient.

Separately, weights, gradients and histories pass through memory nine times a step: the gradient is cleared, added to,
measured and read, and the weights and histories are read and written.  Here a part of the gradient is computed into the
cache and used there, so that only the weights and the histories pass, once each way.  The sums and their order are
those of the product, the rule is the solver's own body, and no thread shares what it writes with another one.
"""

import numpy as np
from numba import get_num_threads

from .aligned import aligned_zeros
from .direct_product import LANES, ceil, choose_tile
from .specialise import issue, specialise

PART = 1 << 14  # elements of the gradient at a time
STRETCH = 1024  # columns of it, or a few more

Array = np.ndarray


def sweep(rule: int, a: Array, b: Array, w: Array, histories: Array, apart: int, now: Array, found: Array) -> None:
    """Launch it: w, which is ``(a.columns, b.columns)``, changes by ``a^T b`` as the machine code ``rule`` says.

    ``histories`` begins at the first history of w; the next one begins ``apart`` floats behind it.
    """
    (inner, rows), cols, threads = a.shape, b.shape[1], get_num_threads()
    tile_rows, vectors = choose_tile(rows, cols)
    width = LANES * vectors
    stretch = ceil(ceil(cols, ceil(cols, STRETCH)), width) * width
    height = max(min(PART // stretch, ceil(rows, threads)) // tile_rows, 1) * tile_rows
    tile = specialise("product_tile", MR=tile_rows, NV=vectors).tile.address
    packed = aligned_zeros(ceil(rows, tile_rows) * tile_rows * inner)
    panels, parts = aligned_zeros(threads * inner * stretch), aligned_zeros(threads * (height + tile_rows) * stretch)
    issue(
        specialise("sweep").sweep, tile, tile_rows, width, rule, a.reshape(-1), b.reshape(-1), w, histories, apart,
        now, found, packed, panels, parts, aligned_zeros(width), rows, inner, cols, height, stretch, threads,
    )  # fmt: skip
