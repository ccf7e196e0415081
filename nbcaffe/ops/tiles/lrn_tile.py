"""Local response normalization, beta 0.75: 16 pixels at once, down all channels or down all rows of a plane.

Squares are computed once and slide through a window of SIZE; the way back computes the scales again, so that none are
stored.  A square of neighbours (WIDE = SIZE) adds up its lanes, too; then the outermost lanes of a block are not right,
and blocks overlap.  What does not exist counts as 0.
"""

from numba import njit

from ..simd import lanes, machine_code, vldm, vstm, vzero, vzeros
from ..vectors import vbeside, vmiddle, vpush, vsplat, vsqrt, vtotal

SIZE, WIDE = 5, 1
REACH = SIZE // 2


@njit
def root_power(scale):
    """scale ** 0.75"""
    return vsqrt(scale * vsqrt(scale))


@machine_code("pppiiiiifff")
def forward(x, y, _, steps, pitch, used, first, last, k, alpha, factor):
    """Reads the lanes below ``used``, stores ``first`` to ``last - 1``; the next step lies a pitch behind."""
    inside, stored, squares = lanes(0, used), lanes(first, last), vzeros(SIZE, 1)
    start, weight = vsplat(k), vsplat(alpha)
    for step in range(steps + REACH):
        value = vldm(x + step * pitch, inside) if step < steps else vzero()
        squares = vpush(squares, vbeside(value * value, WIDE))
        if step >= REACH:
            at = (step - REACH) * pitch
            scale = start + weight * vtotal(squares)
            vstm(y + at, vldm(x + at, inside) / root_power(scale), stored)


@machine_code("pppiiiiifff")
def backward(x, dy, dx, steps, pitch, used, first, last, k, alpha, factor):
    """``dx = dy / scale ** 0.75 - factor x sum(dy x / scale ** 1.75)``, the sum over the neighbours."""
    inside, stored, squares = lanes(0, used), lanes(first, last), vzeros(SIZE, 1)
    slopes, shares = vzeros(SIZE, 1), vzeros(SIZE, 1)
    start, weight, less = vsplat(k), vsplat(alpha), vsplat(factor)
    for step in range(steps + 2 * REACH):
        value = vldm(x + step * pitch, inside) if step < steps else vzero()
        squares = vpush(squares, vbeside(value * value, WIDE))
        share, slope, at = vzero(), vzero(), (step - REACH) * pitch
        if REACH <= step < steps + REACH:
            scale = start + weight * vtotal(squares)
            share = vldm(dy + at, inside) / root_power(scale)
            slope = vbeside(vldm(x + at, inside) * share / scale, WIDE)
        slopes, shares = vpush(slopes, slope), vpush(shares, share)
        if step >= 2 * REACH:
            at -= REACH * pitch
            vstm(dx + at, vmiddle(shares) - less * vldm(x + at, inside) * vtotal(slopes), stored)
