"""Spatial pyramid pooling, made of Pooling."""

from collections.abc import Sequence
from math import prod

from ..blob import Blob, Buffer
from ..layer import Layer
from ..params import Choice, Int
from .pooling import Pooling
from .structural import add, put_part, take_part


class Level:
    """One grid of windows: its pooling, and work space for its tops, then for their gradients."""

    def __init__(self, pool: Pooling, shape: tuple[int, ...], values: Buffer):
        self.pool, self.shape, self.values = pool, shape, values

    @property
    def top(self) -> Blob:
        blob = Blob(self.shape)
        blob._data = blob._diff = self.values.data.reshape(self.shape)
        return blob


class SPP(Layer):
    """Spatial pyramid pooling: 1, 4, 16, ... windows over the plane, one vector of a fixed length for any size.

    Level l has 2^l by 2^l windows of ``ceil(size / 2^l)``, with as much padding as they need.  (N, C, H, W) gives
    (N, C (1 + 4 + ... )), or (N, C, 1, 1) if there is one level.

    He et al., *Spatial pyramid pooling in deep convolutional networks*, ECCV 2014.
    """

    pyramid_height = Int(ge=1, doc="how many levels")
    pool = Choice("MAX", "AVE", doc="how a window becomes one value")
    engine = Choice("DEFAULT", "CAFFE", "CUDNN", doc="accepted for Caffe's files; changes nothing here")
    backward_needs = frozenset()
    bottom_shapes = ((2, 2, 5, 6),)
    examples = ({"pyramid_height": 2}, {"pyramid_height": 3, "pool": "AVE", "bottom": [(1, 2, 9, 7)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape = bottom[0].shape
        if len(shape) != 4 or min(shape) < 1:
            self.fail(f"needs a bottom of four axes (N, C, H, W), got {shape}")
        self.levels = [self.level(bottom[0], 2**power) for power in range(self.pyramid_height)]
        self.partial = self.buffer(bottom[0].count)
        widths = [prod(level.shape[1:]) for level in self.levels]
        self.columns = [sum(widths[:power]) for power in range(len(widths) + 1)]
        return [(*shape[:2], 1, 1) if len(widths) == 1 else (shape[0], sum(widths))]

    def level(self, bottom: Blob, bins: int) -> Level:
        height, width = (-(-size // bins) for size in bottom.shape[2:])
        above, left = (height * bins - bottom.shape[2] + 1) // 2, (width * bins - bottom.shape[3] + 1) // 2
        sizes = {"kernel_h": height, "kernel_w": width, "stride_h": height, "stride_w": width}
        pool = Pooling(self.name, self.phase, self.where, pool=self.pool, pad_h=above, pad_w=left, **sizes)
        pool.dtype, pool.target, pool.propagate_down = self.dtype, self.target, [True]
        (shape,) = pool.plan([bottom])
        self.buffers += pool.buffers
        return Level(pool, shape, self.buffer(shape))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        whole = top[0].data.reshape(bottom[0].shape[0], self.columns[-1])
        for level, first in zip(self.levels, self.columns, strict=False):
            blob = level.top
            level.pool.forward(bottom, [blob])
            part = blob.data.reshape(whole.shape[0], prod(level.shape[1:]))
            put_part[part.shape](part, whole, first)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        n, whole = bottom[0].count, top[0].diff.reshape(bottom[0].shape[0], self.columns[-1])
        partial = Blob(bottom[0].shape)
        partial._data, partial._diff = bottom[0]._data, self.partial.data.reshape(bottom[0].shape)
        for number, (level, first) in enumerate(zip(self.levels, self.columns, strict=False)):
            blob = level.top
            part = blob.diff.reshape(whole.shape[0], prod(level.shape[1:]))
            take_part[part.shape](whole, part, first)
            level.pool.backward([partial if number else bottom[0]], [blob])
            if number:
                add[n](partial.diff.reshape(n), bottom[0].diff.reshape(n))
