"""Checked mode, ``NBCAFFE_DEBUG=1``: bodies on the CPU that watch each element they read and write.

The rewrite puts a word of :mod:`nbcaffe.watch` around every subscript: an index outside its array, an element that two
indices write (or one writes and another reads) and a NaN made of finite numbers stop the launch, with the author's
line.  The loop is serial and compiled; under ``NUMBA_DISABLE_JIT=1`` it is plain Python, for a debugger.
"""

import ast
import copy
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from types import ModuleType
from typing import Any

import numpy as np

from . import watch
from .emit import CPU, CPU_HEAD, FAST, Module, own_names
from .errors import KernelError, NbcaffeError, NumericError
from .rewrite import Device, Dialect, Rewrite, Source

INFINITY = re.compile(r"\binf\b")


class OwnershipError(KernelError):
    """A body reads or writes what is not its index's, or lies outside its array."""


def checking() -> bool:
    """Whether kernels that are bound from now on are checked."""
    return os.environ.get("NBCAFFE_DEBUG", "0") not in ("", "0")


@dataclass(frozen=True)
class Site:
    """One subscript or return of a body: where it stands and how it reads."""

    file: str
    line: int
    text: str
    axes: int


class Checked(Rewrite):
    """A body, or a function that it calls, with a word around each subscript; ``dims`` are its arrays' axes."""

    def __init__(self, source: Source, dims: dict[str, int], dialect: Dialect, sites: list[Site], body: bool):
        super().__init__(source, set(dims), dialect)
        self.dims, self.sites, self.body = dims, sites, body
        self.infinite = int(names_infinity(source))

    def run(self) -> ast.FunctionDef:
        tree = super().run()
        tree.body = [line for lines in tree.body for line in (lines if isinstance(lines, list) else [lines])]
        tree.args.args.append(ast.arg("watch_"))
        return ast.fix_missing_locations(tree)

    def site(self, node: ast.AST) -> int:
        line = getattr(node, "lineno", self.source.tree.lineno)
        index = node.slice if isinstance(node, ast.Subscript) else None
        axes = len(index.elts) if isinstance(index, ast.Tuple) else 1
        self.sites.append(Site(self.source.file, line, ast.unparse(node), axes))
        return len(self.sites) - 1

    def say(self, word: str, *args: Any, at: ast.AST) -> Any:
        self.used[word] = watch.WORDS[word]
        # unsigned(3): a bare 3 is a type of its own, for which Numba would compile the word again
        number = ast.Name("unsigned", ast.Load())
        values = [ast.Call(number, [ast.Constant(a)], []) if isinstance(a, int) else a for a in args]
        call = ast.Call(ast.Name(word, ast.Load()), [*values, ast.Name("watch_", ast.Load())], [])
        for node in (call, *ast.walk(call)):
            if isinstance(node, ast.expr) and not hasattr(node, "lineno"):
                ast.copy_location(node, at)
        return call

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        name, site = self.array(node), self.site(node)
        super().visit_Subscript(node)
        if not name:
            return node
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        signed: list[ast.expr] = [
            p if isinstance(p, ast.Call) else ast.Call(ast.Name("unsigned", ast.Load()), [p], []) for p in parts
        ]
        at, whole = ast.Tuple(signed, ast.Load()), ast.Name(name, ast.Load())
        if name not in self.dims:
            node.slice = self.say("inside_", whole, at, site, at=node)
            return node
        number = self.source.args.index(name)
        stored = isinstance(node.ctx, ast.Store)
        node.slice = self.say("touch_", whole, at, site, number, int(stored), at=node)
        return node if stored else self.say("see_", node, at=node)

    def array(self, node: ast.expr) -> str:
        """The array that a subscript takes one element of; else nothing."""
        if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)):
            return ""
        name = node.value.id
        table = None if name in self.locals else self.source.scope.get(name)
        axes = self.dims.get(name, getattr(table, "ndim", 0) if isinstance(table, np.ndarray) else 0)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return name if len(parts) == axes and not any(isinstance(p, ast.Slice) for p in parts) else ""

    def visit_Assign(self, node: ast.Assign) -> Any:
        targets = [t for n in node.targets for t in (n.elts if isinstance(n, ast.Tuple) else [n])]
        after = [self.judged(t) for t in targets if self.array(t) in self.dims]
        return [self.generic_visit(node), *after]

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        if self.array(node.target) not in self.dims:
            return self.generic_visit(node)
        before = copy.deepcopy(node.target)
        before.ctx = ast.Load()
        after = self.judged(node.target)
        return [ast.copy_location(ast.Expr(self.visit(before)), node), self.generic_visit(node), after]

    def judged(self, target: ast.expr) -> ast.stmt:
        """A look at what has been stored."""
        value = copy.deepcopy(target)
        assert isinstance(value, ast.Subscript)
        value.ctx = ast.Load()
        site = self.site(value)
        super().visit_Subscript(value)
        return ast.copy_location(ast.Expr(self.say("put_", value, site, self.infinite, at=target)), target)

    def visit_Return(self, node: ast.Return) -> ast.AST:
        site = self.site(node)
        one = not self.body and node.value is not None and self.one_number(node.value)
        self.generic_visit(node)
        if one:
            node.value = self.say("born_", node.value, site, at=node)
        return node

    def one_number(self, value: ast.expr) -> bool:
        """Whether it is surely no tuple."""
        if isinstance(value, ast.IfExp):
            return self.one_number(value.body) and self.one_number(value.orelse)
        if isinstance(value, ast.Name):
            stored = [n for n in ast.walk(self.source.tree) if isinstance(n, ast.Assign | ast.AugAssign)]
            to = {ast.unparse(t): n.value for n in stored for t in getattr(n, "targets", [getattr(n, "target", None)])}
            found = to.get(value.id)
            return found is not None and not isinstance(found, ast.Name) and self.one_number(found)
        called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
        return (
            isinstance(value, ast.BinOp | ast.UnaryOp) or called.startswith("math.") or called in ("max", "min", "abs")
        )

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        callee = None if name in self.locals else self.source.scope.get(name)
        visited = super().visit_Call(node)
        if isinstance(callee, Device) and not callee.exact and isinstance(visited, ast.Call):
            visited.args.append(ast.copy_location(ast.Name("watch_", ast.Load()), node))
        return visited


def names_infinity(source: Source) -> bool:
    """Whether a body, or a function that it calls, says inf: then it may write it."""
    text = ast.unparse(source.tree)
    names = {n.id for n in ast.walk(source.tree) if isinstance(n, ast.Name)}
    values = [source.scope[n] for n in names if n in source.scope]
    return (
        bool(INFINITY.search(text))
        or any(isinstance(v, float) and np.isinf(v) for v in values)
        or any(isinstance(v, Device) and not v.exact and names_infinity(v.source) for v in values)
    )


class CheckedModule(Module):
    """The module of a checked body."""

    def __init__(self, dtype: str, dims: dict[str, int], compiled: bool):
        jit = '@njit(error_model="numpy", boundscheck={})\n' if compiled else ""
        super().__init__(CPU, dtype, lambda exact: jit.format(not exact))
        self.dims, self.sites = dims, []  # type: tuple[dict[str, int], list[Site]]

    def rewriter(self, source: Source, arrays: set[str], dialect: Dialect, exact: bool) -> Rewrite:
        if exact:
            return super().rewriter(source, arrays, dialect, exact)
        return Checked(source, self.dims if arrays else {}, dialect, self.sites, bool(arrays))


def checked_module(
    source: Source, ndim: int, dtype: str, dims: dict[str, int], compiled: bool = True
) -> tuple[ModuleType, list[Site]]:
    """The module whose ``serial`` runs a body under watch, and what its numbers of sites mean."""
    module = CheckedModule(dtype, dims, compiled)
    name, args = module.body(source, set(dims)), own_names(source, ndim)
    indices, sizes = [f"i{d}" for d in range(ndim)], [f"n{d}" for d in range(ndim)]
    out = "\n\n" + '@njit(cache=True, error_model="numpy")\n' * compiled
    out += f"def serial({', '.join([*sizes, *args, 'watch_'])}):\n"
    for d in range(ndim):
        out += "    " * (d + 1) + f"for i{d} in range(n{d}):\n"
    number = "i0"
    for d in range(1, ndim):
        number = f"({number}) * n{d} + i{d}"
    inner = "    " * (ndim + 1)
    out += f"{inner}watch_[{watch.ME}], watch_[{watch.BORN}] = {number}, -1\n"
    out += f"{inner}watch_[{watch.DIRTY}] = watch_[{watch.GIVEN}]\n"
    out += f"{inner}{name}({', '.join([*indices, *args, 'watch_'])})\n"
    head = CPU_HEAD.format(fast=sorted(FAST), dtype=dtype).replace("[", "{").replace("]", "}")
    head = head.replace("uint64 as", "int64 as") if compiled else f"{head}unsigned = int\n"
    return module.load(f"{source.tree.name}_{'checked' if compiled else 'watched'}", head, out), module.sites


def watched(source: Source, ndim: int, values: tuple) -> "Watched":
    """A body under watch as plain Python, for arguments like ``values``; what it computes is not judged."""
    dims = {n: a.ndim for n, a in zip(source.args[ndim:], values, strict=True) if np.ndim(a)}
    dtype = next((a.dtype for a in values if hasattr(a, "dtype") and a.dtype.kind == "f"), np.dtype(np.float32))
    module, sites = checked_module(source, ndim, dtype.name, dims, compiled=False)
    return Watched(module.serial, source, ndim, sites, judges=False)


@dataclass
class Watched:
    """A checked launcher: makes the records for each launch and turns what they say into an error."""

    run: Callable
    source: Source
    ndim: int
    sites: list[Site]
    judges: bool = True  # whether a NaN made of finite numbers is an error

    def __call__(self, *args: Any) -> None:
        shape, values = args[: self.ndim], args[self.ndim :]
        log = records(self.ndim, values)
        log[watch.GIVEN] |= not self.judges
        try:
            self.run(*args, log)
        except IndexError as error:
            raise self.error(log, shape) from (None if log[watch.KIND] else error)

    def error(self, seen: np.ndarray, shape: tuple[int, ...]) -> NbcaffeError:
        """What the records say, with the author's line."""
        kind, site, me = seen[watch.KIND], self.sites[seen[watch.SITE]], index_of(seen[watch.ME], shape)
        who = f"kernel {self.source.tree.name!r}, index {me}: "
        if not kind:  # Numba's own test, of a slice
            return OwnershipError(f"{self.source.file}:{self.source.tree.lineno}: {who}a slice has no such element")
        if kind in (watch.NAN, watch.INFINITE):
            origin = self.sites[seen[watch.BORN]] if seen[watch.BORN] >= 0 else site
            came = f"; it comes from `{origin.text}`" if origin is not site else ""
            what = "NaN" if kind == watch.NAN else "an infinity"
            said = f"{site.text} stores {what}, though all that it read is finite{came}"
            return NumericError(f"{origin.file}:{origin.line}: {who}{said}")
        numbers = [int(n) for n in seen[watch.AT : watch.BASES]]
        axis, extent = int(seen[watch.AXIS]), int(seen[watch.OTHER])
        words = {"asked": numbers[axis], "axis": axis, "extent": extent, "other": index_of(extent, shape)}
        element = tuple(numbers[: site.axes])
        return OwnershipError(
            f"{site.file}:{site.line}: {who}{site.text} {SAID[kind].format(element=element, **words)}"
        )


OWNS = "a body writes only what its index owns, as the order of the indices is free"
SAID = {
    watch.OUTSIDE: "asks for element {asked} of axis {axis}, which has {extent}, counted from 0 and not from the end",
    watch.WRITTEN: "writes element {element}, which index {other} has written: " + OWNS,
    watch.READ: "writes element {element}, which index {other} has read: " + OWNS,
    watch.LATE: "reads element {element}, which index {other} has written: " + OWNS,
}


def index_of(number: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(n) for n in np.unravel_index(number, shape)) if 0 <= number < np.prod(shape) else ()


def records(ndim: int, values: tuple) -> np.ndarray:
    """Fresh records for a launch: arrays that share memory share them."""
    arrays = {ndim + k: a for k, a in enumerate(values) if isinstance(a, np.ndarray)}
    seen = np.zeros(watch.BASES + 2 * (ndim + len(values)), np.int64)
    seen[watch.GIVEN] = any(isinstance(v, float | np.floating) and not np.isfinite(v) for v in values)
    spans = {k: np.lib.array_utils.byte_bounds(a) for k, a in arrays.items() if a.size}
    total, group, end = seen.size, [], -1  # type: tuple[int, list[int], int]
    for k in [*sorted(spans, key=lambda k: spans[k]), -1]:
        if group and (k < 0 or spans[k][0] >= end):
            total = lay(group, arrays, spans, seen, total)
            group = []
        if k >= 0:
            end = max(end, spans[k][1]) if group else spans[k][1]
            group.append(k)
    return np.concatenate([seen, np.full(total - seen.size, -1, np.int64)])


def lay(group: list[int], arrays: dict, spans: dict, seen: np.ndarray, total: int) -> int:
    """Give the arrays of one piece of memory their places in the records; return where the next piece begins."""
    low, high = min(spans[k][0] for k in group), max(spans[k][1] for k in group)
    starts = {k: arrays[k].__array_interface__["data"][0] for k in group}
    step = gcd(*(n for k in group for n in (arrays[k].itemsize, starts[k] - low, *arrays[k].strides)))
    for k in group:
        seen[watch.BASES + 2 * k : watch.BASES + 2 * k + 2] = total + 2 * ((starts[k] - low) // step), step
    return total + 2 * ((high - low) // step)
