"""Convolution in one to three dimensions."""

from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..elementwise import Elementwise
from ..layer import Layer
from ..ops.choose import CONV_CHOICES, convolution
from ..ops.finish import code_of
from ..ops.plain import bias_gradient, channels, flat
from ..ops.shapes import ConvShape
from ..params import Bool, Choice, Filler, Int, Ints

Sizes = tuple[int, ...]


class Windowed(Layer, abstract=True):
    """Windows over one to three spatial axes, with Caffe's ways to give their sizes."""

    per_sample = True
    kernel_size = Ints((), ge=1, doc="size of the window: one number, or one for each axis")
    stride = Ints((), ge=1, doc="step between windows; 1 if not given")
    pad = Ints((), ge=0, doc="zeros around the input; 0 if not given")
    dilation = Ints((), ge=1, doc="distance between the taps of a window; 1 if not given")
    kernel_h = Int(None, ge=1, doc="height of the window, instead of kernel_size")
    kernel_w = Int(None, ge=1, doc="width of the window")
    stride_h = Int(None, ge=1, doc="vertical step, instead of stride")
    stride_w = Int(None, ge=1, doc="horizontal step")
    pad_h = Int(None, ge=0, doc="zeros above and below, instead of pad")
    pad_w = Int(None, ge=0, doc="zeros left and right")
    axis = Int(1, doc="the channel axis; those before it count images, those after it are spatial")
    force_nd_im2col = Bool(False, doc="accepted for Caffe's files; changes nothing here")

    def images(self, bottom: Blob) -> tuple[int, int, tuple[int, ...]]:
        """How many images, their channels and their spatial sizes."""
        axes = len(bottom.shape)
        self.channel_axis = axis = self.axis + axes if self.axis < 0 else self.axis
        if not 0 <= axis < axes - 1 or axes - axis > 4:
            self.fail(
                f"axis {self.axis} needs one to three spatial axes behind it, got a bottom of shape {bottom.shape}"
            )
        return prod(bottom.shape[:axis]), bottom.shape[axis], bottom.shape[axis + 1 :]

    def windows(self, axes: int) -> tuple[Sizes, Sizes, Sizes, Sizes]:
        """Kernel, stride, pad and dilation, one number for each axis."""
        kernel = self.per_axis("kernel_size", "kernel", axes, None)
        stride, pad = self.per_axis("stride", "stride", axes, 1), self.per_axis("pad", "pad", axes, 0)
        return kernel, stride, pad, self.per_axis("dilation", "", axes, 1)

    def per_axis(self, name: str, short: str, axes: int, default: int | None) -> tuple[int, ...]:
        """One value for each axis, from ``name`` or from ``short_h`` and ``short_w``."""
        values = getattr(self, name)
        pair = (getattr(self, short + "_h"), getattr(self, short + "_w")) if short else (None, None)
        if pair != (None, None):
            if values:
                self.fail(f"give {name} or {short}_h and {short}_w, not both")
            if axes != 2 or (None in pair and default is None):
                self.fail(f"{short}_h and {short}_w go together and need two spatial axes, here there are {axes}")
            return tuple((default or 0) if v is None else v for v in pair)
        if not values and default is None:
            self.fail(f"needs {name}, or {short}_h and {short}_w")
        if len(values) not in (0, 1, axes):
            self.fail(f"{name} needs 1 or {axes} values, got {list(values)}")
        return values if len(values) == axes else (values or (default or 0,)) * axes


class Convolution(Windowed):
    """Correlation with learned filters: ``y[n, o] = b[o] + sum_c x[n, c] * w[o, c]``.

    Each output channel is a sum over the input channels of its group; windows step by ``stride`` over the input with
    ``pad`` zeros around it.  Output sizes round down: ``(size + 2 pad - (dilation (kernel - 1) + 1)) / stride + 1``.
    Bottoms are (N, C, *spatial) with up to three spatial axes after ``axis``; tops (N, num_output, *spatial).  Several
    bottoms of one shape give as many tops, with the same weights.

    LeCun et al., *Gradient-based learning applied to document recognition*, Proc. IEEE 1998.
    """

    num_output = Int(ge=1, doc="number of filters, the channels of the top")
    group = Int(1, ge=1, doc="input and output channels are split into so many groups that do not see each other")
    bias_term = Bool(True, doc="add a learned bias to each output channel")
    weight_filler = Filler("constant", doc="how the weights start")
    bias_filler = Filler("constant", doc="how the bias starts")
    engine = Choice(*CONV_CHOICES, doc="who computes it; ACCURATE is DEFAULT without WINOGRAD")

    num_bottom = (1, None)
    num_top = (1, None)
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((2, 4, 5, 4),)
    examples = (
        {"num_output": 4, "kernel_size": 3, "weight_filler": "xavier"},
        {"num_output": 4, "kernel_size": [3, 2], "stride": 2, "pad": 1, "group": 2, "weight_filler": "xavier"},
        {"num_output": 2, "kernel_size": 2, "dilation": 2, "bias_term": False, "weight_filler": "xavier"},
        {"num_output": 2, "kernel_size": 3, "weight_filler": "xavier", "bottom": [(2, 3, 6)] * 2, "num_top": 2},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = self.conv_shape(bottom[0])
        for other in bottom[1:]:
            if other.shape != bottom[0].shape:
                self.fail(f"all bottoms need one shape, got {bottom[0].shape} and {other.shape}")
        asked = vars(self).setdefault("asked_engine", self.engine)
        self.w = self.weight(shape.weight_shape, self.weight_filler)
        self.b = self.weight((self.num_output,), self.bias_filler) if self.bias_term else None
        self.engine, self.op = convolution(shape, self.buffer, self.dtype, self.target, asked, self.place)
        self.shape = shape
        return [(*bottom[0].shape[: self.channel_axis], self.num_output, *shape.out_spatial)] * len(bottom)

    def conv_shape(self, bottom: Blob) -> ConvShape:
        """The parameters for this input, checked against it."""
        num, inputs, spatial = self.images(bottom)
        if inputs % self.group or self.num_output % self.group:
            self.fail(f"group {self.group} must divide {inputs} input channels and num_output {self.num_output}")
        kernel, stride, pad, dilation = self.windows(len(spatial))
        shape = ConvShape(num, inputs, spatial, self.num_output, kernel, stride, pad, dilation, self.group)
        if min(shape.out_spatial) < 1:
            self.fail(f"the window {kernel} is larger than the padded input {spatial}; make it smaller, or pad more")
        return shape

    def finish(self, activation: Layer) -> bool:
        able = self.num_tops == 1 and self.engine in ("DEPTHWISE", "DIRECT", "WINOGRAD")
        return able and isinstance(activation, Elementwise) and self.op.finish(code_of(activation))

    @property
    def multiply_adds(self) -> int:
        return self.shape.multiply_adds * self.num_tops

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        s, bias = self.shape, self.b.data if self.b else None
        for x, y in zip(bottom, top, strict=True):
            self.op.forward(x.data.reshape(s.bottom_shape), self.w.data, bias, y.data.reshape(s.top_shape))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        s, wanted = self.shape, self.param_propagate
        bias = self.b.diff if self.b and wanted[1] else None
        for index, (x, y) in enumerate(zip(bottom, top, strict=True)):
            dy = y.diff.reshape(s.top_shape)
            if wanted[0]:
                self.op.backward_weights(x.data.reshape(s.bottom_shape), dy, self.w.diff, bias)
            elif bias is not None:
                bias_gradient[s.num_output](channels(dy), flat(bias))
            if self.propagate_down[index]:
                self.op.backward_data(dy, self.w.data, x.diff.reshape(s.bottom_shape))
