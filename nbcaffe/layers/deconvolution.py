"""Convolution turned round, and the columns that convolution by matrix products is made of."""

from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..kernel import kernel
from ..layer import Layer
from ..ops.plain import add_bias, bias_gradient, channels, flat
from ..ops.shapes import ConvShape
from .convolution import Convolution, Windowed


class Deconvolution(Convolution):
    """Transposed convolution: the backward pass of Convolution to its bottom, as a forward pass; it enlarges images.

    Each input value adds its multiple of the filter to the output, at steps of ``stride``; ``pad`` is cut off.  Output
    sizes are ``stride (size - 1) + dilation (kernel - 1) + 1 - 2 pad``.  Weights are (channels, num_output / group,
    *kernel).  With ``kernel_size: 2 f - f % 2, stride: f, pad: ceil((f - 1) / 2), group: C``, the filler ``bilinear``
    and ``lr_mult: 0`` it enlarges C channels by f.

    Long, Shelhamer and Darrell, *Fully convolutional networks for semantic segmentation*, CVPR 2015.
    """

    param_group = "convolution_param"
    bottom_shapes = ((2, 4, 4, 3),)
    examples = (
        {"num_output": 3, "kernel_size": 4, "stride": 2, "pad": 1, "weight_filler": "xavier"},
        {"num_output": 4, "kernel_size": [2, 3], "stride": 3, "group": 2, "weight_filler": "xavier"},
        {"num_output": 2, "kernel_size": 3, "dilation": 2, "bias_term": False, "weight_filler": "xavier"},
        {"num_output": 2, "kernel_size": 3, "weight_filler": "xavier", "bottom": [(2, 2, 5)] * 2, "num_top": 2},
    )

    def pass_of(self, way: str) -> str:
        return {"data": "forward", "forward": "backward"}.get(way) or super().pass_of(way)

    def finish(self, activation: Layer) -> bool:
        return False  # engines apply it to what their forward direction writes

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        super().setup(bottom)
        before = bottom[0].shape[: self.channel_axis]
        return [(*before, self.num_output, *self.shape.spatial)] * len(bottom)

    def conv_shape(self, bottom: Blob) -> ConvShape:
        """The convolution whose bottom is our top."""
        num, inputs, spatial = self.images(bottom)
        if inputs % self.group or self.num_output % self.group:
            self.fail(f"group {self.group} must divide {inputs} input channels and num_output {self.num_output}")
        kernel, stride, pad, dilation = self.windows(len(spatial))
        axes = zip(spatial, kernel, stride, pad, dilation, strict=True)
        sizes = tuple(s * (size - 1) + d * (k - 1) + 1 - 2 * p for size, k, s, p, d in axes)
        if min(sizes) < 1:
            self.fail(f"pad {pad} cuts all of the output away; make it smaller")
        return ConvShape(num, self.num_output, sizes, inputs, kernel, stride, pad, dilation, self.group)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        s = self.shape
        for x, y in zip(bottom, top, strict=True):
            out = y.data.reshape(s.bottom_shape)
            self.op.backward_data(x.data.reshape(s.top_shape), self.w.data, out)
            if self.b:
                out = channels(out)
                add_bias[out.shape](out, flat(self.b.data))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        s, wanted = self.shape, self.param_propagate
        for index, (x, y) in enumerate(zip(bottom, top, strict=True)):
            dy = y.diff.reshape(s.bottom_shape)
            if wanted[0]:
                self.op.backward_weights(dy, x.data.reshape(s.top_shape), self.w.diff, None)
            if self.b and wanted[1]:
                bias_gradient[self.num_output](channels(dy), flat(self.b.diff))
            if self.propagate_down[index]:
                self.op.forward(dy, self.w.data, None, x.diff.reshape(s.top_shape))


@kernel
def columns(n, row, oz, oy, ox, x, y, kz, ky, kx, sz, sy, sx, pz, py, px, dz, dy, dx):
    """One value of one column: a tap of a window, or a 0 of the padding."""
    _, _, depth, height, width = x.shape
    c, tap = row // (kz * ky * kx), row % (kz * ky * kx)
    z = oz * sz - pz + tap // (ky * kx) * dz
    v = oy * sy - py + tap // kx % ky * dy
    u = ox * sx - px + tap % kx * dx
    y[n, row, oz, oy, ox] = 0.0
    if 0 <= z < depth and 0 <= v < height and 0 <= u < width:
        y[n, row, oz, oy, ox] = x[n, c, z, v, u]


@kernel
def columns_backward(n, c, z, v, u, dtop, dbottom, kz, ky, kx, sz, sy, sx, pz, py, px, dz, dy, dx):
    """One input gathers from every column that holds it."""
    _, _, depth, height, width = dtop.shape
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
                    total += dtop[n, ((c * kz + i) * ky + j) * kx + k, oz, oy, ox]
    dbottom[n, c, z, v, u] = total


class Im2col(Windowed):
    """Every window as a column: (N, C, *spatial) gives (N, C times the window's size, *positions).

    A convolution is a product of its weights with these columns.
    """

    param_group = "convolution_param"
    backward_needs = frozenset()
    bottom_shapes = ((2, 2, 5, 4),)
    examples = (
        {"kernel_size": 3, "stride": 2, "pad": 1},
        {"kernel_size": [2, 1], "dilation": 2},
        {"kernel_size": 2, "bottom": [(2, 3, 4)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        num, inputs, spatial = self.images(bottom[0])
        kernel, stride, pad, dilation = self.windows(len(spatial))
        out = ConvShape(num, inputs, spatial, 1, kernel, stride, pad, dilation).out_spatial
        if min(out) < 1:
            self.fail(f"the window {kernel} is larger than the padded input {spatial}; make it smaller, or pad more")
        missing = 3 - len(spatial)
        ones, zeros, rows = (1,) * missing, (0,) * missing, inputs * prod(kernel)
        self.numbers = (*ones, *kernel, *ones, *stride, *zeros, *pad, *ones, *dilation)
        self.image, self.matrix = (num, inputs, *ones, *spatial), (num, rows, *ones, *out)
        return [(*bottom[0].shape[: self.channel_axis], rows, *out)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        columns[self.matrix](bottom[0].data.reshape(self.image), top[0].data.reshape(self.matrix), *self.numbers)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            dy, dx = top[0].diff.reshape(self.matrix), bottom[0].diff.reshape(self.image)
            columns_backward[self.image](dy, dx, *self.numbers)
