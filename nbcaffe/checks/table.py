"""The table of checks."""

from collections.abc import Callable
from dataclasses import dataclass

from ..device import SIMULATED, cuda
from . import gradient, kernels, shapes, values
from .case import Case
from .finding import Finding, attempt


@dataclass(frozen=True)
class Check:
    """What is checked, and which cases it is about."""

    name: str
    run: Callable[[Case], Finding]
    applies: Callable[[Case], bool]


def always(case: Case) -> bool:
    return True


def differentiable(case: Case) -> bool:
    return case.differentiable


def several(case: Case) -> bool:
    """Whether one gradient may be wanted and another not."""
    return case.differentiable and (len(case.shapes) > 1 or case.learns)


# In this order: what "owned writes" finds could crash the others, which run compiled.
CHECKS: tuple[Check, ...] = (
    Check("owned writes", kernels.owned, lambda c: bool(c.shapes)),
    Check("gradient", gradient.gradient, differentiable),
    Check("cpu = cuda", values.targets, lambda c: SIMULATED or cuda.is_available()),
    Check("in place", values.in_place, lambda c: c.cls.inplace and c.differentiable),
    Check("accumulation", values.accumulation, differentiable),
    Check("inputs untouched", values.untouched, always),
    Check("stale memory", values.stale, lambda c: bool(c.shapes)),
    Check("unwanted gradients", values.unwanted, several),
    Check("same bits", values.bits, always),
    Check("NaN", values.nan, differentiable),
    Check("large values", values.large, differentiable),
    Check("shapes", shapes.shapes, lambda c: bool(c.shapes)),
    Check("float32 only", kernels.no_double, always),
    Check("reference", values.reference, lambda c: hasattr(c.cls, "reference")),
)


def examine(check: Check, case: Case) -> Finding | None:
    """What one check finds, or None if it is not about this case."""
    return attempt(lambda: check.run(case) if check.applies(case) else None)
