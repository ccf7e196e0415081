"""Pooling over the last two axes, plane by plane."""

import math
from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..kernel import kernel, real
from ..layer import Layer
from ..params import Bool, Choice, Int, Pair
from .stochastic_pooling import drawn_pool, expected_pool, expected_pool_backward


@kernel
def max_pool(p, oh, x, y, where, kh, kw, sh, sw, ph, pw):
    """One row of outputs.  NaNs are counted beside the search: a test for them in it would cost a branch each time."""
    _, height, width = x.shape
    above = oh * sh - ph
    first, last = max(above, 0), min(above + kh, height)
    for ow in range(y.shape[2]):
        left = ow * sw - pw
        low, high = max(left, 0), min(left + kw, width)
        best, place, nans = -3.4028234663852886e38, -1, 0
        for h in range(first, last):
            for w in range(low, high):
                value = x[p, h, w]
                larger = not value <= best
                place = h * width + w if larger else place
                best = value if larger else best
                nans += 1 if value != value else 0
        if place < 0 and first < last and low < high:  # nothing but -inf
            best, place = -math.inf, first * width + low
        y[p, oh, ow] = best if nans == 0 else math.nan
        where[p, oh, ow] = place


@kernel
def max_pool_2x2(p, oh, x, y, where):
    """The usual case, all windows inside: the four values at once."""
    width = x.shape[2]
    for ow in range(y.shape[2]):
        h, w = 2 * oh, 2 * ow
        a, b, c, d = x[p, h, w], x[p, h, w + 1], x[p, h + 1, w], x[p, h + 1, w + 1]
        best, place = a, 0
        place = 1 if b > best or b != b else place
        best = b if b > best or b != b else best
        place = width if c > best or c != c else place
        best = c if c > best or c != c else best
        place = width + 1 if d > best or d != d else place
        y[p, oh, ow] = d if d > best or d != d else best
        where[p, oh, ow] = h * width + w + place


@kernel
def max_pool_backward(p, dx, dy, where):
    """Scatter inside the own plane: no two planes share a cell."""
    for i in range(dx.shape[1]):
        dx[p, i] = 0.0
    for o in range(dy.shape[1]):
        if where[p, o] >= 0:
            dx[p, where[p, o]] += dy[p, o]


@kernel
def write_mask(p, o, where, mask):
    mask[p, o] = real(where[p, o])


@kernel
def mean_pool(p, oh, x, y, kh, kw, sh, sw, ph, pw):
    """One row of outputs: window sums over the windows' padded areas."""
    _, height, width = x.shape
    outputs = y.shape[2]
    for ow in range(outputs):
        y[p, oh, ow] = 0.0
    above = oh * sh - ph
    for h in range(max(above, 0), min(above + kh, height)):
        for j in range(kw):
            first = max(0, (pw - j + sw - 1) // sw)
            last = min(outputs, (width - 1 + pw - j) // sw + 1)
            for ow in range(first, last):
                y[p, oh, ow] += x[p, h, ow * sw - pw + j]
    rows = min(above + kh, height + ph) - above
    for ow in range(outputs):
        left = ow * sw - pw
        y[p, oh, ow] /= real(rows * (min(left + kw, width + pw) - left))


@kernel
def mean_pool_backward(p, dx, dy, kh, kw, sh, sw, ph, pw):
    """One plane: each window spreads its gradient over its padded area."""
    _, height, width = dx.shape
    _, rows, outputs = dy.shape
    for h in range(height):
        for w in range(width):
            dx[p, h, w] = 0.0
    for oh in range(rows):
        above = oh * sh - ph
        tall = min(above + kh, height + ph) - above
        for ow in range(outputs):
            left = ow * sw - pw
            share = dy[p, oh, ow] / real(tall * (min(left + kw, width + pw) - left))
            for h in range(max(above, 0), min(above + kh, height)):
                for w in range(max(left, 0), min(left + kw, width)):
                    dx[p, h, w] += share


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
        whole = all(2 * o <= n for o, n in zip(out, shape[-2:], strict=True))
        self.simple = self.window == (2, 2, 2, 2, 0, 0) and whole
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

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        x, y = (b.data.reshape(self.planes, *b.shape[-2:]) for b in (bottom[0], top[0]))
        if self.pool == "AVE":
            mean_pool[y.shape[:2]](x, y, *self.window)
        elif self.averages:
            expected_pool[y.shape[:2]](x, y, *self.window)
        elif self.pool == "STOCHASTIC":
            drawn_pool[y.shape[:2]](x, y, self.where_max.data, self.key, self.clock, *self.window)
        elif self.simple:
            max_pool_2x2[y.shape[:2]](x, y, self.where_max.data)
        else:
            max_pool[y.shape[:2]](x, y, self.where_max.data, *self.window)
        if self.num_tops == 2:
            cells = (self.planes, prod(y.shape[1:]))
            write_mask[cells](self.where_max.data.reshape(cells), top[1].data.reshape(cells))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        dx, dy = (b.diff.reshape(self.planes, *b.shape[-2:]) for b in (bottom[0], top[0]))
        if self.pool == "AVE":
            mean_pool_backward[self.planes](dx, dy, *self.window)
            return
        if self.averages:
            expected_pool_backward[self.planes](bottom[0].data.reshape(dx.shape), dx, dy, *self.window)
            return
        plane, out = (self.planes, prod(dx.shape[1:])), (self.planes, prod(dy.shape[1:]))
        max_pool_backward[self.planes](dx.reshape(plane), dy.reshape(out), self.where_max.data.reshape(out))


def pooled(size: int, kernel: int, stride: int, pad: int, floor: bool) -> int:
    """How many windows Caffe puts along an axis."""
    room = size + 2 * pad - kernel
    out = (room // stride if floor else -(-room // stride)) + 1
    return out - 1 if pad and (out - 1) * stride >= size + pad else out
