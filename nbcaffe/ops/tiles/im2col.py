"""Columns for convolution as a matrix product: ``columns[channel and tap][output pixel]``.

Three axes; where a layer has fewer the first ones have size 1.  size, out, kernel, stride, pad and dilation are small
arrays of integers.
"""

from numba import njit, prange


@njit(cache=True, parallel=True)
def im2col(x, columns, channels, size, out, kernel, stride, pad, dilation):
    """Copy what each tap sees; zeros where it sees padding."""
    taps, pixels = kernel[0] * kernel[1] * kernel[2], out[0] * out[1] * out[2]
    for row in prange(channels * taps):
        c, tap = row // taps, row % taps
        kz, ky, kx = tap // (kernel[1] * kernel[2]), tap // kernel[2] % kernel[1], tap % kernel[2]
        to = row * pixels
        for oz in range(out[0]):
            for oy in range(out[1]):
                z = oz * stride[0] - pad[0] + kz * dilation[0]
                y = oy * stride[1] - pad[1] + ky * dilation[1]
                inside = 0 <= z < size[0] and 0 <= y < size[1]
                source = ((c * size[0] + z) * size[1] + y) * size[2]
                for ox in range(out[2]):
                    at = ox * stride[2] - pad[2] + kx * dilation[2]
                    columns[to + ox] = x[source + at] if inside and 0 <= at < size[2] else x.dtype.type(0)
                to += out[2]


@njit(cache=True, parallel=True)
def col2im(columns, x, channels, size, out, kernel, stride, pad, dilation):
    """The transpose of im2col: each input gets the sum of the columns that saw it."""
    taps, pixels, plane = kernel[0] * kernel[1] * kernel[2], out[0] * out[1] * out[2], size[0] * size[1] * size[2]
    for c in prange(channels):
        for i in range(c * plane, (c + 1) * plane):
            x[i] = x.dtype.type(0)
        for tap in range(taps):
            kz, ky, kx = tap // (kernel[1] * kernel[2]), tap // kernel[2] % kernel[1], tap % kernel[2]
            source = (c * taps + tap) * pixels
            for oz in range(out[0]):
                for oy in range(out[1]):
                    z = oz * stride[0] - pad[0] + kz * dilation[0]
                    y = oy * stride[1] - pad[1] + ky * dilation[1]
                    if 0 <= z < size[0] and 0 <= y < size[1]:
                        to = ((c * size[0] + z) * size[1] + y) * size[2]
                        for ox in range(out[2]):
                            at = ox * stride[2] - pad[2] + kx * dilation[2]
                            if 0 <= at < size[2]:
                                x[to + at] += columns[source + ox]
                    source += out[2]
