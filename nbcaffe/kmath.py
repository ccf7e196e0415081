"""``exp``, ``log`` and ``tanh`` for float32 kernels: polynomials, the same on every target; and rounding to floats.

libm's versions are scalar calls that keep a loop from being vectorised (8 to 30 times slower).  Errors below are the
largest relative ones over all finite inputs, against float64.  The polynomials are Cephes' single precision ones
(S. Moshier, *Methods and Programs for Mathematical Functions*, 1989).
"""

import math

import numpy as np

from .rewrite import Device


def exp(x):
    """e**x to 1.2e-7; 0 below -87.3, inf above 88.7, NaN stays NaN."""
    t = x if x > np.float32(-87.3) else np.float32(-87.3)
    t = t if t < np.float32(88.7) else np.float32(88.7)
    n = np.int32(t * np.float32(1.44269504) + (np.float32(0.5) if t > np.float32(0) else np.float32(-0.5)))
    k = np.float32(n)
    r = t - k * np.float32(0.693359375)
    r = r + k * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1)
    # 2**n in two halves, since 2**128 is no float32
    half = n >> np.int32(1)
    p = p * np.int32((half + np.int32(127)) << np.int32(23)).view(np.float32)
    p = p * np.int32((n - half + np.int32(127)) << np.int32(23)).view(np.float32)
    p = p if x > np.float32(-87.3) else np.float32(0)
    p = p if x < np.float32(88.7) else np.float32(np.inf)
    return p if x == x else x


def log(x):
    """Natural logarithm to 1.2e-7; -inf at 0, NaN below, subnormal inputs count as 0."""
    bits = np.float32(x).view(np.int32)
    e = np.float32((bits >> np.int32(23)) - np.int32(126))
    m = np.int32((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000)).view(np.float32)
    low = m < np.float32(0.707106781)
    e = e - np.float32(1) if low else e
    m = m + m - np.float32(1) if low else m - np.float32(1)
    z = m * m
    p = np.float32(7.0376836292e-2)
    p = p * m + np.float32(-1.1514610310e-1)
    p = p * m + np.float32(1.1676998740e-1)
    p = p * m + np.float32(-1.2420140846e-1)
    p = p * m + np.float32(1.4249322787e-1)
    p = p * m + np.float32(-1.6668057665e-1)
    p = p * m + np.float32(2.0000714765e-1)
    p = p * m + np.float32(-2.4999993993e-1)
    p = p * m + np.float32(3.3333331174e-1)
    p = p * m * z + e * np.float32(-2.12194440e-4) - np.float32(0.5) * z
    p = p + m + e * np.float32(0.693359375)
    p = p if x >= np.float32(1.17549435e-38) else np.float32(-np.inf)
    p = p if x < np.float32(np.inf) else x
    return p if x >= np.float32(0) else np.float32(np.nan)


def tanh(x):
    """Hyperbolic tangent to 3.5e-7: x P(x*x) / Q(x*x), fitted by us for the smallest relative error up to 9.

    It takes half the time of one by exp, and sigmoid is made of it.
    """
    t = x if x < np.float32(9) else np.float32(9)
    t = t if t > np.float32(-9) else np.float32(-9)
    z = t * t
    p = np.float32(1.335320050883622e-8)
    p = p * z + np.float32(2.0608044158466055e-5)
    p = p * z + np.float32(3.495526682052798e-3)
    p = p * z + np.float32(1.3380974807387022e-1)
    p = p * z + np.float32(9.999999796439327e-1)
    q = np.float32(7.77596370102787e-7)
    q = q * z + np.float32(3.285532965051096e-4)
    q = q * z + np.float32(2.587675102437134e-2)
    q = q * z + np.float32(4.671429047541623e-1)
    q = q * z + np.float32(1)
    y = t * p / q
    y = y if y < np.float32(1) else np.float32(1)
    y = y if y > np.float32(-1) else np.float32(-1)
    return y if x == x else x


WHOLE = 8388608.0  # 2**23: a float32 of this size has no fraction


def floor(x):
    """The largest whole number that is not above x, as a float: a NaN stays one, which Python's int cannot."""
    inside = x if abs(x) < np.float32(WHOLE) else np.float32(0)
    n = np.float32(np.int32(inside))
    n = n - np.float32(1) if n > inside else n
    return n if abs(x) < np.float32(WHOLE) else x


def ceil(x):
    """The smallest whole number that is not below x, as a float."""
    inside = x if abs(x) < np.float32(WHOLE) else np.float32(0)
    n = np.float32(np.int32(inside))
    n = n + np.float32(1) if n < inside else n
    return n if abs(x) < np.float32(WHOLE) else x


def trunc(x):
    """x without its fraction, as a float."""
    inside = x if abs(x) < np.float32(WHOLE) else np.float32(0)
    return np.float32(np.int32(inside)) if abs(x) < np.float32(WHOLE) else x


exp_f32 = Device(exp, exact=True)

FUNCTIONS = {"exp": exp_f32, **{f.__name__: Device(f, exact=True) for f in (log, tanh, floor, ceil, trunc)}}

assert all(hasattr(math, name) for name in FUNCTIONS)
