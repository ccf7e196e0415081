"""A loss from the loss of one element: the square for small errors, the absolute value for large ones."""

from math import exp, log

from nbcaffe import ElementwiseLoss, Float


class LogCosh(ElementwiseLoss):
    """log(cosh(sharpness * (x - target))) / sharpness, without overflow."""

    sharpness = Float(1.0, gt=0, doc="errors above 1 / sharpness count as large")
    examples = ({}, {"sharpness": 3.0})

    def f(x, target, sharpness):
        z = abs(sharpness * (x - target))
        return (z + log(1.0 + exp(-2.0 * z)) - 0.6931472) / sharpness
