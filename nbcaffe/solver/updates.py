"""The update of all weights: a rule's kernel over the flat arenas of weights, gradients and histories.

What changes from iteration to iteration is read from a small array on the device, so that a captured graph sees it.
"""

# mypy: allow-untyped-defs
# (kernel bodies carry no types: Numba infers them)

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np

from ..binding import Late
from ..device import Device
from ..emit import rule_module
from ..kernel import Step, kernel, recording, team_range, team_sum
from ..ops.arena import square_parts
from ..ops.sweep import sweep
from .policies import rate
from .rules import CLIP, COUNT, NORM, PASSES, SCALE, UPDATES, arguments

Rule = tuple[float, float, int, int]
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
    late
        Weights of a net on the host whose gradient has to be computed: :class:`nbcaffe.binding.Late`.
    """

    def __init__(
        self, spec: Any, device: Device, data: Any, diff: Any, rules: Sequence[Rule], late: Sequence[Late] = ()
    ):
        self.spec, self.device, self.data = spec, device, data
        self.rule = rule = UPDATES[spec.type]
        self._kept = device.zeros((max(len(rule.histories), 1), data.size if rule.histories else 1), data.dtype)
        self.histories = [self._kept[k] for k in range(len(rule.histories))]
        self.now = device.zeros(COUNT + 1 + len(rule.numbers), data.dtype)
        self.found = device.zeros(2, data.dtype)
        # an int would make the kernel compute double
        self._settings = [float(getattr(spec, name)) for name in rule.settings]
        self._bound: tuple = (None, None, None)
        self._codes: dict[tuple[float, ...], int] = {}
        self.bind(diff, rules, late)

    def bind(self, diff: Any, rules: Sequence[Rule], late: Sequence[Late] = ()) -> None:
        """Take over what a net has bound, if that is new."""
        if diff is self._bound[0] and rules is self._bound[1] and late is self._bound[2]:
            return
        self._bound = diff, rules, late
        with recording() as self._measure:
            sums, *self._factors = self.square_sums(diff, *(factor for one in late for factor in (one.a, one.b)))
            clip[1](sums, self.now, self.found)
        with recording() as self._apply:
            for lr_mult, decay_mult, lo, hi in rules:
                if lr_mult and hi > lo:  # Caffe decays such a weight at the rate 0, which leaves it as it is
                    arrays = [array[lo:hi] for array in (self.data, diff, *self.histories)]
                    mults = float(lr_mult), float(decay_mult)
                    self.rule.kernel[hi - lo](*arrays, self.now, self.found, *mults, *self._settings)
        self._sweeps = [self.sweep(one) for one in late]

    @property
    def steps(self) -> list[Step]:
        """All that an update launches."""
        return [*self._measure, *self._apply, *chain(*self._sweeps)]

    def square_sums(self, *arrays: Any) -> list[Any]:
        """Launch the sums of squares of the arrays' parts; return where those of each are going to be."""
        ends = list(accumulate(max(-(-array.size // PART), 1) for array in arrays))
        partial = self.device.zeros(ends[-1], arrays[0].dtype)
        parts = [partial[first:end] for first, end in pairwise([0, *ends])]
        flat = [array.reshape(-1) for array in arrays]
        if not square_parts(flat, PART, partial):
            for array, sums in zip(flat, parts, strict=True):
                squares[len(sums)](array, sums)
        return parts

    def sweep(self, late: Late) -> list[Step]:
        """The product and the rule in one."""
        weight = late.weight
        code = self.machine_code(weight.lr_mult, weight.decay_mult)
        histories = self._kept.reshape(-1)[weight.offset if self.histories else 0 :]
        arrays = late.a, late.b, weight._data.reshape(-1), histories
        with recording() as steps:
            sweep(code, *arrays, self._kept.shape[1], self.now, self.found)
        return steps

    def machine_code(self, *mults: float) -> int:
        """The address of the rule's body as C code, its multipliers and settings written into the text."""
        if mults not in self._codes:
            numbers = [np.float32(number).item() for number in (*mults, *self._settings)]
            self._codes[mults] = rule_module(self.rule.kernel.source, len(self.histories), numbers).run.address
        return self._codes[mults]

    def measure(self, it: int) -> float:
        """Take the rate of iteration ``it``; return the norm of the gradient, which is not finite where that is not.

        A late gradient counts by the bound of Cauchy and Schwarz: ``a^T b`` is no longer than a times b.
        """
        s, lr = self.spec, rate(self.spec, it)
        l1 = s.regularization_type == "L1"
        numbers = (self.number(f, lr, it + 1) for f in self.rule.numbers.values())
        row = (lr, s.weight_decay, l1, s.clip_gradients, s.iter_size, it + 1, *numbers)
        self.device.upload(self.now, np.array(row, self.now.dtype))
        run(self._measure)
        sums = [float(part.sum()) for part in self._factors]
        bounds = (math.sqrt(a * b) for a, b in zip(sums[::2], sums[1::2], strict=True))
        return math.hypot(float(self.device.download(self.found)[NORM]), *bounds)

    def number(self, fn: Callable, lr: float, t: int) -> float:
        """One of the rule's own numbers; it sees the settings rounded as the kernel does: 1 - 0.999 depends on that."""
        known = {"lr": lr, "t": t}
        return fn(
            *(known[a] if a in known else self.now.dtype.type(getattr(self.spec, a)).item() for a in arguments(fn))
        )

    def apply(self) -> None:
        """Change the weights by what was measured."""
        run(chain(self._apply, *self._sweeps))


def run(steps: Iterable[Step]) -> None:
    for step in steps:
        step()
