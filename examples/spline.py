"""An activation drawn by hand: values at nine places, a cubic Hermite spline through them."""

import numpy as np

from nbcaffe import Activation

VALUES = np.array([-0.3, -0.4, -0.5, -0.4, 0.0, 0.8, 1.9, 3.0, 4.0, 4.9, 5.8])  # at -5, -4, ... 5


class Spline(Activation):
    """Catmull-Rom spline through VALUES, between -4 and 4; beyond, its last pieces go on as lines."""

    kinks = (-4.0, 4.0)

    def f(x):
        inside = min(max(x, -4.0), 3.99999)
        k = int(inside + 4.0)
        t = inside + 4.0 - float(k)
        left, a, b, right = VALUES[k], VALUES[k + 1], VALUES[k + 2], VALUES[min(k + 3, 10)]
        bend = t * (t * (3.0 * (a - b) + right - left) + 2.0 * left - 5.0 * a + 4.0 * b - right)
        return a + 0.5 * t * (b - left + bend) + (x - inside)
