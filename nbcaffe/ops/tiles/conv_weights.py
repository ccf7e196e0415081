"""Convolution, gradient of the weights.

A tile is MR weights times ``16 * NV`` output channels, summed over the pixels of an image.  The MR weights are the taps
of one kernel row or, where that is short, the same tap of MR input channels: the padded image is read in place, and
the top's diff is turned to ``[pixel][16 * NV]`` first.

The images are split into a fixed number of parts, each with sums of its own, so that the bits do not depend on the
number of threads.
"""

from numba import njit, prange

from nbcaffe.ops.simd import addr, lanes, vadd, vadd_rows, vcolumns, vld, vldm, vouter, vput, vrows, vst, vstm, vzero, vzeros
from nbcaffe.ops.tiles.common import add_columns, pad_image, turn

MR, NV = 5, 4  # weights, vectors of output channels
TAPS = 1  # 1: the weights of a tile are taps of one kernel row; 0: the same tap of MR channels
S = 1  # step between pixels of a row


@njit
def tile(x, x_step, x_row, dy, height, width, dw, dw_step, fresh):
    """``dw[m, co] += sum over oy, ox of x[oy, ox * S + m] * dy[oy, ox, co]``, or ``=`` if fresh."""
    acc = vzeros(MR, NV)
    if not fresh:
        acc = vrows(dw, dw_step, MR, NV)
    for oy in range(height):
        p = x + oy * x_row
        q = dy + oy * width * 16 * NV
        for ox in range(width):
            acc = vouter(acc, p + ox * S, 1 if TAPS else x_step, q + ox * 16 * NV, NV)
    vput(acc, dw, dw_step, NV)


@njit
def image(
    x, dy, dw, fresh, first, last, height, rows, pitch, out_height, out_width, kernel_h, kernel_w, stride_h, pad_h
):  # fmt: skip
    """The tiles ``first <= number < last`` of one padded image and one block of output channels."""
    taps, lane_count = kernel_h * kernel_w, 16 * NV
    columns = 1 if TAPS else kernel_w
    for number in range(first, last):
        block, kx = number // columns, number % columns
        ky = block % kernel_h
        ci = block // kernel_h * (1 if TAPS else MR)
        top = max(0, (pad_h - ky + stride_h - 1) // stride_h)  # output rows whose input lies in the padding are left out
        end = min(out_height, (height - 1 + pad_h - ky) // stride_h + 1)
        tile(
            x + ((ci * rows + top * stride_h + ky) * pitch + kx), rows * pitch, stride_h * pitch,
            dy + top * out_width * lane_count, end - top, out_width,
            dw + ((ci * taps + ky * kernel_w + kx) * lane_count), lane_count * (1 if TAPS else taps), fresh,
        )  # fmt: skip


@njit(cache=True, parallel=True)
def backward(
    x, dy, sums, bias_sums, scratch, turned, images, groups, parts, chunks, channels, padded_channels,
    height, width, outputs, out_height, out_width, kernel_h, kernel_w, stride_h, pad_h, pad_w, rows, pitch,
):  # fmt: skip
    """Sums per part: ``sums[part, group, block, k, lane]``; a chunk is a share of the tiles."""
    lane_count, pixels = 16 * NV, out_height * out_width
    blocks = (outputs + lane_count - 1) // lane_count
    tiles = (channels if TAPS else padded_channels // MR * kernel_w) * kernel_h
    block_size = padded_channels * kernel_h * kernel_w * lane_count
    units = parts * groups * chunks
    for unit in prange(units):
        part, g, chunk = unit // (groups * chunks), unit // chunks % groups, unit % chunks
        padded = addr(scratch, unit * (scratch.size // units))
        pixel_rows = addr(turned, unit * (turned.size // units))
        start = images * part // parts
        for n in range(start, images * (part + 1) // parts):
            pad_image(
                addr(x, (n * groups + g) * channels * height * width), channels, height, width, pad_h, pad_w,
                padded, rows, pitch,
            )  # fmt: skip
            for k in range(channels * rows * pitch, padded_channels * rows * pitch, 16):
                vst(padded + k, vzero())
            for block in range(blocks):
                source = addr(dy, ((n * groups + g) * outputs + block * lane_count) * pixels)
                turn(source, pixels, min(lane_count, outputs - block * lane_count), pixels, pixel_rows, lane_count)
                at = (part * groups + g) * blocks + block
                if chunk == 0:
                    if n == start:
                        for k in range(0, lane_count, 16):
                            vst(addr(bias_sums, at * lane_count + k), vzero())
                    add_columns(pixel_rows, pixels, lane_count, addr(bias_sums, at * lane_count))
                image(
                    padded, pixel_rows, addr(sums, at * block_size), n == start,
                    tiles * chunk // chunks, tiles * (chunk + 1) // chunks,
                    height, rows, pitch, out_height, out_width, kernel_h, kernel_w, stride_h, pad_h,
                )  # fmt: skip


@njit
def add_block(sums, part_size, parts, lane_count, dw, pitch, outputs, weights):
    """Add the parts' sums of 16 weights x 16 output channels, turned back, to the diff."""
    acc = vrows(sums, lane_count, 16, 1)
    for part in range(1, parts):
        acc = vadd_rows(acc, sums + part * part_size, lane_count, 1)
    inside = lanes(0, weights)
    co = 0
    for column in vcolumns(acc, 1):
        if co < outputs:
            to = dw + co * pitch
            vstm(to, vadd(vldm(to, inside), column), inside)
        co += 1


@njit(cache=True, parallel=True)
def reduce(sums, bias_sums, dw, db, parts, groups, outputs, weights, padded_weights):
    """Add the parts, in their order, to the diffs of weights and bias (db may be empty)."""
    lane_count = 16 * NV
    blocks = (outputs + lane_count - 1) // lane_count
    vectors = blocks * NV
    block_size = padded_weights * lane_count
    for unit in prange(groups * vectors):
        g, co = unit // vectors, unit % vectors * 16
        at = g * blocks + co // lane_count
        if co < outputs:
            for k in range(0, weights, 16):
                add_block(
                    addr(sums, at * block_size + k * lane_count + co % lane_count), groups * blocks * block_size, parts,
                    lane_count, addr(dw, (g * outputs + co) * weights + k), weights, outputs - co, weights - k,
                )  # fmt: skip
            if db.size > 0:
                total = vzero()
                for part in range(parts):
                    total = vadd(total, vld(addr(bias_sums, (part * groups * blocks + at) * lane_count + co % lane_count)))
                inside = lanes(0, outputs - co)
                to = addr(db, g * outputs + co)
                vstm(to, vadd(vldm(to, inside), total), inside)
