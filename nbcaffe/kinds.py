"""Whole numbers that become real ones: Numba would widen both to double, so the first literal needs a point."""

import ast
from typing import Any

from .errors import KernelError


def refuse_mixtures(source: Any, floats: set[str]) -> None:
    """Raise where a name starts as an int literal and then takes in real numbers; ``floats`` are real arguments."""
    tree, real = source.tree, set(floats)
    stores: list[tuple[Any, str, ast.expr]] = [
        (n, target, value) for n in ast.walk(tree) for target, value in assigned(n)
    ]
    for _ in range(len(stores)):  # until nothing new is real
        more = {target for _, target, value in stores if is_real(value, real)} - real
        if not more:
            break
        real |= more
    for node, target, value in stores:
        if target in real and isinstance(value, ast.Constant) and type(value.value) is int:
            raise KernelError(
                f"{source.file}:{node.lineno}: {tree.name!r}: {target!r} starts as the whole number {value.value} and "
                f"then holds real numbers, which would be computed in double; write {target} = {value.value}.0"
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            callee = source.scope.get(node.func.id)
            if hasattr(callee, "exact") and not callee.exact:
                named = zip(callee.source.args, node.args, strict=False)
                refuse_mixtures(callee.source, {name for name, value in named if is_real(value, real)})


def assigned(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """The names that a statement stores to, and what each takes."""
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return [(node.target.id, node.value)]
    if not isinstance(node, ast.Assign):
        return []
    out = []
    for target in node.targets:
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=False))
        out += [(t.id, v) for t, v in pairs if isinstance(t, ast.Name)]
    return out


def is_real(value: ast.expr, real: set[str]) -> bool:
    """Whether an expression is surely of the float type."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, float)
    if isinstance(value, ast.Name):
        return value.id in real
    if isinstance(value, ast.Subscript):
        return is_real(value.value, real)
    if isinstance(value, ast.UnaryOp):
        return not isinstance(value.op, ast.Not) and is_real(value.operand, real)
    if isinstance(value, ast.IfExp):
        return is_real(value.body, real) or is_real(value.orelse, real)
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, ast.Div) or is_real(value.left, real) or is_real(value.right, real)
    if isinstance(value, ast.Call):
        name = ast.unparse(value.func)
        if name in ("max", "min", "abs"):
            return any(is_real(a, real) for a in value.args)
        return name == "real" or (name.startswith("math.") and name not in ("math.floor", "math.ceil", "math.trunc"))
    return False
