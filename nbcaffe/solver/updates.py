"""The update of all weights: a rule's kernel over the flat arenas of weights, gradients and histories.

What changes from iteration to iteration is read from a small array on the device, so that a captured graph sees it.
"""

# mypy: allow-untyped-defs
# (kernel bodies carry no types: Numba infers them)

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..device import Device
from ..kernel import Step, kernel, recording, team_range, team_sum
from ..ops.arena import square_parts
from .policies import rate
from .rules import CLIP, COUNT, NORM, PASSES, SCALE, UPDATES, arguments

PART = 4096  # gradients in one partial sum; fixed, so that the sum has the same bits for any number of threads


@kernel(team=True)
def squares(part, g, partial):
    """The sum of squares of one part of the gradient; it is NaN or infinite when an element is.

    Four sums: an addition waits for the one before.
    """
    start = part * PART
    count = min(PART, len(g) - start)
    a = b = c = d = 0.0
    for i in team_range(count // 4):
        at = start + 4 * i
        a += g[at] * g[at]
        b += g[at + 1] * g[at + 1]
        c += g[at + 2] * g[at + 2]
        d += g[at + 3] * g[at + 3]
    for i in team_range(count % 4):
        a += g[start + count - 1 - i] * g[start + count - 1 - i]
    partial[part] = team_sum((a + b) + (c + d))


@kernel(team=True)
def clip(row, partial, now, found):
    """The norm of all gradients, and what they are multiplied by: clipped first, then averaged over iter_size."""
    total = 0.0
    for i in team_range(len(partial)):
        total += partial[i]
    norm = math.sqrt(team_sum(total))
    scale = 1.0 / now[PASSES]
    if now[CLIP] >= 0.0 and norm > now[CLIP]:
        scale *= now[CLIP] / norm
    found[SCALE] = scale
    found[NORM] = norm


class BoundUpdate:
    """The update of all weights, bound to their arenas.

    Parameters
    ----------
    rules
        ``(lr_mult, decay_mult, lo, hi)``: ranges of the arenas whose weights learn alike.
    """

    def __init__(self, spec: Any, device: Device, data: Any, diff: Any, rules: Iterable[tuple[float, float, int, int]]):
        self.spec, self.device, self.diff = spec, device, diff
        self.rule = rule = UPDATES[spec.type]
        self.histories = [device.zeros(data.shape, data.dtype) for _ in rule.histories]
        self.now = device.zeros(COUNT + 1 + len(rule.numbers), data.dtype)
        self.found = device.zeros(2, data.dtype)
        self._partial = device.zeros(max(-(-diff.size // PART), 1), data.dtype)
        settings = [float(getattr(spec, name)) for name in rule.settings]  # an int would make the kernel compute double
        with recording() as self._measure:
            if not square_parts(diff, PART, self._partial):
                squares[len(self._partial)](diff, self._partial)
            clip[1](self._partial, self.now, self.found)
        with recording() as self._apply:
            for lr_mult, decay_mult, lo, hi in rules:
                if lr_mult and hi > lo:  # Caffe decays such a weight at the rate 0, which leaves it as it is
                    arrays = [array[lo:hi] for array in (data, diff, *self.histories)]
                    mults = float(lr_mult), float(decay_mult)
                    rule.kernel[hi - lo](*arrays, self.now, self.found, *mults, *settings)

    def measure(self, it: int) -> float:
        """Take the rate of iteration ``it``; return the norm of the gradient, which is not finite where that is not."""
        s, lr = self.spec, rate(self.spec, it)
        l1 = s.regularization_type == "L1"
        numbers = (self.number(f, lr, it + 1) for f in self.rule.numbers.values())
        row = (lr, s.weight_decay, l1, s.clip_gradients, s.iter_size, it + 1, *numbers)
        self.device.upload(self.now, np.array(row, self.now.dtype))
        run(self._measure)
        return float(self.device.download(self.found)[NORM])

    def number(self, fn: Callable, lr: float, t: int) -> float:
        """One of the rule's own numbers; it sees the settings rounded as the kernel does: 1 - 0.999 depends on that."""
        known = {"lr": lr, "t": t}
        return fn(
            *(known[a] if a in known else self.now.dtype.type(getattr(self.spec, a)).item() for a in arguments(fn))
        )

    def apply(self) -> None:
        """Change the weights by what was measured."""
        run(self._apply)


def run(steps: Iterable[Step]) -> None:
    for step in steps:
        step()
