"""Copies that put an operand into the order in which a tile reads it."""

from numba import njit

from ..simd import addr, lanes, vadd, vld, vldm, vst, vturn, vzero


@njit
def pad_image(x, channels, height, width, top, left, out, rows, pitch):
    """Copy an image into the middle of zeros: ``rows`` rows of ``pitch`` floats a channel, and 16 floats of slack."""
    zero = vzero()
    for c in range(channels):
        for row in range(rows):
            to, inside = out + (c * rows + row) * pitch, 0 <= row - top < height
            for k in range(0, left if inside else pitch, 16):
                vst(to + k, zero)
            if inside:
                for k in range(left + width, pitch, 16):
                    vst(to + k, zero)
                source = x + (c * height + row - top) * width
                for k in range(0, width - 15, 16):
                    vst(to + (left + k), vld(source + k))
                if width % 16 != 0:
                    k = width - width % 16
                    vst(to + (left + k), vldm(source + k, lanes(0, width - k)))
    vst(out + channels * rows * pitch, zero)


@njit
def framed(x, image, channels, all_channels, height, width, top, left, out, room, rows, pitch):
    """Where an image lies between zeros: in place if it needs none and has ``room`` floats behind it, else a copy.

    A copy has ``all_channels``, those behind ``channels`` being zero; in place these are whatever follows.
    """
    start = image * channels * height * width
    if rows == height and pitch == width and start + room <= x.size:
        return addr(x, start)
    pad_image(addr(x, start), channels, height, width, top, left, out, rows, pitch)
    for k in range(channels * rows * pitch, all_channels * rows * pitch, 16):
        vst(out + k, vzero())
    return out


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
