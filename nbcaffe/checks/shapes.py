"""Other shapes than the example's: empty ones, single elements, primes, few axes and many."""

from collections.abc import Callable
from math import prod

import numpy as np

from ..errors import NbcaffeError
from .case import Case
from .finding import Finding, compare, crash
from .gradient import TOLERANCE, Slopes, explain
from .kernels import owned

Shape = tuple[int, ...]
FLOAT64 = 2e-3  # float32 against float64, relative to the largest value
TRACED = 1500  # elements; of larger cases the kernels are not watched

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31)


def prime(n: int) -> int:
    """The next prime; equal sizes stay equal, so that bottoms keep fitting each other."""
    return next((p for p in PRIMES if p > n), n + 1)


VARIANTS: dict[str, Callable[[Shape], Shape]] = {
    "no items": lambda s: (0, *s[1:]),
    "one item": lambda s: (1, *s[1:]),
    "a single element": lambda s: (1,) * len(s),
    "prime sizes": lambda s: tuple(prime(n) for n in s),
    "long rows": lambda s: (*s[:-1], prime(s[-1]) + 64),
    "one axis": lambda s: (prod(s),),
    "two axes": lambda s: (s[0], prod(s[1:])),
    "five axes": lambda s: (*s, *(2, 3, 1, 2)[: 5 - len(s)]),
}


def shapes(case: Case) -> Finding:
    """Every variant that ``setup`` accepts gives finished, finite-differenced, reproducible results."""
    worst, refused = 0.0, []
    for label, change in VARIANTS.items():
        changed = [change(s) if s else s for s in case.shapes]
        if changed == case.shapes:
            continue
        try:
            found = one(case.reshaped(changed))
        except NbcaffeError:
            refused.append(label)
            continue
        except Exception as error:  # an author's code may raise anything
            if label.endswith(("axis", "axes")):  # an author need not think of every number of axes
                refused.append(f"{label} ({type(error).__name__})")
                continue
            found = Finding(np.inf, crash(error))
        worst = max(worst, found.error)
        if not found.passed:
            return Finding(found.error, f"with {label}, {' and '.join(map(str, changed))}: {found.fault}")
    return Finding(worst, note=f"refused: {', '.join(refused)}" if refused else "")


def one(case: Case) -> Finding:
    if sum(map(prod, case.shapes)) <= TRACED:
        found = owned(case)
        if not found.passed:
            return found
    clean = case.run(np.nan)
    found = compare(clean, case.run(3.0), 0.0, "the result depends on what was in the memory")
    if not found.passed or not all(map(prod, case.shapes)):
        return found
    found = compare(clean, case.run(dtype=np.float64), FLOAT64, "float32 differs from float64")
    if not found.passed or not case.differentiable:
        return found
    slopes = Slopes(case)
    for name in slopes.blobs:
        if not slopes.error(name) <= TOLERANCE:
            return Finding(np.inf, explain(slopes, name))
    return found
