"""Convolution, forward: MR neighbouring pixels of one output row times ``16 * NV`` output channels."""

from numba import njit

from ..simd import lanes, machine_code, vouter, vput_columns, vrows

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
    vput_columns(acc, y, y_plane, outputs, lanes(0, pixels), NV)


@machine_code("piiii" + "pip" + "piii" + "iii")
def image(
    x, channels, height, rows, pitch, w, w_row, bias, y, outputs, out_height, out_width, kernel_h, stride_h, pad_h
):  # fmt: skip
    """One padded image, one block of output channels."""
    for oy in range(out_height):
        first = max(0, pad_h - oy * stride_h)  # rows of the kernel that lie in the padding are left out
        last = min(kernel_h, height + pad_h - oy * stride_h)
        for step in range(0, out_width, MR):
            ox = max(0, min(step, out_width - MR))  # the last tile overlaps the one before
            tile(
                x + ((oy * stride_h + first) * pitch + ox * S), channels, rows * pitch, last - first, pitch,
                w + first * w_row, kernel_h * w_row, bias,
                y + (oy * out_width + ox), out_height * out_width, out_width - ox, outputs,
            )  # fmt: skip
