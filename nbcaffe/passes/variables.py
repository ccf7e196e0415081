"""``$name``, ``${name}`` and ``${arithmetic}`` in the values of a net file."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..params import did_you_mean
from ..yamlfile import Located, Problems

PATTERN = re.compile(r"\$\$|\$([A-Za-z_]\w*)|\$\{([^{}]*)\}")
_OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
}


class Outside(str):
    """A blob named by an argument of a template: the caller's, so the template's prefix is not for it."""

    inner: Any

    @classmethod
    def wrap(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [cls.wrap(v) for v in value]
        if not isinstance(value, str):
            return value
        mark = cls(value)
        mark.inner = value
        return mark


def substitute(value: Any, variables: Mapping[str, Any], where: str, problems: Problems) -> Any:
    """``value`` with its variables replaced; a string that is one variable takes its value, whatever its type."""
    if isinstance(value, Located):
        return value.like((k, substitute(v, variables, value.where(k), problems)) for k, v in value.items())
    if isinstance(value, list):
        return [substitute(v, variables, where, problems) for v in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    try:
        whole = PATTERN.fullmatch(value)
        if whole and value != "$$":
            return _lookup(whole, variables)
        return PATTERN.sub(lambda match: _text(match, variables), value)
    except ValueError as error:
        problems.add(where, error)
        return value


def _lookup(match: re.Match[str], variables: Mapping[str, Any]) -> Any:
    expression = (match[1] or match[2]).strip()
    if expression in variables:
        return variables[expression]
    try:
        return _evaluate(ast.parse(expression, mode="eval").body, variables, match[0])
    except (SyntaxError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"cannot compute {match[0]}: {error}") from None


def _evaluate(node: ast.AST, variables: Mapping[str, Any], text: str) -> Any:
    if isinstance(node, ast.Name):
        if node.id not in variables:
            near = did_you_mean(node.id, variables)
            raise ValueError(f"no variable {node.id!r} in {text}{near} ($$ stands for a dollar sign)")
        return variables[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = (_evaluate(side, variables, text) for side in (node.left, node.right))
        return _OPERATIONS[type(node.op)](left, right)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_evaluate(node.operand, variables, text))
    raise ValueError(f"cannot compute {text}: expected a name or arithmetic like ${{2 * n + 1}}")


def _text(match: re.Match[str], variables: Mapping[str, Any]) -> str:
    """A variable inside a longer string."""
    if match[0] == "$$":
        return "$"
    value = _lookup(match, variables)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{match[0]} is {value!r}, which cannot stand inside a longer string")
    return str(value)


def unwrap(value: Any) -> Any:
    """Take one :class:`Outside` mark off every string."""
    if isinstance(value, Outside):
        return value.inner
    if isinstance(value, Located):
        return value.like((k, unwrap(v)) for k, v in value.items())
    if isinstance(value, dict):
        return {k: unwrap(v) for k, v in value.items()}
    return [unwrap(v) for v in value] if isinstance(value, list) else value
