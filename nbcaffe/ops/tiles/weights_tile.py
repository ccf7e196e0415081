"""Convolution, gradient of the weights: MR weights times ``16 * NV`` output channels, summed over an image's pixels."""

from numba import njit

from ..simd import machine_code, vouter, vput, vrows, vzeros

MR, NV = 5, 4  # weights, vectors of output channels
TAPS = 1  # 1: the weights of a tile are taps of one kernel row; 0: the same tap of MR channels
S = 1  # step between pixels of a row


@njit
def tile(x, x_step, x_row, dy, height, width, dw, dw_step, fresh):
    """``dw[m, co] += sum over oy, ox of x[oy, ox * S + m] * dy[oy, ox, co]``, or ``=`` if fresh."""
    acc = vzeros(MR, NV)
    if fresh == 0:
        acc = vrows(dw, dw_step, MR, NV)
    for oy in range(height):
        p = x + oy * x_row
        q = dy + oy * width * 16 * NV
        for ox in range(width):
            acc = vouter(acc, p + ox * S, 1 if TAPS else x_step, q + ox * 16 * NV, NV)
    vput(acc, dw, dw_step, NV)


@machine_code("ppp" + "iii" + "iii" + "iiiiiii")
def image(
    x, dy, dw, fresh, first, last, height, rows, pitch, top, end, out_width, kernel_h, kernel_w, stride_h, pad_h
):  # fmt: skip
    """The tiles ``first <= number < last``: sums over rows ``top .. end - 1`` of a block of output channels."""
    taps, lane_count, columns = kernel_h * kernel_w, 16 * NV, 1 if TAPS else kernel_w
    for number in range(first, last):
        block, kx = number // columns, number % columns
        ky, ci = block % kernel_h, block // kernel_h * (1 if TAPS else MR)
        # output rows whose input lies in the padding are left out
        low = max(top, (pad_h - ky + stride_h - 1) // stride_h)
        high = min(end, (height - 1 + pad_h - ky) // stride_h + 1)
        source = x + ((ci * rows + low * stride_h + ky) * pitch + kx)
        pixels = dy + (low - top) * out_width * lane_count
        sums, step = dw + ((ci * taps + ky * kernel_w + kx) * lane_count), lane_count * (1 if TAPS else taps)
        tile(source, rows * pitch, stride_h * pitch, pixels, high - low, out_width, sums, step, fresh)
