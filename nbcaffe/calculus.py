"""Rules of differentiation on syntax trees: sums and products with their zeros and ones folded, and known functions."""

import ast

ZERO, ONE = ast.Constant(0.0), ast.Constant(1.0)

# f(u) or f(u, v): its slope by each argument.
RULES: dict[str, tuple[str, ...]] = {
    "exp": ("nbcaffe_math.exp(u)",),
    "expm1": ("nbcaffe_math.exp(u)",),
    "exp2": ("0.6931471805599453 * 2.0 ** u",),
    "log": ("1.0 / u",),
    "log2": ("1.4426950408889634 / u",),
    "log10": ("0.4342944819032518 / u",),
    "log1p": ("1.0 / (1.0 + u)",),
    "sqrt": ("0.5 / nbcaffe_math.sqrt(u)",),
    "sin": ("nbcaffe_math.cos(u)",),
    "cos": ("-nbcaffe_math.sin(u)",),
    "tan": ("1.0 + nbcaffe_math.tan(u) * nbcaffe_math.tan(u)",),
    "asin": ("1.0 / nbcaffe_math.sqrt(1.0 - u * u)",),
    "acos": ("-1.0 / nbcaffe_math.sqrt(1.0 - u * u)",),
    "atan": ("1.0 / (1.0 + u * u)",),
    "sinh": ("nbcaffe_math.cosh(u)",),
    "cosh": ("nbcaffe_math.sinh(u)",),
    "tanh": ("1.0 - nbcaffe_math.tanh(u) * nbcaffe_math.tanh(u)",),
    "asinh": ("1.0 / nbcaffe_math.sqrt(u * u + 1.0)",),
    "acosh": ("1.0 / nbcaffe_math.sqrt(u * u - 1.0)",),
    "atanh": ("1.0 / (1.0 - u * u)",),
    "erf": ("1.1283791670955126 * nbcaffe_math.exp(-u * u)",),
    "erfc": ("-1.1283791670955126 * nbcaffe_math.exp(-u * u)",),
    "abs": ("1.0 if u > 0.0 else -1.0 if u < 0.0 else 0.0",),
    "fabs": ("1.0 if u > 0.0 else -1.0 if u < 0.0 else 0.0",),
    "hypot": ("u / nbcaffe_math.hypot(u, v)", "v / nbcaffe_math.hypot(u, v)"),
    "atan2": ("v / (u * u + v * v)", "-u / (u * u + v * v)"),
    "pow": ("v * u ** (v - 1.0)", "u ** v * nbcaffe_math.log(u)"),
    "copysign": ("nbcaffe_math.copysign(1.0, u) * nbcaffe_math.copysign(1.0, v)", "0.0"),
    "fmod": ("1.0", "-nbcaffe_math.trunc(u / v)"),
}
FLAT = frozenset(
    ["floor", "ceil", "trunc", "round", "rint", "int", "len", "range", "bool", "isnan", "isinf", "isfinite", "sign"]
)


def is_const(node: ast.expr, value: float) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def add(a: ast.expr, b: ast.expr) -> ast.expr:
    return b if is_const(a, 0.0) else a if is_const(b, 0.0) else ast.BinOp(a, ast.Add(), b)


def sub(a: ast.expr, b: ast.expr) -> ast.expr:
    return a if is_const(b, 0.0) else neg(b) if is_const(a, 0.0) else ast.BinOp(a, ast.Sub(), b)


def neg(a: ast.expr) -> ast.expr:
    if isinstance(a, ast.Constant) and isinstance(a.value, int | float):
        return ast.Constant(-a.value) if a.value else a
    return ast.UnaryOp(ast.USub(), a)


def mul(a: ast.expr, b: ast.expr) -> ast.expr:
    if is_const(a, 0.0) or is_const(b, 0.0):
        return ZERO
    return b if is_const(a, 1.0) else a if is_const(b, 1.0) else ast.BinOp(a, ast.Mult(), b)


def div(a: ast.expr, b: ast.expr) -> ast.expr:
    return ZERO if is_const(a, 0.0) else ast.BinOp(a, ast.Div(), b)


def power(u: ast.expr, v: ast.expr, du: ast.expr, dv: ast.expr) -> ast.expr:
    """Of ``u ** v``; a constant whole exponent stays whole, which costs products and no logarithm."""
    slope = formula("v * u ** (v - 1.0)", u=u, v=v)
    if isinstance(v, ast.Constant) and isinstance(v.value, int | float):
        less = v.value - 1
        rest = ONE if less == 0 else u if less == 1 else ast.BinOp(u, ast.Pow(), ast.Constant(less))
        slope = mul(ast.Constant(float(v.value)), rest)
    by_base = mul(slope, du)
    if is_const(dv, 0.0):
        return by_base
    return add(by_base, mul(formula("u ** v * nbcaffe_math.log(u)", u=u, v=v), dv))


def larger(values: list[ast.expr], slopes: list[ast.expr], order: ast.cmpop) -> ast.expr:
    """Of ``max`` or ``min``: the slope of the value that was chosen; the first of equals, as Python does."""
    value, slope = values[0], slopes[0]
    chooser = "max" if isinstance(order, ast.Gt) else "min"
    for other, its in zip(values[1:], slopes[1:], strict=True):
        if not (is_const(slope, 0.0) and is_const(its, 0.0)):
            slope = ast.IfExp(ast.Compare(other, [order], [value]), its, slope)
        value = ast.Call(ast.Name(chooser, ast.Load()), [value, other], [])
    return slope


def formula(text: str, **names: ast.expr) -> ast.expr:
    """The expression ``text`` with syntax trees in place of its names."""
    tree = ast.parse(text, mode="eval").body
    for node in ast.walk(tree):
        node.__dict__.pop("lineno", None)  # its place will be the author's line that asked for it
    return Substitute(names).visit(tree)


class Substitute(ast.NodeTransformer):
    def __init__(self, names: dict[str, ast.expr]):
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.names.get(node.id, node)
