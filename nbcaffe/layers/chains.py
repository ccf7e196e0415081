"""Chains of element-wise layers in a step, each one kernel a pass, composed of the layers' scalar functions.

What a chain reads is loaded once, what others read of it is stored, and everything between stays in registers; the way
back computes it again.  Splits inside a chain add up their gradients on the way.  Fusing is legal where every member
is a function of single elements, runs not in place, and nobody between the members reads one and feeds another.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

from ..blob import Blob
from ..elementwise import Elementwise
from ..graph import Node
from ..kernel import Kernel
from ..rewrite import Device, source_from
from .element_loss import ElementwiseLoss
from .eltwise import Eltwise
from .scale import Scale
from .shaping import Slice

Grid = tuple[int, ...]


class Text(NamedTuple):
    """A body and the scalar functions it calls; equal ones are one kernel."""

    body: str
    scope: tuple[tuple[str, Device], ...]


@cache
def kernel_of(text: Text) -> Kernel:
    return Kernel(source_from(text.body, dict(text.scope)))


@cache
def slope_of(kind: Any, name: str) -> Device:
    """The derivative by one argument, given or derived; one function, so that equal chains have equal texts."""
    return kind.formula.given.get(name) or kind.derive((name,))


def fits(node: Node) -> bool:
    """Whether a layer can be a member: all its blobs are (rows, columns) of one grid, or rows or parts of it."""
    layer, top = node.layer, node.top[0].shape if node.top else ()
    if len(top) < 2 or layer.overwriting:
        return False
    if isinstance(layer, Elementwise):
        alike = all(blob.shape == top for blob in node.bottom) and layer.finite
        return alike and not isinstance(layer, ElementwiseLoss) and not layer.learned
    if isinstance(layer, Eltwise):
        return layer.operation != "MAX"
    if isinstance(layer, Slice):
        parts = {blob.shape for blob in node.top}
        return len(node.bottom[0].shape) == 2 and layer.rows == top[0] and len(node.top) > 1 and len(parts) == 1
    if isinstance(layer, Scale):
        by_row = len(node.bottom) == 2 and node.bottom[1].shape == top[:1]
        return by_row and layer.b is None and not node.bottom_need[1]
    return node.spec.type == "Split"


class Chain:
    """The members of one chain in one step, and the text of their kernels."""

    def __init__(self, nodes: Sequence[Node], read_outside: set[int]):
        self.nodes = nodes
        self.grid = (nodes[0].top[0].shape[0], prod(nodes[0].top[0].shape[1:]))
        self.scope: dict[str, Device] = {}
        self.values: dict[int, str] = {}  # the variable that a blob is
        self.inputs: list[Blob] = []
        self.loaded: set[str] = set()  # the variables that inputs are
        self.parts: dict[int, list[tuple[Blob, int]]] = {}  # of inputs that are cut: tops, and where they begin
        self.lines: list[str] = []
        for number, node in enumerate(nodes):
            self.member(number, node)
        made = [blob for node in nodes for blob in node.top]
        self.seen = [blob for blob in made if id(blob) in read_outside]  # each has a gradient from outside
        stored = {self.values[id(blob)]: blob for blob in self.seen if self.values[id(blob)] not in self.loaded}
        self.outputs = list(stored.items())

    def read(self, blob: Blob) -> str:
        """The variable of a blob, which is loaded if no member makes it."""
        if id(blob) not in self.values:
            name, at = f"a{len(self.inputs)}", "n" if len(blob.shape) == 1 else "n, j"
            self.inputs.append(blob)
            self.values[id(blob)] = f"x{len(self.values)}"
            self.loaded.add(self.values[id(blob)])
            self.lines.append(f"{self.values[id(blob)]} = {name}[{at}]")
        return self.values[id(blob)]

    def member(self, number: int, node: Node) -> None:
        layer = node.layer
        if isinstance(layer, Slice):
            name = f"a{len(self.inputs)}"
            self.inputs.append(node.bottom[0])
            self.parts[id(node.bottom[0])] = [*zip(node.top, layer.columns, strict=False)]
            for part, (blob, first) in enumerate(self.parts[id(node.bottom[0])]):
                self.values[id(blob)] = f"x{number}_{part}"
                self.lines.append(f"x{number}_{part} = {name}[n, {first} + j]")
            return
        taken = [self.read(blob) for blob in node.bottom]
        if node.spec.type == "Split":
            self.values.update({id(blob): taken[0] for blob in node.top})
            return
        if isinstance(layer, Elementwise):
            self.scope[f"f{number}"] = layer.formula.f
            value = layer.call(f"f{number}", layer.formula.f, taken)
        elif isinstance(layer, Eltwise) and layer.operation == "SUM":
            value = " + ".join(scaled(name, factor) for name, factor in zip(taken, layer.factors, strict=True))
        else:
            value = " * ".join(taken)
        self.values[id(node.top[0])] = f"y{number}"
        self.lines.append(f"y{number} = {value}")

    def forward_text(self) -> Text:
        names = [*(f"a{i}" for i in range(len(self.inputs))), *(f"out{i}" for i in range(len(self.outputs)))]
        stores = [f"out{i}[n, j] = {name}" for i, (name, _) in enumerate(self.outputs)]
        body = "\n    ".join([f"def chain(n, j, {', '.join(names)}):", *self.lines, *stores])
        return Text(body, tuple(self.scope.items()))

    def backward_text(self, wanted: Sequence[bool]) -> Text:
        """Gradients of the wanted inputs; those of the tops that others read come in."""
        scope = dict(self.scope)
        given = {id(blob) for node in self.nodes if node.backward for blob in node.top}
        grads = {id(blob): [f"d{i}[n, j]"] for i, blob in enumerate(self.seen) if id(blob) in given}
        lines: list[str] = []
        for number, node in reversed(list(enumerate(self.nodes))):
            if node.backward:
                self.adjoint(number, node, grads, lines, scope)
        stores = []
        for i, (blob, want) in enumerate(zip(self.inputs, wanted, strict=True)):
            for part, first in self.parts.get(id(blob), [(blob, 0)]) if want else ():
                at = f"n, {first} + j" if first else "n, j"
                stores.append(f"g{i}[{at}] = {total(grads, part)}")
        names = [f"a{i}" for i in range(len(self.inputs))] + [f"d{i}" for i in range(len(self.seen))]
        names += [f"g{i}" for i, want in enumerate(wanted) if want]
        body = [f"def chain_backward(n, j, {', '.join(names)}):", *self.lines, *lines, *stores]
        return Text("\n    ".join(body), tuple(scope.items()))

    def adjoint(self, number: int, node: Node, grads: dict[int, list[str]], lines: list[str], scope: dict) -> None:
        """Pass the gradient of a member's tops on to its bottoms."""
        layer = node.layer
        if isinstance(layer, Slice):
            return
        if node.spec.type == "Split":
            grads.setdefault(id(node.bottom[0]), []).extend(g for top in node.top for g in grads.get(id(top), []))
            return
        lines.append(f"by{number} = {total(grads, node.top[0])}")
        taken = [self.values[id(blob)] for blob in node.bottom]
        for index, blob in enumerate(node.bottom):
            if not node.bottom_need[index]:
                continue
            if isinstance(layer, Elementwise):
                name = layer.formula.bottoms[index]
                kind: Any = type(layer)
                fn = slope_of(kind, name)
                scope[f"f{number}_{name}"] = fn
                slope = layer.call(f"f{number}_{name}", fn, taken, f"y{number}")
            elif isinstance(layer, Eltwise) and layer.operation == "SUM":
                slope = repr(float(layer.factors[index]))
            else:
                slope = " * ".join(other for i, other in enumerate(taken) if i != index)
            grads.setdefault(id(blob), []).append(f"by{number} * {slope}" if slope != "1.0" else f"by{number}")

    # -- passes --------------------------------------------------------------------------------------------------

    def arrays(self, blobs: Iterable[Blob], slot: str) -> list[Any]:
        rows = self.grid[0]
        found = ((blob, getattr(blob, slot)) for blob in blobs)
        return [a if len(b.shape) == 1 else a.reshape(rows, b.count // rows) for b, a in found]

    def forward(self) -> None:
        outputs = self.arrays((blob for _, blob in self.outputs), "_data")
        kernel_of(self.forward_text())[self.grid](*self.arrays(self.inputs, "_data"), *outputs)

    def backward(self) -> None:
        needs = {id(b): need for node in self.nodes for b, need in zip(node.bottom, node.bottom_need, strict=True)}
        wanted = [needs[id(blob)] for blob in self.inputs]
        if any(wanted):
            results = self.arrays((blob for blob, want in zip(self.inputs, wanted, strict=True) if want), "_diff")
            given = self.arrays(self.seen, "_diff")
            kernel_of(self.backward_text(wanted))[self.grid](*self.arrays(self.inputs, "_data"), *given, *results)


def scaled(name: str, factor: float) -> str:
    return name if factor == 1.0 else f"{float(factor)!r} * {name}"


def total(grads: dict[int, list[str]], blob: Blob) -> str:
    return " + ".join(grads.get(id(blob), [])) or "0.0"


def schedule(step: Sequence[Node], silent: set[int], readers: dict[int, list[Node]]) -> list[Node | Chain]:
    """The nodes of one step in an order in which chains are whole; silent ones are left out."""
    made: dict[int, tuple[int, Grid]] = {}  # for each blob of the step, how deep it is made and in which chain's grid
    placed: list[tuple[int, Grid, Node]] = []
    for node in step:
        grid = node.top[0].shape if fits(node) and (id(node) not in silent or node.spec.type == "Split") else ()
        start = getattr(node.layer, "start", None)
        below = [made.get(id(blob), (0, grid)) for blob in (*node.bottom, *([start] if start is not None else []))]
        depth = max((deep + (grid != () and theirs != grid) for deep, theirs in below), default=0)
        made.update({id(blob): (depth, grid) for blob in node.top})
        placed.append((depth, grid, node))
    out: list[Node | Chain] = []
    for depth in sorted({depth for depth, _, _ in placed}):
        here = [(grid, node) for deep, grid, node in placed if deep == depth]
        for grid in dict.fromkeys(grid for grid, _ in here if grid):
            out += linked([node for theirs, node in here if theirs == grid], readers)
        out += [node for grid, node in here if not grid]
    return [item for item in out if isinstance(item, Chain) or id(item) not in silent]


def linked(members: list[Node], readers: dict[int, list[Node]]) -> Sequence[Node | Chain]:
    """One chain, if there are two members that compute something."""
    if sum(node.spec.type != "Split" for node in members) < 2:
        return members
    inside = {id(node) for node in members}
    made = (blob for node in members for blob in node.top)
    return [Chain(members, {id(blob) for blob in made if any(id(r) not in inside for r in readers.get(id(blob), ()))})]
