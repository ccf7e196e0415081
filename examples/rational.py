"""A rational function that each channel learns for itself (Molina et al., Pade Activation Units, ICLR 2020)."""

from nbcaffe import Activation, Learned


class Rational(Activation):
    """(a0 + a1 x + a2 x^2) / (1 + |b1 x|): starts as a leaky ReLU would, roughly."""

    a0 = Learned(0.02, doc="value at 0")
    a1 = Learned(0.6, doc="slope at 0")
    a2 = Learned(0.4, doc="bend of the numerator")
    b1 = Learned(0.5, doc="growth of the denominator")
    kinks = (0.0,)

    def f(x, a0, a1, a2, b1):
        return (a0 + x * (a1 + x * a2)) / (1.0 + abs(b1 * x))
