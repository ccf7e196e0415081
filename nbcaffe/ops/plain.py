"""PLAIN: convolution and product as one kernel body each, for any target and float type; the oracle of the others.

Each output is a sum that its own index gathers, so the order of every sum is the same everywhere.
"""

from collections.abc import Callable
from typing import Any

from ..kernel import kernel
from .shapes import ConvShape, ProductShape

Buffer = Callable[..., Any]


@kernel
def conv(n, o, oz, oy, ox, x, w, y, group, sz, sy, sx, pz, py, px, dz, dy, dx):
    """One output: the window times its weights."""
    _, _, depth, height, width = x.shape
    outputs, channels, kz, ky, kx = w.shape
    first = o // (outputs // group) * channels
    total = 0.0
    for c in range(channels):
        for i in range(kz):
            z = oz * sz - pz + i * dz
            for j in range(ky):
                v = oy * sy - py + j * dy
                for k in range(kx):
                    u = ox * sx - px + k * dx
                    if 0 <= z < depth and 0 <= v < height and 0 <= u < width:
                        total += x[n, first + c, z, v, u] * w[o, c, i, j, k]
    y[n, o, oz, oy, ox] = total


@kernel
def conv_data(n, c, z, v, u, dtop, w, dbottom, group, sz, sy, sx, pz, py, px, dz, dy, dx):
    """The gradient of one input: it gathers from the windows that cover it."""
    _, _, depth, height, width = dtop.shape
    outputs, channels, kz, ky, kx = w.shape
    per_group = outputs // group
    first, inside = c // channels * per_group, c % channels
    total = 0.0
    for i in range(kz):
        tz = z + pz - i * dz
        for j in range(ky):
            ty = v + py - j * dy
            for k in range(kx):
                tx = u + px - k * dx
                oz, oy, ox = tz // sz, ty // sy, tx // sx
                whole = oz * sz == tz and oy * sy == ty and ox * sx == tx
                if whole and 0 <= oz < depth and 0 <= oy < height and 0 <= ox < width:
                    for o in range(per_group):
                        total += dtop[n, first + o, oz, oy, ox] * w[first + o, inside, i, j, k]
    dbottom[n, c, z, v, u] = total


@kernel
def conv_weights(o, c, i, j, k, x, dtop, dw, group, sz, sy, sx, pz, py, px, dz, dy, dx):
    """Add the gradient of one weight: every place it was used at."""
    _, _, depth, height, width = x.shape
    num, outputs, out_depth, out_height, out_width = dtop.shape
    channel = o // (outputs // group) * dw.shape[1] + c
    total = 0.0
    for n in range(num):
        for oz in range(out_depth):
            z = oz * sz - pz + i * dz
            for oy in range(out_height):
                v = oy * sy - py + j * dy
                for ox in range(out_width):
                    u = ox * sx - px + k * dx
                    if 0 <= z < depth and 0 <= v < height and 0 <= u < width:
                        total += x[n, channel, z, v, u] * dtop[n, o, oz, oy, ox]
    dw[o, c, i, j, k] += total


@kernel
def add_bias(n, c, i, y, b):
    """Add ``b[c]`` to channel c."""
    y[n, c, i] += b[c]


@kernel
def bias_gradient(c, dy, db):
    """Add the sum of channel c's gradient to ``db[c]``."""
    num, _, size = dy.shape
    total = 0.0
    for n in range(num):
        for i in range(size):
            total += dy[n, c, i]
    db[c] += total


@kernel
def product(i, j, a, b, y, length, ai, ak, bj, bk, add):
    """``y[i, j] = sum_k a[i ai + k ak] b[j bj + k bk]``, added to what is there if ``add``: any transposes."""
    total = 0.0
    for k in range(length):
        total += a[i * ai + k * ak] * b[j * bj + k * bk]
    y[i, j] = y[i, j] + total if add != 0 else total


def channels(array: Any) -> Any:
    """(N, C, everything else)."""
    n, c = array.shape[:2]
    size = 1
    for extent in array.shape[2:]:
        size *= extent
    return array.reshape(n, c, size)


def flat(array: Any) -> Any:
    return array.reshape(array.size)


class PlainConvolution:
    """One to three axes, done as three with leading ones."""

    def __init__(self, shape: ConvShape, buffer: Buffer, dtype: str = "float32"):
        self.shape = shape
        missing = 3 - len(shape.spatial)
        ones, zeros = (1,) * missing, (0,) * missing
        self.numbers = (shape.group, *ones, *shape.stride, *zeros, *shape.pad, *ones, *shape.dilation)
        self.bottom = (shape.num, shape.channels, *ones, *shape.spatial)
        self.top = (shape.num, shape.num_output, *ones, *shape.out_spatial)
        self.weights = (*shape.weight_shape[:2], *ones, *shape.kernel)

    @staticmethod
    def supports(shape: ConvShape, dtype: str, target: str) -> bool:
        """Any target and float type, one to three axes."""
        return 1 <= len(shape.spatial) <= 3

    def forward(self, x: Any, w: Any, b: Any, y: Any) -> None:
        conv[self.top](x.reshape(self.bottom), w.reshape(self.weights), y.reshape(self.top), *self.numbers)
        if b is not None:
            y = channels(y)
            add_bias[y.shape](y, flat(b))

    def backward_data(self, dy: Any, w: Any, dx: Any) -> None:
        conv_data[self.bottom](dy.reshape(self.top), w.reshape(self.weights), dx.reshape(self.bottom), *self.numbers)

    def backward_weights(self, x: Any, dy: Any, dw: Any, db: Any) -> None:
        shape = self.weights
        conv_weights[shape](x.reshape(self.bottom), dy.reshape(self.top), dw.reshape(shape), *self.numbers)
        if db is not None:
            dy = channels(dy)
            bias_gradient[dy.shape[1]](dy, flat(db))


class PlainProduct:
    """The inner product; each direction is one call of :func:`product` with other strides."""

    def __init__(self, shape: ProductShape, buffer: Buffer, dtype: str = "float32"):
        self.shape = shape
        self.w_col, self.w_inner = (1, shape.cols) if shape.transpose else (shape.inner, 1)

    @staticmethod
    def supports(shape: ProductShape, dtype: str, target: str) -> bool:
        """Any target and float type."""
        return True

    def forward(self, x: Any, w: Any, b: Any, y: Any) -> None:
        s, y = self.shape, y.reshape(self.shape.rows, self.shape.cols)
        product[s.rows, s.cols](flat(x), flat(w), y, s.inner, s.inner, 1, self.w_col, self.w_inner, 0)
        if b is not None:
            add_bias[s.rows, s.cols, 1](y.reshape(s.rows, s.cols, 1), flat(b))

    def backward_data(self, dy: Any, w: Any, dx: Any) -> None:
        s, dx = self.shape, dx.reshape(self.shape.rows, self.shape.inner)
        product[s.rows, s.inner](flat(dy), flat(w), dx, s.cols, s.cols, 1, self.w_inner, self.w_col, 0)

    def backward_weights(self, x: Any, dy: Any, dw: Any, db: Any) -> None:
        s, dw = self.shape, dw.reshape(self.shape.weight_shape)
        a, m, b, n = (flat(x), s.inner, flat(dy), s.cols) if s.transpose else (flat(dy), s.cols, flat(x), s.inner)
        product[m, n](a, b, dw, s.rows, 1, m, 1, n, 1)
        if db is not None:
            bias_gradient[s.cols](dy.reshape(s.rows, s.cols, 1), flat(db))
