"""pycaffe's solver classes: each has its own update rule, whatever ``type`` its file says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import mode
from .loop import Solver


class NamedSolver(Solver):
    """A solver whose update rule is the beginning of its class's name."""

    def __init__(self, solver: Any, *, overrides: Iterable[str] = (), **options: Any):
        kind = type(self).__name__.removesuffix("Solver")
        super().__init__(solver, **{"device": mode.device(), **options}, overrides=[*overrides, f"type={kind}"])


class SGDSolver(NamedSolver):
    pass


class NesterovSolver(NamedSolver):
    pass


class AdaGradSolver(NamedSolver):
    pass


class RMSPropSolver(NamedSolver):
    pass


class AdaDeltaSolver(NamedSolver):
    pass


class AdamSolver(NamedSolver):
    pass
