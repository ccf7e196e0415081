"""Learning-rate policies: the rate as a function of the iteration, and the settings it cannot do without."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfigError, NbcaffeError
from ..params import Float, Param

if TYPE_CHECKING:
    from .spec import SolverSpec

Rate = Callable[["SolverSpec", int], float]


class Policy(NamedTuple):
    """``rate(solver spec, iteration)``; ``needs``: settings that the user must give; ``params``: its own settings."""

    rate: Rate
    needs: tuple[str, ...] = ()
    params: dict[str, Param] = {}

    @property
    def place(self) -> str:
        code = self.rate.__code__
        return f"{code.co_filename}:{code.co_firstlineno}"


POLICIES: dict[str, Policy] = {}


def policy(fn: Rate | None = None, *, needs: Iterable[str] = (), **params: Param) -> Any:
    """Make a function of the solver's settings and the iteration an ``lr_policy`` of its name.

    Parameters
    ----------
    needs
        Settings that the user must give.
    **params
        Settings of its own, declared like a layer's parameters.

    Examples
    --------
    >>> @policy(needs=("stepsize",), floor=Float(0.0, ge=0, doc="the rate never falls below it"))
    ... def halving(s, it):
    ...     return max(s.floor, s.base_lr * 0.5 ** (it // s.stepsize))
    """
    if isinstance(needs, str):
        raise TypeError(f"policy: needs: expected names of settings like ({needs!r},), got {needs!r}")

    def register(fn: Rate) -> Rate:
        name = fn.__name__
        known = POLICIES.get(name)
        if known and known.rate.__module__ != fn.__module__:
            raise TypeError(f"lr_policy {name!r} is already defined at {known.place}; give yours another name")
        for key, param in params.items():
            param.name = key
        POLICIES[name] = Policy(fn, tuple(needs), params)
        return fn

    return register(fn) if fn else register


# Caffe's seven


@policy
def fixed(s: SolverSpec, it: int) -> float:
    """base_lr, all the time."""
    return s.base_lr


@policy(needs=("gamma", "stepsize"))
def step(s: SolverSpec, it: int) -> float:
    """Times gamma every stepsize iterations."""
    return s.base_lr * s.gamma ** (it // s.stepsize)


@policy(needs=("gamma",))
def exp(s: SolverSpec, it: int) -> float:
    """Times gamma in every iteration."""
    return s.base_lr * s.gamma**it


@policy(needs=("gamma", "power"))
def inv(s: SolverSpec, it: int) -> float:
    """base_lr * (1 + gamma * it) ^ -power."""
    return s.base_lr * (1.0 + s.gamma * it) ** -s.power


@policy(needs=("gamma", "stepvalue"))
def multistep(s: SolverSpec, it: int) -> float:
    """Times gamma at each of the iterations in stepvalue."""
    return s.base_lr * s.gamma ** steps_taken(s, it)


@policy(needs=("power", "max_iter"))
def poly(s: SolverSpec, it: int) -> float:
    """base_lr * (1 - it / max_iter) ^ power, and 0 beyond max_iter."""
    left = max(0.0, 1.0 - it / s.max_iter)  # someone may step beyond max_iter: then the rate is 0, not complex
    return s.base_lr * left**s.power


@policy(needs=("gamma", "stepsize"))
def sigmoid(s: SolverSpec, it: int) -> float:
    """It rises to base_lr around stepsize, as Caffe's does for the gamma >= 0 that it asks for."""
    x = s.gamma * (it - s.stepsize)
    return s.base_lr / (1.0 + math.exp(-x)) if x > 0.0 else s.base_lr * math.exp(x) / (1.0 + math.exp(x))


# Beyond Caffe; `warmup` works with every policy


@policy(needs=("max_iter",), min_lr=Float(0.0, ge=0, doc="the rate at max_iter"))
def cosine(s: SolverSpec, it: int) -> float:
    """Half a cosine from base_lr down to min_lr at max_iter, and min_lr beyond."""
    done = min(1.0, it / s.max_iter)
    return s.min_lr + (s.base_lr - s.min_lr) * 0.5 * (1.0 + math.cos(math.pi * done))


def rate(s: SolverSpec, it: int) -> float:
    """The learning rate of iteration ``it``, counted from 0, before lr_mult."""
    chosen = POLICIES[s.lr_policy]
    try:
        found = float(chosen.rate(s, it)) * min(1.0, (it + 1) / max(s.warmup, 1))
    except NbcaffeError:
        raise
    except Exception as error:  # an author's code may raise anything
        raise ConfigError(f"{at(s, it)}: {type(error).__name__}: {error}") from error
    if not 0.0 <= found < math.inf:
        raise ConfigError(f"{at(s, it)}: expected a rate of 0 or more, got {found}")
    return found


def at(s: SolverSpec, it: int) -> str:
    return f"{POLICIES[s.lr_policy].place}: lr_policy {s.lr_policy!r}, iteration {it}"


def steps_taken(s: SolverSpec, it: int) -> int:
    """Caffe's ``current_step``: how often step and multistep have multiplied the rate by gamma."""
    if s.lr_policy == "step":
        return it // s.stepsize
    return bisect_right(s.stepvalue, it)
