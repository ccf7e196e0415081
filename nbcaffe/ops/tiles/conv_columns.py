"""Convolution, gradient of the data, for any stride and padding.

For a few input channels at a time: the product ``columns[ci, ky, kx][pixel] = sum over co of w[co, ci, ky, kx] *
dy[co][pixel]``, small enough to stay in the cache, then each input pixel gathers its windows from it.  A tile is MR
taps times ``16 * NV`` output pixels; the weights are broadcast where they lie.
"""

from numba import njit, prange

from nbcaffe.ops.simd import addr, lanes, vadd, vldm, vouter, vput, vscatter, vstm, vzero, vzeros
from nbcaffe.ops.tiles.common import copy_rows

MR, NV = 13, 2  # taps, vectors of output pixels


@njit
def tile(w, w_pitch, outputs, dy, columns, columns_pitch):
    """``columns[m, pixel] = sum over co of w[co, m] * dy[co, pixel]``."""
    acc = vzeros(MR, NV)
    for co in range(outputs):
        acc = vouter(acc, w + co * w_pitch, 1, dy + co * 16 * NV, NV)
    vput(acc, columns, columns_pitch, NV)


@njit
def gather(columns, columns_pitch, dx, height, width, out_height, out_width, kernel, stride, pad):
    """One input plane: the sum, over the taps, of the output pixels that each input pixel took part in."""
    (kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w) = kernel, stride, pad
    for iy in range(height):
        for phase in range(stride_w):  # pixels a stride apart have the same taps
            first = (phase - pad_w) % stride_w  # the first pixel with (ix + pad_w) % stride_w == phase
            count = (width - first + stride_w - 1) // stride_w
            shift = (first + pad_w) // stride_w
            for k in range(0, count, 16):
                total = vzero()
                for ky in range((iy + pad_h) % stride_h, kernel_h, stride_h):
                    oy = (iy + pad_h - ky) // stride_h
                    if 0 <= oy < out_height:
                        for kx in range(phase, kernel_w, stride_w):
                            ox = k + shift - kx // stride_w
                            p = columns + ((ky * kernel_w + kx) * columns_pitch + oy * out_width + ox)
                            total = vadd(total, vldm(p, lanes(-ox, out_width - ox)))
                to, inside = dx + (iy * width + first + k * stride_w), lanes(0, count - k)
                if stride_w == 1:
                    vstm(to, total, inside)
                else:
                    vscatter(to, stride_w, total, inside)


@njit(cache=True, parallel=True)
def backward(
    dy, w, dx, panels, columns, images, groups, channels, together, height, width, outputs, out_height, out_width,
    kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, threads,
):  # fmt: skip
    """All images; ``together`` input channels share one product."""
    taps, pixels, lane_count = kernel_h * kernel_w, out_height * out_width, 16 * NV
    blocks = (pixels + lane_count - 1) // lane_count
    shares = (channels + together - 1) // together
    units = images * groups * shares
    for t in prange(threads):
        packed = addr(panels, t * (panels.size // threads))
        column = addr(columns, t * (columns.size // threads) + 16)
        held = -1
        for unit in range(units * t // threads, units * (t + 1) // threads):
            n, ci = unit // shares, min(unit % shares * together, channels - together)
            if n != held:
                for b in range(blocks):
                    source = addr(dy, n * outputs * pixels + b * lane_count)
                    copy_rows(source, pixels, outputs, pixels - b * lane_count, packed + b * outputs * lane_count, lane_count)
                held = n
            weights = addr(w, (n % groups * outputs * channels + ci) * taps)
            for b in range(blocks):
                for k in range(0, together * taps, MR):
                    m = min(k, together * taps - MR)  # the last tile overlaps the one before
                    to = column + (m * blocks + b) * lane_count
                    tile(weights + m, channels * taps, outputs, packed + b * outputs * lane_count, to, blocks * lane_count)
            for c in range(together):
                gather(
                    column + c * taps * blocks * lane_count, blocks * lane_count,
                    addr(dx, (n * channels + ci + c) * height * width), height, width, out_height, out_width,
                    (kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w),
                )  # fmt: skip
