"""AUTOTUNE: each engine that can do an operation does it a few times on this machine, and the fastest is remembered.

The file of findings lies in the kernel cache: one for each kind of processor and number of threads.  What is fastest
is a matter of this machine, and with it the last bits of the results: who wants the same ones everywhere names engines.
"""

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import get_num_threads

from ..cache import folder, write_atomically
from .aligned import aligned_zeros
from .shapes import ConvShape

SECONDS = 0.02  # of trials for each direction


def fastest(able: dict[str, Any], shape: Any, dtype: Any) -> str:
    """The name of the engine with the least time for all three directions; PLAIN only where nothing else can."""
    rivals = {name: E for name, E in able.items() if name != "PLAIN"} or able
    if len(rivals) == 1:
        return next(iter(rivals))
    path = folder() / f"engines-{llvm.get_host_cpu_name()}-{get_num_threads()}.json"
    try:
        known = json.loads(path.read_text())
        found = known.get(f"{dtype} {shape}")
    except (OSError, ValueError, AttributeError):  # not there, or not as we write it: measured anew
        known, found = {}, None
    if found not in rivals:
        seconds = {name: trial(E, shape, dtype) for name, E in rivals.items()}
        found = min(seconds, key=lambda name: seconds[name])
        write_atomically(path, json.dumps(known | {f"{dtype} {shape}": found}, indent=1).encode())
    return found


def trial(engine: Any, shape: Any, dtype: Any) -> float:
    """Seconds that an engine takes for forward and both gradients."""

    def array(size: tuple[int, ...]) -> np.ndarray:
        out = aligned_zeros(size, dtype)
        out[...] = 1.0  # pages that were never written are one page
        return out

    op = engine(shape, lambda size, kind=dtype, way="": SimpleNamespace(data=aligned_zeros(size, kind)), str(dtype))
    convolves = isinstance(shape, ConvShape)
    bottom = shape.bottom_shape if convolves else (shape.rows, shape.inner)
    top = shape.top_shape if convolves else (shape.rows, shape.cols)
    x, dx, w, dw = array(bottom), array(bottom), array(shape.weight_shape), array(shape.weight_shape)
    y, dy, b, db = array(top), array(top), array((top[1],)), array((top[1],))
    directions = (
        lambda: op.forward(x, w, b, y),
        lambda: op.backward_data(dy, w, dx),
        lambda: op.backward_weights(x, dy, dw, db),
    )
    return sum(best(direction, SECONDS) for direction in directions)


def best(run: Callable[[], None], seconds: float) -> float:
    """Seconds of the fastest of three trials or more; the first run, which may compile, does not count."""
    run()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)
