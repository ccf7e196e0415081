"""Element-wise layers: give ``f`` and ``df``, get both targets, both passes and the tests."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import ClassVar

from ..blob import Blob
from ..kernel import Kernel
from ..layer import Layer
from ..params import Float
from ..rewrite import Device, source_from


class Activation(Layer, abstract=True):
    """``y = f(x, *params)``, ``dx = dy * df(...)``.

    ``df`` names what it needs: ``x``, ``y`` or both, then the parameters.  One that needs only ``y`` makes the layer
    safe to run in place.
    """

    f: ClassVar[Callable]
    df: ClassVar[Callable]
    _forward: ClassVar[Kernel]
    _backward: ClassVar[Kernel]

    def __init_subclass__(cls, abstract: bool = False):
        wants = [a for a in inspect.signature(cls.df).parameters if a in ("x", "y")]
        cls.inplace = "x" not in wants
        cls.backward_needs = frozenset({"x": "bottom", "y": "top"}[w] for w in wants)
        super().__init_subclass__(abstract)
        scope = {"f": Device(cls.f), "df": Device(cls.df)}
        given = "".join(f", {name}" for name in cls.params)
        needs = ", ".join(f"{w}[i]" for w in wants)
        name = cls.__name__.lower()
        forward = f"def {name}(i, x, y{given}): y[i] = f(x[i]{given})"
        backward = f"def {name}_backward(i, x, y, dy, dx{given}): dx[i] = dy[i] * df({needs}{given})"
        cls._forward = Kernel(source_from(forward, scope, inspect.getfile(cls)))
        cls._backward = Kernel(source_from(backward, scope, inspect.getfile(cls)))

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        return [bottom[0].shape]

    def values(self) -> list:
        return [getattr(self, name) for name in self.params]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = bottom[0].count
        self._forward[n](bottom[0].data.reshape(n), top[0].data.reshape(n), *self.values())

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        n = bottom[0].count
        arrays = (bottom[0].data, top[0].data, top[0].diff, bottom[0].diff)
        self._backward[n](*(a.reshape(n) for a in arrays), *self.values())


class ReLU(Activation):
    """Rectified linear unit: x where x > 0, else negative_slope * x."""

    negative_slope = Float(0.0, doc="slope for negative inputs; 0 is the plain ReLU")
    kinks = (0.0,)
    examples = ({}, {"negative_slope": 0.1})

    @staticmethod
    def f(x, negative_slope):
        return x if x > 0.0 else negative_slope * x

    @staticmethod
    def df(y, negative_slope):
        return 1.0 if y > 0.0 else negative_slope


class Sigmoid(Activation):
    """Logistic function 1 / (1 + exp(-x)), computed as Caffe does, from tanh."""

    @staticmethod
    def f(x):
        return 0.5 * math.tanh(0.5 * x) + 0.5

    @staticmethod
    def df(y):
        return y * (1.0 - y)


class TanH(Activation):
    """Hyperbolic tangent."""

    @staticmethod
    def f(x):
        return math.tanh(x)

    @staticmethod
    def df(y):
        return 1.0 - y * y
