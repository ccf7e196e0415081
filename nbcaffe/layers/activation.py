"""Caffe's neuron layers, each one scalar function.

The derivative is derived unless ``df`` stands below, which it does where it follows from the top: such a layer can run
in place, and it saves a second exponential.
"""

import math

from ..elementwise import Activation as Activation, Learned
from ..params import Bool, Float
from ..rewrite import Device
from ..scalars import sigmoid


def logarithm_of_base(base):
    return 1.0 if base == -1.0 else math.log(base)


logarithm = Device(logarithm_of_base)


class ReLU(Activation):
    """Rectified linear unit: x where x > 0, else negative_slope * x."""

    negative_slope = Float(0.0, ge=0, doc="slope for negative inputs; 0 is the plain ReLU")
    kinks = (0.0,)
    examples = ({}, {"negative_slope": 0.1})

    @staticmethod
    def f(x, negative_slope):
        return x if x > 0.0 else negative_slope * x

    @staticmethod
    def df(y, negative_slope):
        return 1.0 if y > 0.0 else negative_slope


class PReLU(Activation):
    """Rectified linear unit with learned slopes: x where x > 0, else slope * x (He et al., ICCV 2015)."""

    slope = Learned(0.25, key="filler", doc="what the slopes start from")
    channel_shared = Bool(False, doc="one slope for all channels")
    kinks = (0.0,)
    examples = ({}, {"channel_shared": True}, {"filler": 0.1, "bottom": [(70, 3)]})

    @staticmethod
    def f(x, slope):
        return x if x > 0.0 else slope * x

    def per_channel(self, name: str) -> bool:
        return not self.channel_shared


class ELU(Activation):
    """Exponential linear unit: x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., ICLR 2016)."""

    alpha = Float(1.0, ge=0, doc="minus the limit for large negative inputs")
    kinks = (0.0,)
    examples = ({}, {"alpha": 0.5})

    @staticmethod
    def f(x, alpha):
        return x if x > 0.0 else alpha * (math.exp(x) - 1.0)

    @staticmethod
    def df(y, alpha):
        return 1.0 if y > 0.0 else y + alpha


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


class Swish(Activation):
    """x * sigmoid(beta * x) (Ramachandran et al., 2017)."""

    beta = Float(1.0, doc="0 is half of the identity; the larger, the nearer to a ReLU")
    examples = ({}, {"beta": 1.5})

    @staticmethod
    def f(x, beta):
        return x * sigmoid(beta * x)


class BNLL(Activation):
    """Binomial normal log likelihood, a soft ReLU: log(1 + exp(x)), without overflow."""

    @staticmethod
    def f(x):
        return (x if x > 0.0 else 0.0) + math.log(1.0 + math.exp(-abs(x)))


class AbsVal(Activation):
    """Absolute value."""

    kinks = (0.0,)

    @staticmethod
    def f(x):
        return abs(x)


class Clip(Activation):
    """x, but at least min and at most max; at the bounds the gradient passes."""

    min = Float(doc="the least value")
    max = Float(doc="the largest value")
    kinks = (-0.5, 0.8)
    examples = ({"min": -0.5, "max": 0.8},)

    @staticmethod
    def f(x, min, max):
        low = min if x < min else x
        return max if low > max else low


class Exp(Activation):
    """base ** (shift + scale * x)."""

    base = Float(-1.0, doc="greater than 0, or -1 for e")
    scale = Float(1.0, doc="what x is multiplied by")
    shift = Float(0.0, doc="what is added to scale * x")
    examples = ({}, {"base": 2.0, "scale": 0.5, "shift": 0.3})

    @staticmethod
    def f(x, base, scale, shift):
        return math.exp(logarithm(base) * (shift + scale * x))

    @staticmethod
    def df(y, base, scale):
        return y * scale * logarithm(base)


class Log(Activation):
    """Logarithm of shift + scale * x."""

    base = Float(-1.0, doc="greater than 0, or -1 for e")
    scale = Float(1.0, doc="what x is multiplied by")
    shift = Float(0.0, doc="what is added to scale * x")
    examples = ({"shift": 8.0}, {"base": 10.0, "scale": 0.5, "shift": 4.0})

    @staticmethod
    def f(x, base, scale, shift):
        return math.log(shift + scale * x) / logarithm(base)


class Power(Activation):
    """(shift + scale * x) ** power."""

    power = Float(1.0, doc="the exponent")
    scale = Float(1.0, doc="what x is multiplied by")
    shift = Float(0.0, doc="what is added to scale * x")
    examples = ({}, {"power": 2.0, "scale": 0.5, "shift": 0.3}, {"power": 0.37, "shift": 8.0}, {"power": 0.0})

    @staticmethod
    def f(x, power, scale, shift):
        z = shift + scale * x
        if power * scale == 0.0:  # a constant, also where 0 ** (power - 1) is infinite
            return shift**power if x == x else x
        if power == 1.0:
            return z
        return z * z if power == 2.0 else z**power


class Threshold(Activation):
    """1 where x > threshold, else 0; it has no gradient."""

    threshold = Float(0.0, doc="the largest input that gives 0")
    differentiable = ()
    examples = ({}, {"threshold": 0.5})

    @staticmethod
    def f(x, threshold):
        return 1.0 if x > threshold else 0.0 if x <= threshold else x  # a NaN stays one
