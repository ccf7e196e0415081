"""Checks of updates and learning-rate policies that a file defines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numba
import numpy as np

from ..device import SIMULATED, cuda, get_device
from ..solver.policies import POLICIES, rate
from ..solver.rules import UPDATES
from ..solver.spec import SolverSpec, read_solver
from ..solver.updates import BoundUpdate
from .finding import Finding, attempt, compare
from .kernels import doubles

NEEDS = {"gamma": 0.5, "power": 1.0, "stepsize": 100, "stepvalue": [300, 600], "max_iter": 1000}
LARGE = 20_000  # weights, enough for a parallel launch
ITERATIONS = 300


def spec_of(**settings: Any) -> SolverSpec:
    return read_solver({"net": "net.yaml", "base_lr": 0.01, **settings})


class Bowl:
    """Weights that an update pulls towards 1, with noise of a fixed seed in the gradients."""

    def __init__(self, kind: str, size: int, device: str = "cpu", **settings: Any):
        self.device = get_device(device)
        self.data, self.diff = self.device.zeros(size), self.device.zeros(size)
        self.rng, self.size = np.random.default_rng(0), size
        rules = [(1.0, 1.0, 0, size // 2), (0.5, 0.0, size // 2, size)]  # two launches: two pairs of multipliers
        self.update = BoundUpdate(spec_of(type=kind, **settings), self.device, self.data, self.diff, rules)

    def run(self, iterations: int) -> dict[str, np.ndarray]:
        """The weights and histories after some iterations."""
        for it in range(iterations):
            gradient = self.device.download(self.data) - 1.0 + 0.1 * self.rng.standard_normal(self.size)
            self.device.upload(self.diff, gradient.astype(np.float32))
            self.update.measure(it)
            self.update.apply()
        arrays = {"weights": self.data, **dict(zip(self.update.rule.histories, self.update.histories, strict=True))}
        return {name: np.array(self.device.download(array)) for name, array in arrays.items()}


def targets(kind: str) -> Finding:
    cpu, other = (Bowl(kind, 8, device, weight_decay=0.1, iter_size=2).run(3) for device in ("cpu", "cuda"))
    return compare(other, cpu, 1e-5, "the other target differs from the CPU")


def bits(kind: str) -> Finding:
    """The same bits with one thread and with all."""
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(threads)
            found.append(Bowl(kind, LARGE, clip_gradients=1.0).run(3))
    finally:
        numba.set_num_threads(before)
    one, many = found
    return compare(many, one, 0.0, "one thread gives other bits than all")


def no_double(kind: str) -> Finding:
    launch = Bowl(kind, 8).update._apply[0]
    faults = [*doubles(UPDATES[kind].kernel, ((4,), launch.args[1:]))]
    return Finding(float(len(faults)), "; ".join(faults))


def learns(kind: str) -> Finding:
    """It comes nearer to the minimum of a bowl."""
    bowl = Bowl(kind, 8)
    gap = float(np.abs(bowl.run(ITERATIONS)["weights"] - 1.0).mean())
    far = (
        f"{ITERATIONS} iterations on (w - 1)^2 / 2 from w = 0 end {gap:.3g} away from 1: is the sign of the step right?"
    )
    return Finding(0.0, "" if gap < 1.0 else far, f"{gap:.2g} left of 1")


RULE_CHECKS: dict[str, Callable[[str], Finding]] = {
    "cpu = simulator" if SIMULATED else "cpu = GPU": targets,
    "same bits": bits,
    "float32 only": no_double,
    "learns": learns,
}


def check_rule(kind: str) -> Iterator[tuple[str, Finding]]:
    """Name and finding of each check of one update."""
    for name, check in RULE_CHECKS.items():
        if check is targets and not (SIMULATED or cuda.is_available()):
            continue
        yield name, attempt(partial(check, kind))


def check_policy(name: str) -> Iterator[tuple[str, Finding]]:
    """A thousand rates, with usual settings."""
    yield "rates", attempt(lambda: rates(name))


def rates(name: str) -> Finding:
    spec = spec_of(lr_policy=name, **{key: NEEDS[key] for key in POLICIES[name].needs if key in NEEDS})
    found = [rate(spec, it) for it in range(1000)]
    return Finding(note=f"{min(found):.3g} to {max(found):.3g} for base_lr {spec.base_lr:g}")
