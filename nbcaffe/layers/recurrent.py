"""A time step repeated inside one layer: the flat net that unrolling gives, in memory laid out along time."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..blob import Blob, Buffer
from ..graph import Graph, Node, build, decide_backward
from ..layer import Layer
from ..passes.splits import insert_splits
from ..passes.unroll import unrolled
from ..spec import Block, LayerSpec, NetSpec, builtin
from .structural import copy, zero


class View(NamedTuple):
    """Where a blob of the step lives: from value ``first`` on of another blob, or of memory of the layer's own."""

    owner: Blob | Buffer
    first: int


class Recurrent(Layer, abstract=True):
    """A block of the net, run as one layer: ``block`` says what one step does.

    All values of one blob of the step, over time, lie side by side; what the step reads of a sequence, and what it
    adds to one, are parts of that sequence's own memory.
    """

    num_bottom = (0, None)
    num_top = (1, None)
    graph: Graph

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        block = self.step(bottom)
        self.steps = self.count_steps(block, bottom)
        spec = LayerSpec(self.name, "Unroll", block.bottom, block.top, block=block)
        names, shapes = self.bottom_names(block), [list(shape) for shape in self.inner_shapes(bottom)]
        source = builtin(LayerSpec(f"{self.name}/bottoms", "Input", top=names, given={"shape": shapes}))
        flat = insert_splits(NetSpec("", (source, *unrolled(spec, self.steps))))
        known = self.graph.homes if self.weights else {}
        self.graph = Graph([], {}, homes=dict(known), states=self.states)
        build(self.graph, flat, self.phase, self.seed, frozenset(), self.dtype, self.target)
        self.nodes = self.graph.nodes[1:]
        self.weights = list(self.graph.homes.values())
        vars(self)["differentiable"] = tuple(
            i for i, name in enumerate(names) if name not in (block.cont, block.lengths)
        )
        self.inputs = self.graph.nodes[0].top
        self.outputs = [self.graph.blobs[name] for name in block.top]
        self.lay_out()
        return [blob.shape for blob in self.outputs]

    def step(self, bottom: Sequence[Blob]) -> Block:
        """The block; a layer with a step of its own makes it here."""
        assert isinstance(self.block, Block)
        return self.block

    def bottom_names(self, block: Block) -> tuple[str, ...]:
        """What the block calls this layer's bottoms, in their order."""
        return block.bottom

    def inner_shapes(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        """The bottoms' shapes as the block sees them."""
        return [blob.shape for blob in bottom]

    def count_steps(self, block: Block, bottom: Sequence[Blob]) -> int:
        """T, which all sequences must agree in."""
        found: dict[int, str] = {} if block.steps is None else {block.steps: "steps"}
        for name in (*block.inputs.values(), *filter(None, [block.cont])):
            shape = bottom[self.bottom_names(block).index(name)].shape
            if len(shape) < 2:
                self.fail(f"{name!r} needs the axes time and sample, T x N, got {shape}")
            found.setdefault(shape[0], repr(name))
        if len(found) > 1:
            self.fail(
                "needs the same number of time steps everywhere, got "
                + " and ".join(f"{n} ({of})" for n, of in found.items())
            )
        steps = next(iter(found))
        if steps < 1:
            self.fail("needs at least one time step, got T = 0")
        return steps

    # -- memory --------------------------------------------------------------------------------------------------

    def lay_out(self) -> None:
        """Find each inner blob's place, and declare the memory that is this layer's own."""
        self.data: dict[int, View] = {}
        self.diff: dict[int, View] = {}
        self.silent: set[int] = set()  # nodes that need not run: their top is their bottom's memory
        below = {id(top): node.bottom[0] for node in self.nodes if node.layer.shares for top in node.top}
        for index, node in enumerate(self.nodes):
            if node.spec.type == "Unstack":
                self.part(index, node.bottom[0], node.top)
            elif node.spec.type == "Stack":
                roots = []
                for blob in node.bottom:
                    while id(blob) in below:
                        blob = below[id(blob)]
                    roots.append(blob)
                if not any(id(root) in self.data for root in roots) and node.top[0] in self.outputs:
                    self.part(index, node.top[0], roots, node.bottom)
        owned = {id(blob) for blob in (*self.inputs, *self.outputs)}
        self.families: dict[tuple[str, str], Buffer] = {}
        blobs = {id(blob): blob for node in self.nodes for blob in node.top if id(blob) not in owned}
        for node in self.nodes:
            for blob in node.top:
                if id(blob) in blobs and node.layer.shares and blob is not node.bottom[0]:
                    self.data.setdefault(id(blob), View(node.bottom[0], 0))
                    if node.layer.shares == "both":
                        self.diff.setdefault(id(blob), View(node.bottom[0], 0))
        for blob in blobs.values():
            for slot, places in (("data", self.data), ("diff", self.diff)):
                if id(blob) not in places:
                    places[id(blob)] = self.own(blob, slot)
        self.borrow_work_space()

    def part(self, index: int, whole: Blob, parts: Sequence[Blob], diffs: Sequence[Blob] = ()) -> None:
        """Blobs that are the parts of another one, in order."""
        self.silent.add(index)
        for time, (blob, diff) in enumerate(zip(parts, diffs or parts, strict=True)):
            self.data[id(blob)] = View(whole, time * blob.count)
            self.diff[id(diff)] = View(whole, time * blob.count)

    def own(self, blob: Blob, slot: str) -> View:
        """A place in the memory for all times of this blob."""
        prefix, time, name = split_name(blob.name)
        key = (f"{prefix}/{name}", slot)
        if key not in self.families:
            count = self.steps if time is not None else 1
            self.families[key] = self.buffer(count * blob.count, keep=True)
        return View(self.families[key], (time or 0) * blob.count)

    def borrow_work_space(self) -> None:
        """The layers of the step run one after another: what they need for a moment only, they share."""
        self.shared: list[tuple[Buffer, Buffer]] = []
        pool: dict[tuple, Buffer] = {}
        for node in self.nodes:
            for number, buffer in enumerate(node.layer.buffers):
                leader = pool.setdefault((buffer.shape, buffer.dtype, number), buffer)
                if buffer.keep or leader is buffer:
                    self.buffers.append(buffer)
                else:
                    self.shared.append((buffer, leader))

    def attach(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Give every inner blob and weight its memory."""
        for inner, outer in zip((*self.inputs, *self.outputs), (*bottom, *top), strict=True):
            inner._data = outer._data.reshape(inner.shape)
            inner._diff = None if outer._diff is None else outer._diff.reshape(inner.shape)
        for buffer, leader in self.shared:
            buffer.data = leader.data
        for node in self.nodes:
            node.layer.clock = self.clock
            for blob in node.top:
                if id(blob) in self.data:
                    blob._data = self.array(blob, self.data, "_data")
                    blob._diff = self.array(blob, self.diff, "_diff")
            for weight in node.layer.weights:
                owner = weight
                while owner.owner is not owner:
                    owner = owner.owner
                weight._data = owner._data.reshape(weight.shape)
                weight._diff = None if owner._diff is None else owner._diff.reshape(weight.shape)

    def array(self, blob: Blob, places: dict[int, View], slot: str) -> Any:
        owner, first = places[id(blob)]
        while isinstance(owner, Blob) and id(owner) in places:
            owner, more = places[id(owner)]
            first += more
        whole = owner.data if isinstance(owner, Buffer) else getattr(owner, slot)
        return None if whole is None else whole.reshape(whole.size)[first : first + blob.count].reshape(blob.shape)

    # -- passes --------------------------------------------------------------------------------------------------

    def decide(self, top: Sequence[Blob]) -> None:
        """What the backward pass owes, now that it is known which bottoms and weights want a gradient."""
        for node in self.nodes:
            node.loss_weight = [float(any(blob is out for out in self.outputs)) for blob in node.top]
        wanted = [blob for blob, want in zip(self.inputs, self.propagate_down, strict=True) if want]
        decide_backward(self.graph, False, wanted)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.attach(bottom, top)
        for index, node in enumerate(self.nodes):
            if index not in self.silent:
                node.layer.forward(node.bottom, node.top)
                self.copy_out(node)

    def copy_out(self, node: Node) -> None:
        """A top of this layer that an inner layer makes by sharing memory has memory of its own."""
        if node.layer.shares and any(node.top[0] is out for out in self.outputs):
            n = node.top[0].count
            copy[n](node.bottom[0].data.reshape(n), node.top[0].data.reshape(n))

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.decide(top)
        self.attach(bottom, top)
        for blob, wanted in zip(bottom, self.propagate_down, strict=True):
            if wanted:
                zero[blob.count](blob.diff.reshape(blob.count))
        for blob in self.without_gradient():
            zero[blob.count](blob.diff.reshape(blob.count))
        for index, node in reversed(list(enumerate(self.nodes))):
            if node.backward and index not in self.silent:
                node.layer.backward(node.bottom, node.top)

    def without_gradient(self) -> list[Blob]:
        """Blobs whose gradient is read, but made by nobody: what follows them, if anything does, has none to give."""
        pairs = (pair for node in self.nodes for pair in zip(node.bottom, node.bottom_need, strict=True))
        made = {id(blob) for blob, need in pairs if need} | {id(blob) for blob in self.outputs}
        return [blob for node in self.nodes if node.backward for blob in node.top if id(blob) not in made]

    def guard(self) -> None:
        for node in self.nodes:
            node.layer.guard()

    @property
    def multiply_adds(self) -> int:
        return sum(node.layer.multiply_adds for node in self.nodes)


def split_name(name: str) -> tuple[str, int | None, str]:
    """``rnn/3/h`` is blob h of step 3 of block rnn."""
    found = re.fullmatch(r"(.*)/(\d+)/(.*)", name)
    return (found[1], int(found[2]), found[3]) if found else ("", None, name)


class Unroll(Recurrent):
    """A time step and how it is repeated: what a net's ``unroll:`` block becomes, unless its mode is unrolled."""

    examples = ()
