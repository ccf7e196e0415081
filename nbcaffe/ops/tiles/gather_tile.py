"""Convolution, gradient of the data: each pixel of an input plane gathers what the windows over it hold for it."""

from ..simd import lanes, machine_code, vadd, vldm, vscatter, vstm, vzero

KX = 5  # taps of a row that see the same input pixel: kernel_w / stride_w, rounded up


@machine_code("pip" + "iiii" + "iiiiii")
def gather(
    columns, pitch, dx, height, width, out_height, out_width, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w
):  # fmt: skip
    """``dx[iy, ix] = sum over the taps of columns[ky, kx][(iy + pad - ky) / stride, (ix + pad - kx) / stride]``."""
    for phase in range(stride_w):  # pixels a stride apart are seen by the same taps: kx = phase, phase + stride_w, ...
        first = (phase - pad_w) % stride_w
        count = (width - first + stride_w - 1) // stride_w
        for k in range(0, count, 16):
            inside, shift = lanes(0, count - k), k + (first + pad_w) // stride_w
            for iy in range(height):
                total = vzero()
                top = max(0, (iy + pad_h - kernel_h + stride_h) // stride_h)
                for oy in range(top, min(out_height - 1, (iy + pad_h) // stride_h) + 1):
                    p = columns + ((iy + pad_h - oy * stride_h) * kernel_w * pitch + oy * out_width)
                    for j in range(KX):
                        ox, kx = shift - j, phase + j * stride_w
                        seen = lanes(-ox, out_width - ox if kx < kernel_w else -ox)
                        total = vadd(total, vldm(p + (kx * pitch + ox), seen))
                to = dx + (iy * width + first + k * stride_w)
                if stride_w == 1:
                    vstm(to, total, inside)
                else:
                    vscatter(to, stride_w, total, inside)
