"""Convolution, gradient of the weights.

The weights of a tile are the taps of one kernel row or, where that is short, the same tap of several input channels:
the padded image is read in place, and the top's diff is turned to ``[pixel][lane]`` first, lane = output channel.

The images are split into a fixed number of parts, each with sums of its own, so that the bits do not depend on the
number of threads.
"""

from numba import njit, prange

from ..simd import addr, invoke, lanes, vadd, vadd_rows, vcolumns, vld, vldm, vrows, vstm, vzero
from .copies import add_columns, framed, turn


@njit(cache=True, parallel=True)
def backward(
    image, lane_count, tiles, x, dy, sums, bias_sums, scratch, turned, images, groups, parts, chunks, channels,
    padded_channels, height, width, outputs, out_height, out_width, kernel_h, kernel_w, stride_h, pad_h, pad_w,
    rows, pitch, strip,
):  # fmt: skip
    """Sums per part: ``sums[part, group, block, k, lane]``; a chunk is a share of the tiles, a strip some of dy."""
    pixels, blocks = out_height * out_width, (outputs + lane_count - 1) // lane_count
    block_size = padded_channels * kernel_h * kernel_w * lane_count
    units = parts * groups * chunks
    room = scratch.size // units
    for unit in prange(units):
        part, g, chunk = unit // (groups * chunks), unit // chunks % groups, unit % chunks
        own = addr(scratch, unit * room)
        pixel_rows = addr(turned, unit * (turned.size // units))
        start = images * part // parts
        for n in range(start, images * (part + 1) // parts):
            sizes = (channels, padded_channels, height, width, pad_h, pad_w)
            padded = framed(x, n * groups + g, *sizes, own, room, rows, pitch)
            for top in range(0, out_height, strip):
                end = min(out_height, top + strip)
                count, fresh = (end - top) * out_width, 1 if n == start and top == 0 else 0
                for block in range(blocks):
                    first, at = block * lane_count, (part * groups + g) * blocks + block
                    tops = addr(dy, ((n * groups + g) * outputs + first) * pixels + top * out_width)
                    turn(tops, pixels, min(lane_count, outputs - first), count, pixel_rows, lane_count)
                    if chunk == 0:
                        add_columns(pixel_rows, count, lane_count, addr(bias_sums, at * lane_count), fresh)
                    share = (fresh, tiles * chunk // chunks, tiles * (chunk + 1) // chunks)
                    window = (top, end, out_width, kernel_h, kernel_w, stride_h, pad_h)
                    operands = (padded, pixel_rows, addr(sums, at * block_size))
                    invoke(image, operands + share + (height, rows, pitch) + window)


@njit
def add_block(sums, part_size, parts, lane_count, dw, pitch, outputs, weights):
    """Add the parts' sums of 16 weights x 16 output channels, turned back, to the diff."""
    acc = vrows(sums, lane_count, 16, 1)
    for part in range(1, parts):
        acc = vadd_rows(acc, sums + part * part_size, lane_count, 1)
    inside = lanes(0, weights)
    for co, column in enumerate(vcolumns(acc, 1)):
        if co < outputs:
            to = dw + co * pitch
            vstm(to, vadd(vldm(to, inside), column), inside)


@njit(cache=True, parallel=True)
def reduce(lane_count, sums, bias_sums, dw, db, parts, groups, outputs, weights, padded_weights):
    """Add the parts, in their order, to the diffs of weights and bias (db may be empty)."""
    blocks, vectors = (outputs + lane_count - 1) // lane_count, (outputs + 15) // 16
    block_size = padded_weights * lane_count
    for unit in prange(groups * vectors):
        g, co = unit // vectors, unit % vectors * 16
        at, lane = g * blocks + co // lane_count, co % lane_count
        for k in range(0, weights, 16):
            add_block(
                addr(sums, at * block_size + k * lane_count + lane), groups * blocks * block_size, parts, lane_count,
                addr(dw, (g * outputs + co) * weights + k), weights, outputs - co, weights - k,
            )  # fmt: skip
        if db.size > 0:
            total = vzero()
            for part in range(parts):
                row = part * groups * blocks + at
                total = vadd(total, vld(addr(bias_sums, row * lane_count + lane)))
            to, inside = addr(db, g * outputs + co), lanes(0, outputs - co)
            vstm(to, vadd(vldm(to, inside), total), inside)
