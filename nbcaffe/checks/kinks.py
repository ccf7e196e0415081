"""Where an element-wise layer's derivative, or its value, jumps: found by looking at its values in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NbcaffeError
from ..single import Single

if TYPE_CHECKING:
    from .case import Case

LOW, HIGH, POINTS = -8.0, 8.0, 4099  # 4099: few round numbers, where kinks tend to lie, are grid points
CANDIDATES = 64  # intervals that are looked at closely
ROUNDS = 8  # each looks at a window a third as wide
PARTS = 12  # in which a window is divided

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Kinks:
    """``places`` where the derivative jumps, ``jumps`` where the value does; ``looked`` if anybody looked."""

    places: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()
    looked: bool = False


def kinks_of(case: "Case") -> Kinks:
    """Kinks of an element-wise layer with one bottom between -8 and 8."""
    function = elementwise(case)
    return find_kinks(function) if function else Kinks()


def elementwise(case: "Case") -> Function | None:
    """The layer as a function of numbers, or None if an element's value depends on its place or on others."""
    if len(case.shapes) != 1 or case.num_top != 1 or not case.differentiable or case.cls.shares:
        return None

    def function(x: np.ndarray) -> np.ndarray:
        single = Single(case.cls, [(x.size, 1)], phase=case.phase, num_top=1, dtype=np.float64, **case.params)
        if getattr(case.cls, "surrogate", None) is not None:
            vars(single.layer)["stand_in"] = True
        (top,) = single.forward(x.reshape(-1, 1))
        return top.reshape(-1)

    sample = np.random.default_rng(5).standard_normal(97)
    try:
        together, backwards = function(sample), function(sample[::-1])[::-1]
    except (NbcaffeError, ArithmeticError, LookupError, TypeError, ValueError):
        return None  # what is wrong with such a shape, the other checks say better
    if together.shape != sample.shape or not np.array_equal(together, backwards, equal_nan=True):
        return None
    return function


def find_kinks(function: Function) -> Kinks:
    """Zoom in on the strongest bends: a smooth one fades with the window's width, a kink's stays, a jump's grows."""
    x = np.linspace(LOW, HIGH, POINTS)
    with np.errstate(all="ignore"):
        bends = np.abs(np.diff(function(x), 2))
        bends[~np.isfinite(bends)] = 0.0
        peaks = np.argsort(bends)[::-1][:CANDIDATES]
        low, high = x[peaks], x[peaks + 2]
        first = bends[peaks] / (x[1] - x[0])
        for _ in range(ROUNDS):
            low, high, last, step = zoom(function, low, high)
    scale = 1.0 + np.abs(first)
    stays = np.isfinite(last) & (last > 0.05 * first) & (last > 1e-4 * scale) & (first > 0.0)
    is_jump = stays & (step > 1e-5)
    stays &= (low > LOW + 0.01) & (high < HIGH - 0.01)
    is_jump &= stays
    jumps = distinct(0.5 * (low + high)[is_jump])
    places = distinct(0.5 * (low + high)[stays & ~is_jump])
    return Kinks(tuple(p for p in places if all(abs(p - j) > 1e-3 for j in jumps)), jumps, looked=True)


def zoom(function: Function, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    """The part of each window with the strongest bend: its ends, its change of slope and of value."""
    points = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, PARTS + 1)
    values = function(points.reshape(-1)).reshape(points.shape)
    slopes = np.diff(values, axis=1) / np.diff(points, axis=1)
    bends = np.nan_to_num(np.abs(np.diff(slopes, axis=1)), nan=0.0, posinf=0.0)
    row, best = np.arange(len(low)), bends.argmax(axis=1)
    left, right = np.maximum(best - 1, 0), np.minimum(best + 3, PARTS)
    step = np.abs(np.diff(values, axis=1)).max(axis=1)
    return points[row, left], points[row, right], bends[row, best], step


def distinct(places: np.ndarray) -> tuple[float, ...]:
    """Sorted, one of those that lie together, and a round number where one is as near."""
    out: list[float] = []
    for place in sorted(float(p) for p in places):
        if not out or place - out[-1] > 1e-3:
            out.append(round(place, 4) + 0.0)
    return tuple(out)
