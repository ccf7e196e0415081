"""Blocks of 16 pixels of all images, or of all planes, shared by threads."""

from numba import njit, prange

from ..simd import addr, invoke


@njit(cache=True, parallel=True)
def each_block(code, a, b, c, images, steps, pixels, margin, k, alpha, factor, threads):
    """The arrays are ``(images, steps, pixels)``; blocks overlap by two margins, and each stores what lies between."""
    advance = 16 - 2 * margin
    blocks = max((pixels - 16 + advance - 1) // advance, 0) + 1
    total = images * blocks
    for t in prange(threads):
        for unit in range(total * t // threads, total * (t + 1) // threads):
            n, block = unit // blocks, unit % blocks
            at, used = n * steps * pixels + block * advance, min(16, pixels - block * advance)
            first, last = margin if block > 0 else 0, used - margin if block < blocks - 1 else used
            arrays = (addr(a, at), addr(b, at), addr(c, at))
            invoke(code, arrays + (steps, pixels, used, first, last, k, alpha, factor))
