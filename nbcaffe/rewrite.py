"""The compile step's dirty work, on the syntax tree: a body as its author wrote it becomes code for one target.

Float literals take the kernel's dtype, computed indices become unsigned (a signed one costs Numba's wrap-around
test, which stops SIMD), ``math`` becomes ours, team words become the target's, and every ``@device`` function that
is called comes along.  Positions stay the author's, so tracebacks, profilers and Numba's own messages show his lines.
"""

import ast
import builtins
import copy
import inspect
import linecache
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from types import BuiltinFunctionType, ModuleType
from typing import Any

import numpy as np

from .errors import KernelError
from .lessons import review

NO_SOURCE = (
    "its text cannot be read, and a body is compiled from its text; write it in a file or a notebook cell "
    "(the prompt of Python 3.13 keeps what is typed; exec and python -c do not)"
)


class Device:
    """A scalar function that kernel bodies may call; see :func:`nbcaffe.device`."""

    def __init__(self, fn: Callable, *, exact: bool = False, source: "Source | None" = None):
        self.fn, self.exact, self._source = fn, exact, source
        self.__doc__, self.__name__ = fn.__doc__, fn.__name__

    def __call__(self, *args: Any) -> Any:
        return self.fn(*args)

    @property
    def source(self) -> "Source":
        """Its text, which for a derivative is not the text of ``fn``."""
        if self._source is None:
            self._source = source_of(self.fn)
        return self._source


@dataclass
class Source:
    """A function's syntax tree, with the file it stands in and the names it can see."""

    tree: ast.FunctionDef
    file: str
    scope: dict[str, Any]

    @property
    def args(self) -> list[str]:
        return [a.arg for a in self.tree.args.args]


def source_of(fn: Callable) -> Source:
    """Parse ``fn`` where it stands; line numbers are those of its file."""
    linecache.checkcache(getattr(getattr(fn, "__code__", None), "co_filename", None))  # an edited file is read again
    try:
        lines, first = inspect.getsourcelines(fn)
        (tree,) = ast.parse(textwrap.dedent("".join(lines))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        raise KernelError(f"{fn!r}: {NO_SOURCE}") from None
    file = inspect.getsourcefile(fn) or "<unknown>"
    if not isinstance(tree, ast.FunctionDef):
        raise KernelError(f"{file}:{first}: a body must be a def of its own, not a lambda: def f(x): return ...")
    ast.increment_lineno(tree, first - 1)
    cells = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)
    scope = {**fn.__globals__, **{name: cell.cell_contents for name, cell in cells}}
    source = Source(tree, file, scope)
    review(source)
    return source


def source_from(text: str, scope: dict[str, Any], file: str = "<nbcaffe>") -> Source:
    """A body that nbcaffe writes itself, around an author's scalar functions."""
    (tree,) = ast.parse(text).body
    assert isinstance(tree, ast.FunctionDef)
    return Source(tree, file, scope)


@dataclass
class Dialect:
    """How one target spells what a body may say."""

    words: dict[str, str] = field(default_factory=dict)  # function name -> its name on the target
    silent: frozenset = frozenset()  # functions that are the identity here
    mathematics: dict[str, Device] = field(default_factory=dict)  # math.<name> -> ours


class Rewrite(ast.NodeTransformer):
    """One function for one target; ``arrays`` are the names of its array arguments."""

    def __init__(self, source: Source, arrays: set[str], dialect: Dialect):
        self.source, self.arrays, self.dialect = source, arrays, dialect
        self.used: dict[str, Any] = {}  # names of the outside world that the rewritten body needs
        self.places: dict[str, ast.AST] = {}  # where each of them is used first

    def run(self) -> ast.FunctionDef:
        tree = copy.deepcopy(self.source.tree)  # the next target starts from the author's text
        body = tree.body[1:] if ast.get_docstring(tree) else tree.body
        tree.body = [self.visit(node) for node in body] or [ast.copy_location(ast.Pass(), tree)]
        args = [ast.copy_location(ast.arg(a), tree) for a in self.source.args]
        tree.args = ast.arguments([], args, None, [], [], None, [])
        tree.decorator_list, tree.returns = [], None
        return ast.fix_missing_locations(tree)

    def fail(self, node: ast.AST, message: str) -> None:
        line = getattr(node, "lineno", self.source.tree.lineno)
        raise KernelError(f"{self.source.file}:{line}: kernel {self.source.tree.name!r}: {message}")

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, float):
            literal = node if math.isfinite(node.value) else ast.parse(f"float('{node.value}')", mode="eval").body
            return ast.copy_location(ast.Call(ast.Name("real", ast.Load()), [literal], []), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        value = getattr(self.numeric(node.value), node.attr, None)
        if isinstance(value, float):  # math.inf, math.pi
            return self.visit_Constant(ast.copy_location(ast.Constant(value), node))
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id in self.arrays:
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            wrapped = [self.unsigned(part) for part in parts]
            node.slice = ast.copy_location(ast.Tuple(wrapped, ast.Load()), node) if len(wrapped) > 1 else wrapped[0]
        return node

    def unsigned(self, index: ast.expr) -> ast.expr:
        if ast.unparse(index).startswith("-"):
            self.fail(
                index, f"index {ast.unparse(index)} counts from the end; kernels count from 0: write shape[k] - n"
            )
        if isinstance(index, ast.Constant | ast.Slice):
            return index
        return ast.copy_location(ast.Call(ast.Name("unsigned", ast.Load()), [index], []), index)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = self.mathematical(node.func)
        if name in self.dialect.mathematics:
            self.used[name + "_"] = self.dialect.mathematics[name]
            node.func = ast.copy_location(ast.Name(name + "_", ast.Load()), node.func)
        elif name and isinstance(node.func, ast.Name):  # a bare `floor`, imported from math
            self.used["math"] = math
            node.func = ast.copy_location(ast.Attribute(ast.Name("math", ast.Load()), name, ast.Load()), node.func)
            node.args = [self.visit(a) for a in node.args]
            return node
        elif isinstance(node.func, ast.Name) and node.func.id in self.dialect.silent:
            return self.visit(node.args[0])
        elif isinstance(node.func, ast.Name) and node.func.id in (words := {**self.reals, **self.dialect.words}):
            node.func.id = words[node.func.id]
            node.args = [self.visit(a) for a in node.args]
            return node
        return self.generic_visit(node)

    @property
    def reals(self) -> dict[str, str]:
        """``float(k)`` is the kernel's own float type."""
        return {} if "float" in self.source.scope or "float" in self.locals else {"float": "real"}

    def mathematical(self, func: ast.expr) -> str:
        """``exp`` for ``math.exp``, ``np.exp`` and a bare ``exp`` that was imported from ``math``; else nothing."""
        scope = self.source.scope
        if isinstance(func, ast.Attribute):
            return func.attr if self.numeric(func.value) else ""
        if isinstance(func, ast.Name) and isinstance(scope.get(func.id), BuiltinFunctionType):
            return func.id if getattr(math, func.id, None) is scope[func.id] else ""
        return ""

    def numeric(self, node: ast.expr) -> ModuleType | None:
        """The module ``math`` or ``numpy``, where ``node`` is its name; a local name hides it, as in Python."""
        value = self.source.scope.get(node.id) if isinstance(node, ast.Name) and node.id not in self.locals else None
        return value if value is math or value is np else None  # not `in`: an array of that name compares by element

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id not in self.locals and node.id not in self.used:
            if node.id in self.source.scope:
                self.used[node.id], self.places[node.id] = self.source.scope[node.id], node
            elif not hasattr(builtins, node.id):
                known = f"; write `from math import {node.id}`" if hasattr(math, node.id) else ""
                self.fail(node, f"name {node.id!r} is not defined where the body stands{known}")
        return node

    @property
    def locals(self) -> set[str]:
        stored = (n.id for n in ast.walk(self.source.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        return {*self.source.args, *stored}


def constant(value: Any) -> str | None:
    """The text of a number, a module or a small table in a generated file; None if a kernel cannot hold it."""
    if isinstance(value, bool | int | np.integer):
        return repr(int(value)) if not isinstance(value, bool) else repr(value)
    if isinstance(value, float | np.floating):
        return f"real({float(value)!r})" if math.isfinite(value) else f"real(float('{float(value)}'))"
    if isinstance(value, np.ndarray) and value.size <= 4096:
        return f"np.array({value.tolist()!r}, dtype={'real' if value.dtype.kind == 'f' else 'np.int64'})"
    if isinstance(value, tuple) and all(constant(v) for v in value):
        return f"({', '.join(str(constant(v)) for v in value)},)"
    if isinstance(value, ModuleType):
        return {math: "math", np: "np"}.get(value)
    return None
