"""A learning-rate policy: a function of the solver's settings and the iteration."""

import math

from nbcaffe import Float, policy


@policy(needs=("stepsize",), min_lr=Float(0.0, ge=0, doc="the rate at the end of each period"))
def restarts(s, it):
    """Half a cosine from base_lr to min_lr every stepsize iterations (Loshchilov and Hutter, SGDR, 2017)."""
    done = (it % s.stepsize) / s.stepsize
    return s.min_lr + (s.base_lr - s.min_lr) * 0.5 * (1.0 + math.cos(math.pi * done))
