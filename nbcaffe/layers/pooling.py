"""Pooling over the last two axes, plane by plane."""

from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..elementwise import Elementwise
from ..kernel import kernel, real
from ..layer import Layer
from ..ops.finish import code_of
from ..ops.pooling import TilePooling, pooling
from ..ops.shapes import PoolShape
from ..params import Bool, Choice, Int, Pair
from .stochastic_pooling import drawn_pool, expected_pool, expected_pool_backward


@kernel
def write_mask(p, o, where, mask):
    mask[p, o] = real(where[p, o])


class Pooling(Layer):
    """The largest value, the mean, or a drawn value, of each window of the last two axes.

    Output sizes round up (``round_mode: CEIL``): ``ceil((size + 2 pad - kernel) / stride) + 1``; with padding, a last
    window that would start beyond the input and its first padding is dropped.  AVE divides by the window's area, pads
    included.  Among equal largest values the first in reading order counts, and gets the gradient; a second top of MAX
    holds its place in the plane.  (N, C, H, W) gives (N, C, H', W').

    STOCHASTIC is for values that are not negative, as ReLU makes them (negative ones are never drawn, unless no value
    is positive): in TRAIN it draws each window's value with a probability in proportion to it, in TEST it takes the
    mean of such draws.  The draw follows from the seed, the layer's name, the pass and the place, on every target.

    Zeiler and Fergus, *Stochastic pooling for regularization of deep convolutional neural networks*, ICLR 2013.
    """

    pool = Choice("MAX", "AVE", "STOCHASTIC", doc="how a window becomes one value")
    kernel_size = Pair(None, ge=1, doc="size of the window")
    stride = Pair(None, ge=1, doc="step between windows; 1 if not given")
    pad = Pair(None, ge=0, doc="cells around the input that count as empty; 0 if not given")
    kernel_h = Int(None, ge=1, doc="height of the window, instead of kernel_size")
    kernel_w = Int(None, ge=1, doc="width of the window")
    stride_h = Int(None, ge=1, doc="vertical step, instead of stride")
    stride_w = Int(None, ge=1, doc="horizontal step")
    pad_h = Int(None, ge=0, doc="padding above and below, instead of pad")
    pad_w = Int(None, ge=0, doc="padding left and right")
    global_pooling = Bool(False, doc="one window over the whole plane")
    round_mode = Choice("CEIL", "FLOOR", doc="how the size of the output is rounded")
    engine = Choice("DEFAULT", "CAFFE", "CUDNN", doc="accepted for Caffe's files; changes nothing here")

    num_top = (1, 2)
    backward_needs = frozenset()
    bottom_shapes = ((2, 2, 6, 5),)
    examples = (
        {"kernel_size": 2, "stride": 2, "bottom": [(2, 2, 6, 4)]},
        {"kernel_size": 3, "stride": 2, "pad": 1},
        {"kernel_size": 3, "stride": 1, "num_top": 2, "bottom": [(2, 4, 4)]},
        {"kernel_size": [2, 3], "pool": "AVE", "stride": 2, "pad": [1, 0]},
        {"global_pooling": True, "pool": "AVE"},
        {"kernel_size": 3, "stride": 2, "pool": "STOCHASTIC"},
        {"kernel_size": 2, "stride": 2, "pool": "STOCHASTIC", "phase": "TEST"},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        if len(shape) < 2 or min(shape) < 1:
            self.fail(f"needs a bottom with two axes to pool over, got shape {shape}")
        if self.num_tops == 2 and self.pool != "MAX":
            self.fail("only MAX has a second top, the places of the maxima")
        window, stride, pad = self.windows(shape[-2:])
        if self.pool == "STOCHASTIC" and pad != (0, 0):
            self.fail("STOCHASTIC takes no pad: cells that are not there cannot be drawn")
        if any(p >= k for p, k in zip(pad, window, strict=True)):
            self.fail(f"pad {pad} must be smaller than the window {window}")
        axes = zip(shape[-2:], window, stride, pad, strict=True)
        out = tuple(pooled(*axis, self.round_mode == "FLOOR") for axis in axes)
        if min(out) < 1:
            self.fail(f"the window {window} is larger than the padded input {shape[-2:]}")
        self.window = (*window, *stride, *pad)
        self.planes = prod(shape[:-2])
        vars(self)["per_sample"] = self.pool != "STOCHASTIC"
        planes = PoolShape(self.planes, (shape[-2], shape[-1]), (out[0], out[1]), window, stride, pad)
        self.op = pooling(planes, self.buffer, self.dtype, self.target)
        self.averages = self.pool == "STOCHASTIC" and self.phase == "TEST"
        if self.averages:
            vars(self)["backward_needs"] = frozenset({"bottom"})
        elif self.pool != "AVE":
            self.where_max = self.buffer((self.planes, *out), "int32", keep=True)
        return [(*shape[:-2], *out)] * self.num_tops

    def windows(self, plane: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Kernel, stride and pad as (vertical, horizontal)."""
        stride, pad = self.pair("stride", "stride", 1), self.pair("pad", "pad", 0)
        kernel = self.pair("kernel_size", "kernel", 0)
        if self.global_pooling:
            if kernel != (0, 0) or stride != (1, 1) or pad != (0, 0):
                self.fail("global_pooling takes the whole plane; leave out kernel_size, stride and pad")
            return (plane[0], plane[1]), stride, pad
        if min(kernel) < 1:
            self.fail("needs kernel_size, kernel_h and kernel_w, or global_pooling: true")
        return kernel, stride, pad

    def pair(self, name: str, short: str, default: int) -> tuple[int, int]:
        both, h, w = getattr(self, name), getattr(self, short + "_h"), getattr(self, short + "_w")
        if both and (h is not None or w is not None):
            self.fail(f"give {name} or {short}_h and {short}_w, not both")
        return both or (default if h is None else h, default if w is None else w)

    def finish(self, activation: Layer) -> bool:
        able = isinstance(self.op, TilePooling) and self.num_tops == 1 and self.pool != "STOCHASTIC"
        return able and isinstance(activation, Elementwise) and self.op.finish(code_of(activation), self.pool == "AVE")

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        x, y = (b.data.reshape(self.planes, *b.shape[-2:]) for b in (bottom[0], top[0]))
        if self.pool == "AVE":
            self.op.mean(x, y)
        elif self.averages:
            expected_pool[y.shape[:2]](x, y, *self.window)
        elif self.pool == "STOCHASTIC":
            drawn_pool[y.shape[:2]](x, y, self.where_max.data, self.key, self.clock, *self.window)
        else:
            self.op.largest(x, y, self.where_max.data)
        if self.num_tops == 2:
            cells = (self.planes, prod(y.shape[1:]))
            write_mask[cells](self.where_max.data.reshape(cells), top[1].data.reshape(cells))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        dx, dy = (b.diff.reshape(self.planes, *b.shape[-2:]) for b in (bottom[0], top[0]))
        if self.pool == "AVE":
            self.op.spread(dx, dy)
        elif self.averages:
            expected_pool_backward[self.planes](bottom[0].data.reshape(dx.shape), dx, dy, *self.window)
        else:
            self.op.chosen(dx, dy, self.where_max.data)


def pooled(size: int, kernel: int, stride: int, pad: int, floor: bool) -> int:
    """How many windows Caffe puts along an axis."""
    room = size + 2 * pad - kernel
    out = (room // stride if floor else -(-room // stride)) + 1
    return out - 1 if pad and (out - 1) * stride >= size + pad else out
