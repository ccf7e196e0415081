"""Convolution, forward.

A tile is MR neighbouring pixels of one output row times ``16 * NV`` output channels: the pixels' inputs are broadcast
straight from the padded image, the weights lie packed as ``[block of channels][input channel][ky][kx][16 * NV]``.
A group is an image with its own weights.
"""

from numba import njit, prange

from nbcaffe.ops.simd import addr, lanes, vcolumns, vouter, vrows, vstm
from nbcaffe.ops.tiles.common import pad_image

MR, NV = 12, 2  # pixels, vectors of output channels
KW, S = 5, 1  # width of the kernel, step between pixels of a row


@njit
def tile(x, channels, plane, rows, pitch, w, w_plane, bias, y, y_plane, pixels, outputs):
    """``y[co, ox] = bias[co] + sum over ci, ky, kx of x[ci, ky, ox * S + kx] * w[ci, ky, kx, co]``."""
    acc = vrows(bias, 0, MR, NV)
    for ci in range(channels):
        for ky in range(rows):
            p = x + (ci * plane + ky * pitch)
            q = w + (ci * w_plane + ky * KW * 16 * NV)
            for kx in range(KW):
                acc = vouter(acc, p + kx, S, q + kx * 16 * NV, NV)
    inside = lanes(0, pixels)
    co = 0
    for column in vcolumns(acc, NV):
        if co < outputs:
            vstm(y + co * y_plane, column, inside)
        co += 1


@njit
def image(x, channels, height, rows, pitch, w, bias, y, outputs, out_height, out_width, kernel_h, stride_h, pad_h):
    """One padded image, one block of output channels."""
    plane, w_row = rows * pitch, KW * 16 * NV
    for oy in range(out_height):
        first = max(0, pad_h - oy * stride_h)  # rows of the kernel that lie in the padding are left out
        last = min(kernel_h, height + pad_h - oy * stride_h)
        for tile_x in range(0, out_width, MR):
            ox = max(0, min(tile_x, out_width - MR))  # the last tile overlaps the one before
            p = x + ((oy * stride_h + first) * pitch + ox * S)
            tile(
                p, channels, plane, last - first, pitch, w + first * w_row, kernel_h * w_row, bias,
                y + (oy * out_width + ox), out_height * out_width, out_width - ox, outputs,
            )  # fmt: skip


@njit(cache=True, parallel=True)
def forward(
    x, w, bias, y, scratch, images, groups, channels, height, width, outputs, out_height, out_width,
    kernel_h, stride_h, pad_h, pad_w, rows, pitch, threads,
):  # fmt: skip
    """All images; ``channels`` and ``outputs`` are those of one group."""
    blocks = (outputs + 16 * NV - 1) // (16 * NV)
    units, w_block = images * groups * blocks, channels * kernel_h * KW * 16 * NV
    for t in prange(threads):
        padded = addr(scratch, t * (scratch.size // threads))
        held = -1
        for unit in range(units * t // threads, units * (t + 1) // threads):
            n, block = unit // blocks, unit % blocks
            if n != held:
                pad_image(addr(x, n * channels * height * width), channels, height, width, pad_h, pad_w, padded, rows, pitch)
                held = n
            at = n % groups * blocks + block
            out = addr(y, (n * outputs + block * 16 * NV) * out_height * out_width)
            image(
                padded, channels, height, rows, pitch, addr(w, at * w_block), addr(bias, at * 16 * NV), out,
                outputs - block * 16 * NV, out_height, out_width, kernel_h, stride_h, pad_h,
            )  # fmt: skip
