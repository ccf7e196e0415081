from math import tanh

from nbcaffe import Activation, Float


class SmoothGate(Activation):
    """x * sigmoid(beta * x), known as Swish."""

    beta = Float(1.0, doc="the larger, the nearer to a ReLU")

    def f(x, beta):
        return 0.5 * x * (1.0 + tanh(0.5 * beta * x))
