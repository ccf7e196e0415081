"""The gradient against finite differences in float64; where they differ, what kind of mistake it looks like."""

from math import prod
from typing import Any

import numpy as np

from ..blob import Blob
from ..single import Single
from .case import Case, gradient_blobs
from .finding import Finding, at

STEP = 1e-6  # of the central difference
TOLERANCE = 1e-5
DIRECTIONS = 3
LOOK_AT = 400  # elements that are differentiated one by one once a direction has shown a fault


class Slopes:
    """One layer in float64 after a backward pass: analytic gradients, and differences to compare them with."""

    def __init__(self, case: Case):
        self.case, self.rng = case, np.random.default_rng(17)
        self.single: Single = case.single(dtype=np.float64, surrogate=True)
        case.spoil(self.single, np.nan)
        self.single.forward(*case.values)
        case.spoil_backward(self.single, np.nan)
        self.direction = case.diffs(self.single)
        self.single.backward(*self.direction)
        self.blobs = gradient_blobs(self.single)
        self.gradient = {name: blob.diff.copy() for name, blob in self.blobs.items()}
        self.single.forward(*case.values)
        terms = [np.abs(t.data * d).sum() for t, d in zip(self.single.top, self.direction, strict=True)]
        self.noise = 1e-4 * float(sum(terms)) + 1e-12  # differences of such a sum are no better

    def value(self) -> float:
        tops = self.single.forward()
        return sum(float((t * d).sum()) for t, d in zip(tops, self.direction, strict=True))

    def slope(self, blob: Blob, way: Any) -> float:
        """The directional derivative along ``way``."""
        start, ends = blob.data.copy(), []
        for sign in (1.0, -1.0):
            blob.data[...] = start + sign * STEP * way
            ends.append(self.value())
        blob.data[...] = start
        return (ends[0] - ends[1]) / (2.0 * STEP)

    def error(self, name: str) -> float:
        """The largest relative error over random directions; the bottoms' values come from the case again."""
        blob, worst = self.blobs[name], 0.0
        for _ in range(DIRECTIONS if blob.count else 0):
            way = self.rng.standard_normal(blob.shape)
            numeric, analytic = self.slope(blob, way), float((self.gradient[name] * way).sum())
            error = abs(numeric - analytic) / max(abs(numeric), abs(analytic), self.noise)
            worst = error if not error <= worst else worst  # a NaN stays one, where max would lose it
        return worst

    def elements(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flat places, their analytic and their numeric derivatives; all of them, or as many as are affordable."""
        blob = self.blobs[name]
        places = np.arange(blob.count)
        if blob.count > LOOK_AT:
            places = np.sort(self.rng.choice(blob.count, LOOK_AT, replace=False))
        numeric = np.empty(len(places))
        for k, place in enumerate(places):
            way = np.zeros(blob.count)
            way[place] = 1.0
            numeric[k] = self.slope(blob, way.reshape(blob.shape))
        return places, self.gradient[name].reshape(-1)[places], numeric


def gradient(case: Case) -> Finding:
    """Directional derivatives of each bottom and weight."""
    slopes = Slopes(case)
    errors = {name: slopes.error(name) for name in slopes.blobs}
    faults = [explain(slopes, name) for name, error in errors.items() if not error <= TOLERANCE]
    return Finding(float(np.max([0.0, *errors.values()])), "; ".join(faults))


def explain(slopes: Slopes, name: str) -> str:
    """A guess at the mistake, and the worst element."""
    places, got, expected = slopes.elements(name)
    shape = slopes.blobs[name].shape
    scale = max(float(np.abs(expected).max()), slopes.noise)
    errors = np.nan_to_num(np.abs(got - expected), nan=np.inf) / scale
    worst = int(errors.argmax())
    where = at(np.unravel_index(int(places[worst]), shape))
    example = f"at {where or 'its only element'} it is {got[worst]:.6g}, expected {expected[worst]:.6g}"
    return f"the gradient of {name} {guess(got, expected, errors > 1e-4, shape)}; {example}"


def guess(got: np.ndarray, expected: np.ndarray, wrong: np.ndarray, shape: tuple[int, ...]) -> str:
    """What the wrong numbers have in common."""
    if np.isnan(got).any():
        return f"is NaN at {int(np.isnan(got).sum())} of {got.size} places: not written, or read before it was written?"
    large = np.abs(expected) > 1e-3 * np.abs(expected).max()
    if not got.any():
        return "is 0 everywhere: is a line missing in backward?"
    ratios = got[large] / expected[large]
    if ratios.size and np.ptp(ratios) <= 1e-4 * abs(ratios[0]):
        return factor(float(ratios[0]), shape)
    shift = got - expected
    if np.ptp(shift) <= 1e-4 * np.abs(shift).max():
        return f"is off by {shift[0]:.4g} everywhere: a missing term?"
    if np.allclose(np.sort(got), np.sort(expected), rtol=1e-4, atol=1e-8):
        return "has the right numbers at the wrong places: an index, or an axis?"
    if wrong.sum() <= got.size // 2:
        return (
            f"is wrong at {int(wrong.sum())} of {got.size} places: an index, a border, or one branch of the function?"
        )
    return "differs from the finite difference: a wrong formula, or a term that is missing?"


def factor(ratio: float, shape: tuple[int, ...]) -> str:
    if abs(ratio + 1.0) < 1e-4:
        return "is minus the finite difference: a sign?"
    sizes = {prod(shape): f"it has {prod(shape)} elements"}
    sizes |= {n: f"axis {axis} has {n} elements" for axis, n in enumerate(shape)}
    for n, text in sizes.items():
        if n > 1 and min(abs(ratio - n), abs(1.0 / ratio - n)) < 1e-3 * n:
            return f"is {ratio:.4g} times the finite difference, and {text}: a wrong normaliser?"
    return f"is {ratio:.4g} times the finite difference: a factor?"
