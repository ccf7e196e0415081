"""Convolution, gradient of the data, for any stride and padding.

For a few input channels at a time: the product ``columns[ci, ky, kx][pixel] = sum over co of w[co, ci, ky, kx] *
dy[co][pixel]``, small enough to stay in the cache, then each input pixel gathers its windows from it.  A tile is MR
taps times ``16 * NV`` output pixels; the weights are broadcast where they lie.
"""

from numba import njit, prange

from nbcaffe.ops.simd import addr, lanes, vadd, vldm, vouter, vput, vscatter, vstm, vzero, vzeros
from nbcaffe.ops.tiles.common import copy_rows

MR, NV = 13, 2  # taps, vectors of output pixels
KX = 5  # taps of a row that see the same input pixel: kernel_w / stride_w, rounded up


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
    for phase in range(stride_w):  # pixels a stride apart are seen by the same taps: kx = phase, phase + stride_w, ...
        first = (phase - pad_w) % stride_w
        count = (width - first + stride_w - 1) // stride_w
        for k in range(0, count, 16):
            inside, shift = lanes(0, count - k), k + (first + pad_w) // stride_w
            for iy in range(height):
                total = vzero()
                top = max(0, (iy + pad_h - kernel_h + stride_h) // stride_h)
                for oy in range(top, min(out_height - 1, (iy + pad_h) // stride_h) + 1):
                    p = columns + ((iy + pad_h - oy * stride_h) * kernel_w * columns_pitch + oy * out_width)
                    for j in range(KX):
                        ox, kx = shift - j, phase + j * stride_w
                        seen = lanes(-ox, out_width - ox if kx < kernel_w else -ox)
                        total = vadd(total, vldm(p + (kx * columns_pitch + ox), seen))
                to = dx + (iy * width + first + k * stride_w)
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
