"""What a layer must at least compute and move, and the most that this machine computes and moves in a second.

The roof: no layer takes less time than its arithmetic at the one peak, nor less than its bytes at the other.

Williams, Waterman and Patterson, *Roofline: an insightful visual performance model*, CACM 2009.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import get_num_threads, njit, prange

from . import threads  # noqa: F401  (chooses the threading layer before Numba starts one)
from .binding import has_late
from .cache import folder, write_atomically
from .errors import ConfigError
from .graph import Node
from .ops.autotune import best
from .ops.host import fits
from .ops.simd import addr, vouter, vput, vzeros

MR, NV = next(tile for tile in ((13, 2), (6, 1), (2, 1)) if fits(*tile))  # of the size that tiles of products have
STEPS = 20_000  # rank-1 updates of a trial
COPIED = 16 * 2**20  # floats, more than most caches hold
SECONDS = 0.4  # of trials for each peak; the best one counts


@dataclass(frozen=True)
class Work:
    """Floating-point operations, a multiply-add being two, and bytes read and written, each blob once."""

    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True)
class Peaks:
    """Of this machine, with all of Numba's threads: GFLOP/s in float32, and GB/s of a copy, reads and writes."""

    gflops: float
    gbytes: float

    def least_ms(self, work: Work) -> float:
        """Milliseconds that the work takes at the roof."""
        return max(work.flops / self.gflops, work.bytes / self.gbytes) / 1e6


def forward_work(node: Node, itemsize: int = 4) -> Work:
    """Products, and bottoms and weights in, tops out."""
    blobs = [*node.bottom, *node.layer.weights, *node.top]
    return Work(2 * node.layer.multiply_adds, itemsize * sum(blob.count for blob in blobs))


def backward_work(node: Node, itemsize: int = 4) -> Work:
    """A product for each of the gradients of bottoms and of weights; weights' diffs are added to: read and written.

    A gradient that is left to the update is :func:`late_work`.
    """
    layer, bottom_needed = node.layer, any(node.bottom_need)
    learned = [w for w, wanted in zip(layer.weights, layer.param_propagate, strict=True) if wanted and not w.late]
    late = has_late(node)
    moved = [*node.top, *learned, *learned]
    moved += [blob for blob, need in zip(node.bottom, node.bottom_need, strict=True) if need]
    moved += layer.weights if bottom_needed else []
    moved += node.bottom if "bottom" in layer.backward_needs and not late else []
    moved += node.top if "top" in layer.backward_needs else []
    products = layer.multiply_adds * (bottom_needed + (bool(learned) and not late))
    return Work(2 * products, itemsize * sum(blob.count for blob in moved))


def late_work(node: Node, histories: int, itemsize: int = 4) -> Work:
    """A weight's gradient and update in one: the factors in, the weight and its histories in and out."""
    factors = node.bottom[0].count + node.top[0].count
    kept = 2 * (1 + histories) * node.layer.weights[0].count
    return Work(2 * node.layer.multiply_adds, itemsize * (factors + kept))


@njit(cache=True, parallel=True)
def multiply(rows, x, w, out):
    """``rows`` register tiles, each of which gains the same rank-1 update again and again."""
    for t in prange(rows):
        tile = vzeros(MR, NV)
        for _ in range(STEPS):
            tile = vouter(tile, addr(x, 0), 1, addr(w, 0), NV)
        vput(tile, addr(out, t * 16 * MR * NV), 16 * NV, NV)


@njit(cache=True, parallel=True)
def copy(rows, x, y):
    for t in prange(rows):
        first, end = x.size * t // rows, x.size * (t + 1) // rows
        y[first:end] = x[first:end]


def measure_peaks() -> Peaks:
    """Both peaks of this machine; what else it does at the time lowers them."""
    rows = get_num_threads()
    x, w, out = np.zeros(64, np.float32), np.zeros(64, np.float32), np.zeros(rows * 16 * MR * NV, np.float32)
    flops = rows * STEPS * 2 * 16 * MR * NV / best(lambda: multiply(rows, x, w, out), SECONDS)
    source, target = np.zeros(COPIED, np.float32), np.ones(COPIED, np.float32)
    source[...] = 1.0  # pages that were never written are one page
    moved = 2 * source.nbytes / best(lambda: copy(rows, source, target), SECONDS)
    return Peaks(flops / 1e9, moved / 1e9)


def peaks(again: bool = False) -> Peaks:
    """The peaks, remembered in the cache folder for each kind of processor and number of threads."""
    path = folder() / f"peaks-{llvm.get_host_cpu_name()}-{get_num_threads()}.json"
    if not again:
        try:
            return Peaks(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):  # not there, or not as we write it: measured anew
            pass
    found = measure_peaks()
    write_atomically(path, json.dumps(asdict(found)).encode())
    return found


def draw(title: str, roof: Peaks, points: list[tuple[str, str, Work, float]], path: str) -> None:
    """Write the picture: for each (layer, way, work, ms) with products a point under the roof."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("--plot needs matplotlib: pip install 'nbcaffe[plot]'") from None
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes: Any = figure.add_subplot()
    shown = [point for point in points if point[2].flops]
    intensities = [work.flops / work.bytes for _, _, work, _ in shown]
    x = np.geomspace(min(intensities, default=1) / 2, max(intensities, default=100) * 2, 200)
    axes.loglog(x, np.minimum(roof.gflops, x * roof.gbytes), color="black", label="roof")
    for way, mark in (("forward", "o"), ("backward", "s"), ("update", "^")):
        mine = [(w.flops / w.bytes, w.flops / ms / 1e6, name) for name, at, w, ms in shown if at == way]
        axes.loglog([i for i, _, _ in mine], [rate for _, rate, _ in mine], mark, alpha=0.7, label=way)
        for intensity, rate, name in mine:
            axes.annotate(name, (intensity, rate), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.set(title=title, xlabel="FLOP a byte, each blob moved once", ylabel="GFLOP/s")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    try:
        figure.savefig(Path(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path}: cannot be written: {error}") from None
