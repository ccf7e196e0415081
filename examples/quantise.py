"""A hard quantiser that trains: the gradient goes straight through within the range (Bengio et al., 2013)."""

from math import floor

from nbcaffe import Activation, Float
from nbcaffe.scalars import hard_tanh


class Quantise(Activation, surrogate=hard_tanh):
    """x within -1 to 1, rounded to a multiple of 1 / levels."""

    levels = Float(4.0, gt=0, doc="steps between 0 and 1")
    kinks = (-1.0, 1.0)

    def f(x, levels):
        return floor(min(max(x, -1.0), 1.0) * levels + 0.5) / levels
