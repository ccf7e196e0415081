"""Update rules as kernels over the flat arenas of weights, gradients and histories.

What changes from iteration to iteration is read from a small array on the device, so that a captured graph sees it.
"""

# mypy: allow-untyped-defs
# (kernel bodies carry no types: Numba infers them)

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..device import Device
from ..kernel import Kernel, Step, kernel, recording, team_range, team_sum
from .policies import rate

RATE, MOMENTUM, DECAY, L1, CLIP, PASSES = range(6)  # written by the host: places in `settings`
SCALE, NORM = range(2)  # written by kernels: places in `found`
PART = 4096  # gradients in one partial sum; fixed, so that the sum has the same bits for any number of threads


@kernel(team=True)
def squares(part, g, partial):
    """The sum of squares of one part of the gradient; it is NaN or infinite when an element is."""
    total = 0.0
    start = part * PART
    for i in team_range(min(PART, len(g) - start)):
        total += g[start + i] * g[start + i]
    partial[part] = team_sum(total)


@kernel(team=True)
def clip(row, partial, settings, found):
    """The norm of all gradients, and what they are multiplied by: clipped first, then averaged over iter_size."""
    total = 0.0
    for i in team_range(len(partial)):
        total += partial[i]
    norm = math.sqrt(team_sum(total))
    scale = 1.0 / settings[PASSES]
    if settings[CLIP] >= 0.0 and norm > settings[CLIP]:
        scale *= settings[CLIP] / norm
    found[SCALE] = scale
    found[NORM] = norm


@kernel
def sgd(i, w, g, h, settings, found, lr_mult, decay_mult):
    """Gradient descent with momentum; the rate goes into the history, so a new rate does not rescale the old one."""
    decay = settings[DECAY] * decay_mult
    pull = w[i]
    if settings[L1] > 0.0:
        pull = 1.0 if w[i] > 0.0 else -1.0 if w[i] < 0.0 else 0.0
    gradient = g[i] * found[SCALE] + decay * pull
    step = settings[RATE] * lr_mult * gradient + settings[MOMENTUM] * h[i]
    h[i] = step
    w[i] -= step


class Rule(NamedTuple):
    """An update kernel, and how many histories of the weights' size it keeps."""

    kernel: Kernel
    histories: int


UPDATES = {"SGD": Rule(sgd, 1)}


class Update:
    """The update of all weights, bound to their arenas.

    Parameters
    ----------
    rules
        ``(lr_mult, decay_mult, lo, hi)``: ranges of the arenas whose weights learn alike.
    """

    def __init__(self, spec: Any, device: Device, data: Any, diff: Any, rules: Iterable[tuple[float, float, int, int]]):
        self.spec, self.device, self.diff = spec, device, diff
        rule = UPDATES[spec.type]
        self.histories = [device.zeros(data.shape, data.dtype) for _ in range(rule.histories)]
        self.settings, self.found = device.zeros(6, data.dtype), device.zeros(2, data.dtype)
        self._partial = device.zeros(max(-(-diff.size // PART), 1), data.dtype)
        with recording() as self._measure:
            squares[len(self._partial)](diff, self._partial)
            clip[1](self._partial, self.settings, self.found)
        with recording() as self._apply:
            for lr_mult, decay_mult, lo, hi in rules:
                if lr_mult and hi > lo:  # Caffe decays such a weight at the rate 0, which leaves it as it is
                    arrays = [array[lo:hi] for array in (data, diff, *self.histories)]
                    rule.kernel[hi - lo](*arrays, self.settings, self.found, float(lr_mult), float(decay_mult))

    def measure(self, it: int) -> float:
        """Take the rate of iteration ``it``; return the norm of the gradient, which is not finite where that is not."""
        s = self.spec
        row = (rate(s, it), s.momentum, s.weight_decay, s.regularization_type == "L1", s.clip_gradients, s.iter_size)
        self.device.upload(self.settings, np.array(row, self.settings.dtype))
        run(self._measure)
        return float(self.device.download(self.found)[NORM])

    def apply(self) -> None:
        """Change the weights by what was measured."""
        run(self._apply)


def run(steps: Iterable[Step]) -> None:
    for step in steps:
        step()
