"""Copies that put an operand into the order in which a tile reads it."""

from numba import njit

from ..simd import lanes, vadd, vld, vldm, vst, vturn, vzero


@njit
def pad_image(x, channels, height, width, top, left, out, rows, pitch):
    """Copy an image into the middle of zeros: ``rows`` rows of ``pitch`` floats a channel, and 16 floats of slack."""
    zero = vzero()
    for c in range(channels):
        for row in range(rows):
            to = out + (c * rows + row) * pitch
            for k in range(0, pitch, 16):
                vst(to + k, zero)
            if 0 <= row - top < height:
                source = x + (c * height + row - top) * width
                for k in range(0, width - 15, 16):
                    vst(to + (left + k), vld(source + k))
                if width % 16 != 0:
                    k = width - width % 16
                    vst(to + (left + k), vldm(source + k, lanes(0, width - k)))
    vst(out + channels * rows * pitch, zero)


@njit
def turn(source, pitch, rows, columns, target, target_pitch):
    """``target[c * target_pitch + r] = source[r * pitch + c]``; each column of the target gets a multiple of 16."""
    for r in range(0, rows, 16):
        for c in range(0, columns, 16):
            vturn(source + (r * pitch + c), pitch, target + (c * target_pitch + r), target_pitch, rows - r, columns - c)


@njit
def copy_rows(source, pitch, rows, columns, target, width):
    """``rows`` rows of ``columns`` floats to rows of ``width`` floats (a multiple of 16), zeros behind the last."""
    for r in range(rows):
        for c in range(0, width, 16):
            if c + 16 <= columns:
                vst(target + (r * width + c), vld(source + (r * pitch + c)))
            else:
                vst(target + (r * width + c), vldm(source + (r * pitch + c), lanes(0, columns - c)))


@njit
def add_columns(source, rows, width, sums, fresh):
    """``sums[c] += source[0][c] + source[1][c] + ...``, or ``=`` if fresh; width is a multiple of 16."""
    for c in range(0, width, 16):
        total = vzero()
        for r in range(rows):
            total = vadd(total, vld(source + (r * width + c)))
        if fresh == 0:
            total = vadd(total, vld(sums + c))
        vst(sums + c, total)
