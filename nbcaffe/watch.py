"""The words that a body says in checked mode, compiled along with it; :mod:`nbcaffe.checked` puts them there.

``log`` says what is going on, where the records of each array begin, and then, for each element of the launch's
arrays, which index has written it and which has read it first, or -1.
"""

import math

from .rewrite import Device

KIND, SITE, ME, OTHER, AXIS, GIVEN, DIRTY, BORN, AT = 0, 1, 2, 3, 4, 5, 6, 7, 8
MOST_AXES = 16
BASES = AT + MOST_AXES  # from here, for each array: where its records begin, and the bytes of a step there
OUTSIDE, WRITTEN, READ, LATE, NAN, INFINITE = 1, 2, 3, 4, 5, 6


def inside(x, at, site, log):
    """``at``, if it is an element of ``x``."""
    for d in range(len(at)):
        log[AT + d] = at[d]
        if at[d] < 0 or at[d] >= x.shape[d]:
            log[KIND], log[SITE], log[AXIS], log[OTHER] = OUTSIDE, site, d, x.shape[d]
            raise IndexError
    return at


def touch(x, at, site, number, stores, log):
    """``at``, if it is an element of ``x`` that no other index has written, nor read if this one ``stores``."""
    here, step = log[BASES + 2 * number], log[BASES + 2 * number + 1]
    for d in range(len(at)):
        log[AT + d] = at[d]
        if at[d] < 0 or at[d] >= x.shape[d]:
            log[KIND], log[SITE], log[AXIS], log[OTHER] = OUTSIDE, site, d, x.shape[d]
            raise IndexError
        here += at[d] * (x.strides[d] // step) * 2
    me, writer, reader = log[ME], log[here], log[here + 1]
    kind, other = 0, writer
    if writer >= 0 and writer != me:
        kind = WRITTEN if stores else LATE
    elif stores and reader >= 0 and reader != me:
        kind, other = READ, reader
    if kind > 0:
        log[KIND], log[SITE], log[OTHER] = kind, site, other
        raise IndexError
    if stores:
        log[here] = me
    elif reader < 0:
        log[here + 1] = me
    return at


def see(value, log):
    """``value``; one that is not finite excuses what the body computes from it."""
    if value != value or value == math.inf or value == -math.inf:
        log[DIRTY] = 1
    return value


def born(value, site, log):
    """``value``; the first in a body that is not finite leaves its line."""
    if log[BORN] < 0 and (value != value or value == math.inf or value == -math.inf):
        log[BORN] = site
    return value


def put(value, site, infinite, log):
    """Stop where a body made NaN, or infinity unless it names that, of finite numbers."""
    endless = value == math.inf or value == -math.inf
    if log[DIRTY] == 0 and (value != value or (endless and not infinite)):
        log[KIND], log[SITE] = INFINITE if endless else NAN, site
        raise IndexError


WORDS = {f"{word.__name__}_": Device(word, exact=True) for word in (inside, touch, see, born, put)}
