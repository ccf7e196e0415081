"""Learning-rate policies: the rate as a function of the iteration, and the settings it cannot do without."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .spec import SolverSpec


class Policy(NamedTuple):
    """``rate(solver spec, iteration)``, and ``needs``: the settings that the user must give."""

    rate: Callable[[SolverSpec, int], float]
    needs: tuple[str, ...] = ()


def poly(s: SolverSpec, it: int) -> float:
    left = max(0.0, 1.0 - it / s.max_iter)  # someone may step beyond max_iter: then the rate is 0, not complex
    return s.base_lr * left**s.power


def sigmoid(s: SolverSpec, it: int) -> float:
    """It rises to base_lr, as Caffe's does for the gamma >= 0 that it asks for."""
    x = s.gamma * (it - s.stepsize)
    return s.base_lr / (1.0 + math.exp(-x)) if x > 0.0 else s.base_lr * math.exp(x) / (1.0 + math.exp(x))


POLICIES = {
    "fixed": Policy(lambda s, it: s.base_lr),
    "step": Policy(lambda s, it: s.base_lr * s.gamma ** (it // s.stepsize), ("gamma", "stepsize")),
    "exp": Policy(lambda s, it: s.base_lr * s.gamma**it, ("gamma",)),
    "inv": Policy(lambda s, it: s.base_lr * (1.0 + s.gamma * it) ** -s.power, ("gamma", "power")),
    "multistep": Policy(lambda s, it: s.base_lr * s.gamma ** steps_taken(s, it), ("gamma", "stepvalue")),
    "poly": Policy(poly, ("power", "max_iter")),
    "sigmoid": Policy(sigmoid, ("gamma", "stepsize")),
}


def rate(s: SolverSpec, it: int) -> float:
    """The learning rate of iteration ``it``, counted from 0, before lr_mult."""
    return POLICIES[s.lr_policy].rate(s, it)


def steps_taken(s: SolverSpec, it: int) -> int:
    """Caffe's ``current_step``: how often step and multistep have multiplied the rate by gamma."""
    if s.lr_policy == "step":
        return it // s.stepsize
    return bisect_right(s.stepvalue, it)
