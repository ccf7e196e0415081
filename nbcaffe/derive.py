"""The derivative of a scalar function, by forward mode on its syntax tree.

Branches, ``if`` expressions, ``for`` and ``while`` loops, tuple assignment, look-ups in tables and calls of other
scalar functions.  Before each assignment of a float stands the assignment of its derivative, named ``y_by_x``; a return
returns the derivatives.  What cannot depend on the variable carries none, and products with 0 and 1 are folded, so that
straight-line code comes out as one would write it by hand.  (A. Griewank and A. Walther, *Evaluating Derivatives*,
2008, chapter 3.)
"""

import ast
import builtins
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from .calculus import FLAT, ONE, RULES, ZERO, add, div, formula, is_const, larger, mul, neg, power, sub
from .errors import KernelError
from .rewrite import Device, Source, source_of

CALCULUS = "nbcaffe_math"  # the module `math` in a derivative's scope, whatever the author calls it


class NotDifferentiable(KernelError):
    """A scalar function has no derivative that could be found from its text."""


def derivative(fn: Callable | Device, by: Sequence[str]) -> Device:
    """The derivatives of ``fn`` by its arguments ``by``, as one scalar function of the same arguments.

    Parameters
    ----------
    fn
        A scalar function as kernel bodies may call it.
    by : sequence of str
        Names of its arguments.

    Returns
    -------
    Device
        It returns a number for one name, a tuple for several.  Its ``source`` is what a person may read.

    Raises
    ------
    NotDifferentiable
        Where a statement or a function has no rule, or the result does not depend on an argument.
    """
    source = fn.source if isinstance(fn, Device) else source_of(fn)
    return Device(fn.fn if isinstance(fn, Device) else fn, source=Forward(source, tuple(by)).source())


class Forward:
    """One function on its way to its derivatives by the names ``by``."""

    def __init__(self, source: Source, by: tuple[str, ...]):
        self.given, self.tree, self.by = source, source.tree, by
        self.scope = {**source.scope, CALCULUS: math}
        self.active = {name: self.reached(name) for name in by}
        self.moving: set[str] = set()  # directions in which some return is not constant
        stored = [n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        self.reassigned = {name for name in by if name in stored}

    def fail(self, node: ast.AST, what: str) -> NoReturn:
        line = getattr(node, "lineno", self.tree.lineno)
        raise NotDifferentiable(
            f"{self.given.file}:{line}: {self.tree.name}: {what}; give the derivative yourself (df), "
            "or a function to differentiate in its place (surrogate)"
        )

    def source(self) -> Source:
        seeds = [self.assign([f"{n}_by_{by}"], [ONE if n == by else ZERO]) for n, by in self.seeded()]
        body = seeds + self.block(self.tree.body)
        for name in self.by:
            if name not in self.moving:
                self.fail(
                    self.tree, f"its derivative by {name!r} is 0 everywhere (comparisons, floor and int are flat)"
                )
        tree = ast.FunctionDef(f"{self.tree.name}_by_{'_'.join(self.by)}", self.tree.args, body, [], **typeless)
        return replace(self.given, tree=place(tree, self.tree), scope=self.scope)

    def reached(self, name: str) -> set[str]:
        """The names whose value can depend on the argument ``name``."""
        active, before = {name}, 0
        while before < len(active):
            before = len(active)
            for node in ast.walk(self.tree):
                if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None:
                    for target, value in pairs(node):
                        if self.moves(value, active) or (isinstance(node, ast.AugAssign) and target.id in active):
                            active.add(target.id)
        return active

    def moves(self, value: ast.expr, active: set[str]) -> bool:
        return any(isinstance(n, ast.Name) and n.id in active for n in ast.walk(value))

    def seeded(self) -> list[tuple[str, str]]:
        """Derivatives that need a value at the start, as their variable may be read before it is assigned for sure."""
        straight: set[str] = set()
        met = set(self.given.args)
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                met |= {n.id for n in ast.walk(statement.value or statement) if isinstance(n, ast.Name)}
                straight |= {target.id for target, _ in pairs(statement)} - met
            met |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
        needy = [(name, by) for by in self.by for name in sorted(self.active[by] - straight)]
        return [(name, by) for name, by in needy if name != by or name in self.reassigned]

    # Statements.

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        return [place(new, old) for old in statements for new in self.statement(old)]

    def statement(self, s: ast.stmt) -> list[ast.stmt]:
        if isinstance(s, ast.Return):
            return self.returned(s)
        if isinstance(s, ast.Assign | ast.AugAssign | ast.AnnAssign):
            return [*self.moved(s), s]
        if isinstance(s, ast.If | ast.While):
            return [type(s)(s.test, self.block(s.body), self.block(s.orelse))]
        if isinstance(s, ast.For):
            return [ast.For(s.target, s.iter, self.block(s.body), self.block(s.orelse))]
        if isinstance(s, ast.Pass | ast.Break | ast.Continue):
            return [s]
        if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant):
            return []  # a docstring
        self.fail(s, f"a statement of this kind ({type(s).__name__}) has no derivative")

    def returned(self, s: ast.Return) -> list[ast.stmt]:
        if s.value is None or isinstance(s.value, ast.Tuple):
            self.fail(s, "a scalar function returns one number")
        parts = [self.d(s.value, by) for by in self.by]
        self.moving |= {by for by, part in zip(self.by, parts, strict=True) if not is_const(part, 0.0)}
        return [ast.Return(parts[0] if len(parts) == 1 else ast.Tuple(parts, ast.Load()))]

    def moved(self, s: ast.Assign | ast.AugAssign | ast.AnnAssign) -> list[ast.stmt]:
        """The assignment of the derivatives of what ``s`` assigns, all at once."""
        names, values = [], []
        for target, value in pairs(s):
            if isinstance(s, ast.AugAssign):
                value = ast.BinOp(ast.Name(target.id, ast.Load()), s.op, value, lineno=s.lineno)
            for by in self.by:
                if target.id in self.active[by]:
                    names.append(f"{target.id}_by_{by}")
                    values.append(self.d(value, by))
        return [self.assign(names, values)] if names else []

    def assign(self, names: list[str], values: list[ast.expr]) -> ast.stmt:
        stores: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
        if len(stores) == 1:
            return ast.Assign(stores, values[0])
        return ast.Assign([ast.Tuple(stores, ast.Store())], ast.Tuple(values, ast.Load()))

    # Expressions.

    def d(self, e: ast.expr, by: str) -> ast.expr:
        """The derivative of the expression ``e``."""
        if not self.moves(e, self.active[by]):
            return ZERO
        rule = getattr(self, f"d_{type(e).__name__}", None)
        if rule is None:
            self.fail(e, f"`{ast.unparse(e)}` has no derivative")
        return rule(e, by)

    def d_Name(self, e: ast.Name, by: str) -> ast.expr:
        return ONE if e.id == by and by not in self.reassigned else ast.Name(f"{e.id}_by_{by}", ast.Load())

    def d_UnaryOp(self, e: ast.UnaryOp, by: str) -> ast.expr:
        inner = self.d(e.operand, by)
        return neg(inner) if isinstance(e.op, ast.USub) else inner if isinstance(e.op, ast.UAdd) else ZERO

    def d_IfExp(self, e: ast.IfExp, by: str) -> ast.expr:
        yes, no = self.d(e.body, by), self.d(e.orelse, by)
        return yes if ast.dump(yes) == ast.dump(no) else ast.IfExp(e.test, yes, no)

    def flat(self, e: ast.expr, by: str) -> ast.expr:
        return ZERO

    d_Compare = d_BoolOp = d_Subscript = flat  # a look-up by a computed index is constant between two entries

    def d_BinOp(self, e: ast.BinOp, by: str) -> ast.expr:
        u, v, du, dv = e.left, e.right, self.d(e.left, by), self.d(e.right, by)
        match e.op:
            case ast.Add():
                return add(du, dv)
            case ast.Sub():
                return sub(du, dv)
            case ast.Mult():
                return add(mul(du, v), mul(u, dv))
            case ast.Div():
                return sub(div(du, v), div(mul(e, dv), v))
            case ast.Pow():
                return power(u, v, du, dv)
            case ast.FloorDiv():
                return ZERO
            case ast.Mod():
                return sub(du, mul(formula("u // v", u=u, v=v), dv))
        self.fail(e, f"`{ast.unparse(e)}` has no derivative")

    def d_Call(self, e: ast.Call, by: str) -> ast.expr:
        known = self.callee(e.func)
        name = e.func.attr if isinstance(e.func, ast.Attribute) else ast.unparse(e.func)
        if isinstance(known, Device):
            return self.d_device(known, name, e, by)
        if name in FLAT:
            return ZERO
        if name in ("max", "min", "fmax", "fmin"):
            return larger(e.args, [self.d(a, by) for a in e.args], ast.Lt() if name.endswith("min") else ast.Gt())
        if name in ("float", "real"):
            return self.d(e.args[0], by)
        if name not in RULES:
            self.fail(e, f"no derivative is known for {name}()")
        total: ast.expr = ZERO
        for slope, argument in zip(RULES[name], e.args, strict=False):
            total = add(total, mul(formula(slope, **dict(zip("uv", e.args, strict=False))), self.d(argument, by)))
        return total

    def callee(self, func: ast.expr) -> Any:
        """What a call calls: a marked scalar function, a function of ``math`` or NumPy, a builtin."""
        if isinstance(func, ast.Name):
            known = self.scope.get(func.id, getattr(builtins, func.id, None))
            if known is not None and not isinstance(known, Device) and func.id not in (*FLAT, *RULES, *WORDS):
                self.fail(func, f"{func.id}() is not marked: write @nbcaffe.device above its def")
            return known
        return None

    def d_device(self, known: Device, name: str, e: ast.Call, by: str) -> ast.expr:
        """The chain rule through a call of another scalar function."""
        total: ast.expr = ZERO
        for argument, parameter in zip(e.args, known.source.args, strict=False):
            inner = self.d(argument, by)
            if not is_const(inner, 0.0):
                called = f"{name}_by_{parameter}"
                if called not in self.scope:
                    self.scope[called] = derivative(known, [parameter])
                total = add(total, mul(ast.Call(ast.Name(called, ast.Load()), e.args, []), inner))
        return total


WORDS = ("max", "min", "float", "real", "pow")
typeless: Any = {"type_params": []}  # a field of FunctionDef since Python 3.12


def pairs(s: ast.Assign | ast.AugAssign | ast.AnnAssign) -> list[tuple[ast.Name, ast.expr]]:
    """Each name that ``s`` assigns, with the expression whose value it takes."""
    found = []
    for target in s.targets if isinstance(s, ast.Assign) else [s.target]:
        if isinstance(target, ast.Name) and s.value is not None:
            found.append((target, s.value))
        elif isinstance(target, ast.Tuple):
            split = isinstance(s.value, ast.Tuple) and len(s.value.elts) == len(target.elts)
            values = s.value.elts if split else [s.value] * len(target.elts)  # type: ignore[union-attr]
            found += [(t, v) for t, v in zip(target.elts, values, strict=True) if isinstance(t, ast.Name)]
    return found


def place(new: Any, old: ast.AST) -> Any:
    """A copy of ``new`` in which no node stands twice and each has a line of the author's."""
    if isinstance(new, list):
        return [place(item, old) for item in new]
    if not isinstance(new, ast.AST):
        return new
    copy = type(new)(**{name: place(value, old) for name, value in ast.iter_fields(new)})
    here = new if hasattr(new, "lineno") else old
    for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
        setattr(copy, name, getattr(here, name, None) or getattr(old, name, None))
    return copy
