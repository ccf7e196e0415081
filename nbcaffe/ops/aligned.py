"""Arrays that start on a cache line: NumPy's start 16 bytes into one, and each vector access would touch two."""

from math import prod
from typing import Any

import numpy as np

LINE = 64


def aligned_zeros(shape: int | tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """``numpy.zeros`` whose first byte is on a 64-byte line."""
    size = (prod(shape) if isinstance(shape, tuple) else shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size].view(dtype).reshape(shape)
