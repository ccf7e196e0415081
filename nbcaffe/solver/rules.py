"""Update rules: each one scalar function of a weight, its gradient, its histories and the rate."""

# mypy: allow-untyped-defs
# (scalar functions carry no types: Numba infers them)

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from ..errors import KernelError
from ..kernel import Kernel, device
from ..params import Float, Param, did_you_mean
from ..rewrite import Device, source_from

UPDATES: dict[str, type[Update]] = {}
RATE, DECAY, L1, CLIP, PASSES, COUNT = range(6)  # written by the host: places in `now`; a rule's own numbers follow
SCALE, NORM = range(2)  # written by kernels: places in `found`
GIVEN = ("w", "g", "lr", "t", "decay")  # what an update may ask for, beside histories, settings and its own numbers


class Update:
    """Base of every update rule; defining a subclass makes its name a ``type`` in solver files.

    ``update`` gets by name what it asks for and returns the new weight, followed by the new histories:

    ==================  ==========================================================================
    ``w``, ``g``        a weight and its gradient: clipped, averaged over iter_size, decayed
    ``lr``              the learning rate of this iteration times the weight's lr_mult
    ``t``               the number of this update, from 1
    ``decay``           weight_decay times decay_mult; who asks for it decays the weight himself
    a history           its value for this weight, 0 at first
    a setting           a number of the solver file, declared here (``beta = Float(0.9)``) or Caffe's
    a static method     a number that is the same for all weights, computed once an iteration
    ==================  ==========================================================================

    Attributes
    ----------
    histories : tuple of str
        What is kept for each weight, in the order of the snapshot's histories.
    refuses : tuple of str
        Settings that must be 0 because the rule would ignore them.
    """

    params: ClassVar[dict[str, Param]] = {}
    histories: ClassVar[tuple[str, ...]] = ()
    refuses: ClassVar[tuple[str, ...]] = ()
    update: ClassVar[Callable]
    asks: ClassVar[tuple[str, ...]]  # all arguments of `update`
    numbers: ClassVar[dict[str, Callable]]  # computed on the host, once an iteration
    settings: ClassVar[tuple[str, ...]]  # what `update` asks for by the name of a setting
    kernel: ClassVar[Kernel]

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        known = UPDATES.get(cls.__name__)
        if known and known.__module__ != cls.__module__:
            raise TypeError(
                f"update {cls.__name__!r} is already defined in {known.__module__}; give yours another name"
            )
        cls.params = {**cls.params, **{k: v for k, v in vars(cls).items() if isinstance(v, Param)}}
        cls.asks = arguments(getattr(cls, "update", None))
        missing = {"w", "g", *cls.histories} - set(cls.asks)
        if missing:
            cls.fail(f"needs a static method update(w, g, {', '.join([*cls.histories, 'lr'])}, ...)")
        hidden = (set(cls.params) | set(cls.histories)) & set(GIVEN) or set(cls.params) & set(cls.histories)
        if hidden:
            cls.fail(f"{min(hidden)!r} has a meaning already ({', '.join(GIVEN)}, histories); take another name")
        cls.numbers = {n: getattr(cls, n) for n in cls.asks if n not in cls.params and callable(getattr(cls, n, None))}
        cls.settings = tuple(n for n in cls.asks if n not in {*GIVEN, *cls.histories, *cls.numbers})
        cls.kernel = Kernel(
            source_from(cls.text(), {"update": Device(cls.update), "pull": pull}, cls.update.__code__.co_filename)
        )
        UPDATES[cls.__name__] = cls

    @classmethod
    def text(cls) -> str:
        """The kernel around ``update``: regularise the gradient, take what it asks for, keep what it returns."""
        values = {"w": "w[i]", "g": "slope", "lr": f"now[{RATE}] * lr_mult", "t": f"now[{COUNT}]", "decay": "decay"}
        values |= {name: f"h{k}[i]" for k, name in enumerate(cls.histories)}
        values |= {name: f"now[{COUNT + 1 + k}]" for k, name in enumerate(cls.numbers)}
        values |= {name: f"s{k}" for k, name in enumerate(cls.settings)}
        histories = [f"h{k}" for k in range(len(cls.histories))]
        settings = [f"s{k}" for k in range(len(cls.settings))]
        takes = ", ".join(["i", "w", "g", *histories, "now", "found", "lr_mult", "decay_mult", *settings])
        results = ", ".join(["w[i]", *(f"{h}[i]" for h in histories)])
        pulled = "" if "decay" in cls.asks else f" + decay * pull(w[i], now[{L1}])"
        return f"""
def {cls.__name__.lower()}({takes}):
    decay = now[{DECAY}] * decay_mult
    slope = g[i] * found[{SCALE}]{pulled}
    {results} = update({", ".join(values[name] for name in cls.asks)})
"""

    @classmethod
    def misfits(cls, values: Mapping[str, Any], declared: Iterable[str]) -> Iterable[tuple[str, str]]:
        """What a solver file must change for this rule: key and message."""
        who = f"type {cls.__name__!r}"
        wanted = [*cls.settings, *(a for f in cls.numbers.values() for a in arguments(f) if a not in GIVEN)]
        for name in wanted:
            if name not in declared:
                near = did_you_mean(name, [*declared, *GIVEN, *cls.histories])
                yield "type", f"{who} ({cls.place()}) asks for {name!r}, which is no setting and no history of it{near}"
            elif not isinstance(values[name], int | float):
                yield "type", f"{who} needs a number for {name!r}, got {values[name]!r}"
        for name in cls.refuses:
            if values[name]:
                yield name, f"{name}: {who} has none; leave it out or set it to 0, got {values[name]}"
        if "decay" in cls.asks and values["regularization_type"] == "L1":
            yield "regularization_type", f"regularization_type: {who} decays by the weight itself; use L2"

    @classmethod
    def fail(cls, message: str) -> None:
        raise KernelError(f"{cls.place()}: update {cls.__name__!r} {message}")

    @classmethod
    def place(cls) -> str:
        """File and line of the class."""
        try:
            return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
        except (OSError, TypeError):  # typed at a prompt
            return cls.__module__


def arguments(fn: Callable | None) -> tuple[str, ...]:
    return tuple(inspect.signature(fn).parameters) if fn else ()


@device
def pull(w, l1):
    """The direction that weight decay adds to the gradient: the weight, or with L1 its sign."""
    return w if l1 == 0.0 else 1.0 if w > 0.0 else -1.0 if w < 0.0 else 0.0


# Caffe's six


class SGD(Update):
    """Gradient descent with momentum; the rate goes into the history, so a new rate does not rescale the old one."""

    histories = ("h",)

    @staticmethod
    def update(w, g, h, lr, momentum):
        h = lr * g + momentum * h
        return w - h, h


class Nesterov(Update):
    """Momentum that looks ahead: the gradient is taken as if the next step of the momentum were made already."""

    histories = ("h",)

    @staticmethod
    def update(w, g, h, lr, momentum):
        new = lr * g + momentum * h
        return w - ((1.0 + momentum) * new - momentum * h), new


class AdaGrad(Update):
    """A rate for each weight that falls with the sum of its squared gradients."""

    histories = ("squares",)
    refuses = ("momentum",)

    @staticmethod
    def update(w, g, squares, lr, delta):
        squares = squares + g * g
        return w - lr * g / (math.sqrt(squares) + delta), squares


class RMSProp(Update):
    """A rate for each weight that falls with the running mean of its squared gradients."""

    histories = ("squares",)
    refuses = ("momentum",)

    @staticmethod
    def update(w, g, squares, lr, rms_decay, delta):
        squares = rms_decay * squares + (1.0 - rms_decay) * g * g
        return w - lr * g / (math.sqrt(squares) + delta), squares


class AdaDelta(Update):
    """Steps as large as the recent ones of each weight; ``momentum`` is the decay of both running means."""

    histories = ("squares", "steps")

    @staticmethod
    def update(w, g, squares, steps, lr, momentum, delta):
        squares = momentum * squares + (1.0 - momentum) * g * g
        step = g * math.sqrt((steps + delta) / (squares + delta))
        steps = momentum * steps + (1.0 - momentum) * step * step
        return w - lr * step, squares, steps


class Adam(Update):
    """Running means of gradients and of their squares, corrected for their start from 0."""

    histories = ("m", "v")

    @staticmethod
    def correction(t, momentum, momentum2):
        return math.sqrt(1.0 - momentum2**t) / (1.0 - momentum**t)

    @staticmethod
    def update(w, g, m, v, lr, correction, momentum, momentum2, delta):
        m = momentum * m + (1.0 - momentum) * g
        v = momentum2 * v + (1.0 - momentum2) * g * g
        return w - lr * correction * m / (math.sqrt(v) + delta), m, v


# Beyond Caffe


class AdamW(Update):
    """Adam whose weight decay acts on the weight itself, not through the gradient and its means."""

    momentum = Float(0.9, ge=0, lt=1, doc="decay of the gradients' mean")
    histories = ("m", "v")

    @staticmethod
    def first(t, momentum):
        return 1.0 / (1.0 - momentum**t)

    @staticmethod
    def second(t, momentum2):
        return 1.0 / math.sqrt(1.0 - momentum2**t)

    @staticmethod
    def update(w, g, m, v, lr, decay, first, second, momentum, momentum2, delta):
        m = momentum * m + (1.0 - momentum) * g
        v = momentum2 * v + (1.0 - momentum2) * g * g
        return w - lr * (decay * w + first * m / (second * math.sqrt(v) + delta)), m, v
