"""A scalar function and its gradient, drawn."""

from typing import Any

import numpy as np

from .elementwise import Elementwise
from .errors import ConfigError
from .layer import Layer
from .single import Single

POINTS = 401


def curve(cls: type[Layer], params: dict[str, Any], low: float, high: float) -> tuple[np.ndarray, ...]:
    """Points, values and gradients of an element-wise layer of one bottom; learned numbers as they are filled."""
    if not issubclass(cls, Elementwise) or cls.num_bottom != 1:
        raise ConfigError(f"{cls.__name__}: plot() draws an element-wise layer of one bottom, a subclass of Activation")
    x = np.linspace(low, high, POINTS)
    single = Single(cls, [(POINTS, 1)], dtype=np.float64, **params)
    y = single.forward(x[:, None])[0]
    slope = single.backward(np.ones_like(y))[0] if cls.differentiable != () else np.full_like(y, np.nan)
    return x, y[:, 0], slope[:, 0]


def plot(cls: type[Layer], params: dict[str, Any], low: float, high: float) -> Any:
    """A matplotlib figure of the layer's function and gradient from ``low`` to ``high``."""
    if not low < high:
        raise ConfigError(f"plot: low must be less than high, got {low} and {high}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("plot() needs matplotlib: pip install 'nbcaffe[plot]'") from None
    x, y, slope = curve(cls, params, low, high)
    figure = Figure(figsize=(6, 4), layout="constrained")  # without pyplot: a notebook shows it, and nothing keeps it
    axes = figure.add_subplot()
    axes.plot(x, y, label="f(x)")
    if cls.differentiable != ():
        axes.plot(x, slope, "--", label="gradient")
    given = ", ".join(f"{name}={value}" for name, value in params.items())
    axes.set(xlabel="x", title=f"{cls.__name__}({given})", xlim=(low, high))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
