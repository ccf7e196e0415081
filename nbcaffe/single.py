"""One layer by itself: memory for its blobs and nothing else.  Checks, tests and notebooks use it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import rng
from .blob import Blob
from .device import Device, get_device
from .fillers import fill
from .layer import REGISTRY, Layer
from .params import bind


class Single:
    """A layer of the registry with its own bottoms, tops and weights, ready to run.

    Parameters
    ----------
    kind : str or class
        Layer type; a class is taken as it is, also where its name means a newer one by now.
    shapes : sequence of shapes
        Of the bottoms.
    device : str or Device
        Where it runs.
    dtype : dtype
        float32, or float64 for gradient checks.
    inplace : bool
        Let the first top take the first bottom's memory.
    """

    def __init__(
        self,
        kind: str | type[Layer],
        shapes: Sequence[tuple[int, ...]],
        *,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        phase: str = "TRAIN",
        inplace: bool = False,
        num_top: int | None = None,
        seed: int = 1701,
        **params: Any,
    ):
        self.device = get_device(device) if isinstance(device, str) else device
        cls = REGISTRY[kind] if isinstance(kind, str) else kind
        values, errors = bind(cls.params, params, cls.__name__)
        if errors:
            raise errors[0]
        self.layer: Layer = cls(cls.__name__.lower(), phase, **values)
        self.layer.dtype, self.layer.target = np.dtype(dtype), self.device.name
        self.layer.key = rng.key(seed, self.layer.name)
        self.layer.clock = self.device.zeros(1, np.int64)
        self.bottom = [Blob(shape, f"bottom{i}") for i, shape in enumerate(shapes)]
        self.layer.num_tops = num_top if num_top is not None else least(cls.num_top)
        self.layer.overwriting = inplace
        self.top = [Blob(shape, f"top{i}") for i, shape in enumerate(self.layer.plan(self.bottom))]
        self.layer.propagate_down = [self.gets_gradient(i) for i in range(len(shapes))]
        self.layer.param_propagate = [weight.learned for weight in self.layer.weights]
        self.allocate(inplace)
        for index, weight in enumerate(self.layer.weights):
            self.device.upload(weight.data, fill(weight.filler, weight.shape, rng.key(seed, self.layer.name, index)))

    def gets_gradient(self, index: int) -> bool:
        able = self.layer.differentiable
        return able is None or index in able

    def allocate(self, inplace: bool) -> None:
        zeros, dtype = self.device.zeros, self.layer.dtype
        for blob in (*self.bottom, *self.layer.weights):
            blob._data, blob._diff = zeros(blob.shape, dtype), zeros(blob.shape, dtype)
        for index, blob in enumerate(self.top):
            view = inplace and index == 0
            source = self.bottom[0] if self.bottom else blob
            blob._data = source._data.reshape(blob.shape) if view or self.layer.shares else zeros(blob.shape, dtype)
            same_diff = view or self.layer.shares == "both"
            blob._diff = source._diff.reshape(blob.shape) if same_diff else zeros(blob.shape, dtype)
        for buffer in self.layer.buffers:
            buffer.data = zeros(buffer.shape, np.dtype(buffer.dtype))

    def forward(self, *values: np.ndarray) -> list[np.ndarray]:
        """Upload ``values`` into the bottoms, run, check, return the tops."""
        for blob, value in zip(self.bottom, values, strict=False):
            self.device.upload(blob.data, value)
        if self.layer.resizes:
            self.resize(self.layer.prepare(self.bottom, self.top))
        self.layer.forward(self.bottom, self.top)
        self.layer.guard()
        return [self.device.download(blob.data).copy() for blob in self.top]

    def resize(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """New memory for the tops whose shape this pass changes."""
        zeros, dtype = self.device.zeros, self.layer.dtype
        for blob, shape in zip(self.top, shapes, strict=True):
            if blob.shape != tuple(shape):
                blob.reshape(*shape)
                blob._data, blob._diff = zeros(shape, dtype), zeros(shape, dtype)

    def backward(self, *diffs: np.ndarray) -> list[np.ndarray]:
        """Upload ``diffs`` into the tops, run, return the bottoms' diffs; weights' diffs add up."""
        for blob, diff in zip(self.top, diffs, strict=False):
            self.device.upload(blob.diff, diff)
        self.layer.backward(self.bottom, self.top)
        return [self.device.download(blob.diff).copy() for blob in self.bottom]


def least(count: Any) -> int:
    return count[0] if isinstance(count, tuple) else count
