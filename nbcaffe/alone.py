"""One layer at a prompt: run it, check it, time it."""

import time
from collections.abc import Sequence
from html import escape
from statistics import median
from typing import Any

import numpy as np

from . import layers  # noqa: F401  (defines the built-in types)
from .blob import Blob
from .checks import CHECKS, Case, examine
from .errors import CheckError, ConfigError
from .layer import REGISTRY, Layer
from .params import bind, did_you_mean
from .plot import plot
from .single import Single


class Alone:
    """A layer with its parameters, as :func:`layer` makes it; memory comes with the shapes of the first input."""

    def __init__(self, cls: type[Layer], params: dict[str, Any]):
        self.cls, self.kind, self.params = cls, cls.__name__, params
        self.single: Single | None = None

    def __repr__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in self.params.items())
        return f"nbcaffe.layer({self.kind!r}{given})" + "".join(f"  {key}: {text}" for key, text in self.shapes.items())

    def _repr_html_(self) -> str:
        """A small table for notebooks: parameters with their values and meaning, then the last shapes."""
        values, _ = bind(self.cls.params, self.params, self.kind)
        rows = [(name, repr(values[name]), param.doc) for name, param in self.cls.params.items()]
        rows += [(name, text, "") for name, text in self.shapes.items()]
        cells = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        what = escape((self.cls.__doc__ or "").strip().split("\n")[0])
        return f"<p><b>{escape(self.kind)}</b> {what}</p><table>{cells}</table>"

    @property
    def shapes(self) -> dict[str, str]:
        """Of bottoms, tops and weights, once there has been an input."""
        if self.single is None:
            return {}
        groups: dict[str, Sequence[Blob]] = {
            "bottom": self.single.bottom,
            "top": self.single.top,
            "weights": self.single.layer.weights,
        }
        return {
            name: ", ".join("x".join(map(str, blob.shape)) or "scalar" for blob in blobs)
            for name, blobs in groups.items()
            if blobs
        }

    def on(self, shapes: list[tuple[int, ...]], **options: Any) -> Single:
        """The layer with memory for bottoms of these shapes; kept as long as the shapes stay."""
        known = [blob.shape for blob in self.single.bottom] if self.single else None
        if self.single is None or known != shapes or options:
            self.single = Single(self.cls, shapes, **options, **self.params)
        return self.single

    def run(self, *bottom: Any, **options: Any) -> Any:
        """Forward: the top, or a list where there are several.  ``device="cuda"``, ``phase="TEST"`` are options."""
        values = [np.asarray(value) for value in bottom]
        tops = self.on([value.shape for value in values], **options).forward(*values)
        return tops[0] if len(tops) == 1 else tops

    def backward(self, *top_diff: Any) -> Any:
        """The bottom's gradient for the last :meth:`run`; ``weights`` holds what was added to theirs."""
        if self.single is None:
            raise ConfigError(f"{self.kind}: call run() first; backward() is about its input")
        diffs = self.single.backward(*(np.asarray(diff) for diff in top_diff))
        return diffs[0] if len(diffs) == 1 else diffs

    @property
    def weights(self) -> list:
        return self.single.layer.weights if self.single else []

    def check(self, *shapes: tuple[int, ...]) -> dict[str, float]:
        """Largest error of each check of ``nbcaffe check`` that applies, for bottoms of ``shapes``.

        Raises
        ------
        CheckError
            Says what the checks found wrong.
        """
        case = Case(self.cls, {**self.params, **({"bottom": list(shapes)} if shapes else {})})
        found = {check.name: finding for check in CHECKS if (finding := examine(check, case))}
        faults = [f"{self.kind}: {name}: {finding.fault}" for name, finding in found.items() if not finding.passed]
        if faults:
            raise CheckError("\n".join(faults))
        return {name: finding.error for name, finding in found.items()}

    def time(self, *shapes: tuple[int, ...], rounds: int = 50) -> dict[str, float]:
        """Median milliseconds of a forward and, where there is one, a backward pass."""
        case = Case(self.cls, {**self.params, **({"bottom": list(shapes)} if shapes else {})})
        single = case.single()
        single.forward(*case.values)
        passes = {"forward": single.layer.forward}
        if case.differentiable:
            passes["backward"] = single.layer.backward
        return {name: milliseconds(lambda f=f: f(single.bottom, single.top), rounds) for name, f in passes.items()}

    def plot(self, low: float = -4.0, high: float = 4.0) -> Any:
        """A matplotlib figure of f and its gradient from ``low`` to ``high``; needs ``nbcaffe[plot]``."""
        return plot(self.cls, self.params, low, high)


def milliseconds(run: Any, rounds: int) -> float:
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times) * 1e3


def layer(kind: str | type[Layer], **params: Any) -> Alone:
    """A layer by itself: ``nbcaffe.layer("Convolution", num_output=8, kernel_size=3).run(x)``.

    Parameters
    ----------
    kind : str or class
        A layer type, or a layer class of your own: that class, also if a newer one has its name by now.
    **params
        Its parameters, as in YAML.

    Raises
    ------
    ConfigError
        For an unknown type or a parameter that its declaration does not allow.
    """
    if isinstance(kind, str) and kind not in REGISTRY:
        raise ConfigError(f"no layer type {kind!r}{did_you_mean(kind, REGISTRY)}")
    cls = REGISTRY[kind] if isinstance(kind, str) else kind
    _, errors = bind(cls.params, params, cls.__name__)
    if errors:
        raise ConfigError("\n".join(map(str, errors)))
    return Alone(cls, params)
