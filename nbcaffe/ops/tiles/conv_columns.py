"""Convolution, gradient of the data, for any stride and padding.

For a few input channels at a time: a product, ``columns[ci, ky, kx][pixel] = sum over co of w[co, ci, ky, kx] *
dy[co][pixel]``, small enough to stay in the cache and with the weights broadcast where they lie; then each input pixel
gathers its share.
"""

from numba import njit, prange

from ..simd import addr, invoke
from .copies import copy_rows


@njit(cache=True, parallel=True)
def backward(
    product, gather, lane_count, dy, w, dx, panels, columns, images, groups, channels, together, height, width,
    outputs, out_height, out_width, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, threads,
):  # fmt: skip
    """All images; ``together`` input channels share one product."""
    taps, pixels = kernel_h * kernel_w, out_height * out_width
    blocks, shares = (pixels + lane_count - 1) // lane_count, (channels + together - 1) // together
    units, pitch = images * groups * shares, blocks * lane_count
    for t in prange(threads):
        packed = addr(panels, t * (panels.size // threads))
        column = addr(columns, t * (columns.size // threads) + 16)
        held = -1
        for unit in range(units * t // threads, units * (t + 1) // threads):
            n, ci = unit // shares, min(unit % shares * together, channels - together)
            if n != held:
                for p in range(0, pixels, lane_count):
                    source, target = addr(dy, n * outputs * pixels + p), packed + p * outputs
                    copy_rows(source, pixels, outputs, pixels - p, target, lane_count)
                held = n
            weights = addr(w, (n % groups * outputs * channels + ci) * taps)
            invoke(product, (together * taps, weights, channels * taps, outputs, packed, blocks, column))
            for c in range(together):
                plane = addr(dx, (n * channels + ci + c) * height * width)
                window = (kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w)
                sizes = (height, width, out_height, out_width)
                invoke(gather, (column + c * taps * pitch, pitch, plane) + sizes + window)
