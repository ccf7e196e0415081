"""Derivatives from the syntax tree, against central differences and against what a person would write."""

import ast
import math
import textwrap

import numpy as np
import pytest

from nbcaffe.derive import NotDifferentiable, derivative
from nbcaffe.errors import KernelError
from nbcaffe.rewrite import Device, source_of

TABLE = np.linspace(0.0, 1.0, 9) ** 2


@Device
def sigmoid(z):
    return 1.0 / (1.0 + math.exp(-z))


@Device
def mixture(u, v):
    return u * sigmoid(v) + v


def swish(x, b):
    return x * sigmoid(b * x)


def leaky(x, s):
    return x if x > 0.0 else s * x


def elu(x, a):
    if x > 0.0:
        return x
    return a * (math.exp(x) - 1.0)


def relax(x, a):
    y = x
    for _ in range(3):
        y = x - a * y / (1.0 + y * y)
    return y


def newton(x, c):
    """Solve y + c y^3 = x."""
    y, k = x, 0
    while k < 20 and abs(y + c * y**3 - x) > 1e-12:
        y -= (y + c * y * y * y - x) / (1.0 + 3.0 * c * y * y)
        k += 1
    return y


def pade(x, a, b):
    n = a * x + b * x * x
    d = 1.0 + abs(b * x)
    return n / d


def clip(x, lo, hi):
    return min(max(x, lo), hi)


def softplus(x, beta):
    z = beta * x
    return (z if z > 30.0 else math.log1p(math.exp(z))) / beta


def rotate(x, a):
    u, v = x, a
    for _ in range(3):
        u, v = u * a - v, v * a + u
    return u * v


def reassigned(x, a):
    x = abs(x) + a
    if x > 1.0:
        x = x * x
        a = 2.0 * a
    return x**a


def chained(x, a):
    return mixture(a * x, mixture(x, a))


def interpolated(x, a):
    place = min(max(4.0 + x, 0.0), 7.999)
    k = int(place)
    w = place - k
    return a * ((1.0 - w) * TABLE[k] + w * TABLE[k + 1])


def interrupted(x, a):
    total = 0.0
    for k in range(9):
        total += a * x
        if total * total > 4.0:
            break
        if k % 2 == 0:
            continue
        total *= 0.5
    else:
        total = total + math.sin(x) * math.atan2(x, a)
    return total


def powers(x, a):
    y = z = x * x
    w: float = (1.0 + y) ** a
    return w + z**3 + 2.0**x + math.pow(1.0 + z, a) + math.hypot(x, a) + math.copysign(a, x) + math.fmod(5.0 * a, 0.7)


def special(x, a):
    y = math.tanh(x) + math.erf(a * x) + math.sqrt(1.0 + x * x) + math.atan(x) + math.expm1(a) + math.log2(2.0 + x * x)
    return y + math.asinh(x) + math.cosh(a * x) + math.sinh(x) + x % 0.9 + math.cos(x) + math.log(2.0 + math.sin(x))


CURVES = (
    swish,
    leaky,
    elu,
    relax,
    newton,
    pade,
    clip,
    softplus,
    rotate,
    reassigned,
    chained,
    interpolated,
    interrupted,
    powers,
    special,
)


def plain(device):
    """A derivative as an ordinary Python function; so are those that it calls."""
    derived = {k: plain(v) for k, v in device.source.scope.items() if "_by_" in k}
    scope = {**device.source.scope, **derived}
    module = ast.fix_missing_locations(ast.Module([device.source.tree], []))
    device.source.tree.decorator_list = []
    exec(compile(module, "<derivative>", "exec"), scope)
    return scope[device.source.tree.name]


@pytest.mark.parametrize("f", CURVES, ids=lambda f: f.__name__)
def test_derivatives_agree_with_central_differences(f):
    names = source_of(f).args
    joint = plain(derivative(f, names))
    single = {name: plain(derivative(f, [name])) for name in names}
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(60):
        values = [float(rng.normal()), *(float(rng.uniform(0.3, 1.2)) for _ in names[1:])]
        if f is clip:
            values[1:] = [-0.7, 0.8]
        found = joint(*values)
        for k, name in enumerate(names):
            ends, wider = (difference(f, values, k, h) for h in (1e-6, 1e-5))
            if abs(ends - wider) > 1e-4 * max(1.0, abs(ends)):
                continue  # a kink lies between
            assert found[k] == single[name](*values)
            assert found[k] == pytest.approx(ends, rel=1e-5, abs=1e-6), (values, name)
            checked += 1
    assert checked > 60


def difference(f, values, k, h):
    up, down = list(values), list(values)
    up[k] += h
    down[k] -= h
    return (f(*up) - f(*down)) / (2 * h)


def text(f, *by):
    return ast.unparse(derivative(f, by).source.tree)


def test_straight_code_comes_out_as_one_would_write_it():
    assert text(leaky, "x").splitlines()[-1].strip() == "return 1.0 if x > 0.0 else s"
    assert text(elu, "x") == textwrap.dedent(
        """\
        def elu_by_x(x, a):
            if x > 0.0:
                return 1.0
            return a * math.exp(x).""".replace("math.exp(x).", "nbcaffe_math.exp(x)")
    )
    assert text(elu, "x", "a").splitlines()[-1].strip() == "return (a * nbcaffe_math.exp(x), math.exp(x) - 1.0)"


def test_a_derivative_keeps_the_lines_of_its_author():
    tree = derivative(newton, ["x"]).source.tree
    first = newton.__code__.co_firstlineno
    loop = next(node for node in ast.walk(tree) if isinstance(node, ast.While))
    assert loop.lineno == first + 3
    assert all(first <= node.lineno <= first + 6 for node in ast.walk(tree) if hasattr(node, "lineno"))


def rounded(x):
    return math.floor(x + 0.5)


def gamma(x):
    return math.lgamma(x)


def listed(x):
    values = [x, 2.0 * x]
    return values[0]


def unmarked(x):
    return leaky(x, 0.1)


def stored(x):
    with open("file") as file:
        return x + len(file.read())


@pytest.mark.parametrize(
    ("f", "line", "complaint"),
    [
        (rounded, 0, "its derivative by 'x' is 0 everywhere"),
        (gamma, 1, "no derivative is known for lgamma"),
    ],
)
def test_what_has_no_derivative_is_named_with_its_line(f, line, complaint):
    with pytest.raises(NotDifferentiable, match=complaint) as error:
        derivative(f, ["x"])
    assert f"test_derive.py:{f.__code__.co_firstlineno + line}: {f.__name__}" in str(error.value)


@pytest.mark.parametrize(
    ("f", "complaint"),
    [
        (listed, "a body works on numbers, not on lists"),
        (unmarked, "'leaky' is a plain function; mark it @device"),
        (stored, "a body has no with"),
    ],
)
def test_what_no_body_may_say_is_named_before_it_is_differentiated(f, complaint):
    with pytest.raises(KernelError, match=complaint) as error:
        derivative(f, ["x"])
    assert f"test_derive.py:{f.__code__.co_firstlineno + 1}: {f.__name__!r}" in str(error.value)
