"""A time step repeated inside one layer: the flat net that unrolling gives, in memory laid out along time."""

import re
from collections.abc import Sequence

from ..blob import Blob, Buffer
from ..graph import Graph, Node, build, decide_backward
from ..layer import Layer
from ..passes.splits import insert_splits
from ..passes.unroll import unrolled
from ..spec import Block, LayerSpec, NetSpec, builtin
from .folding import ARRAYS, Folding, Place, array
from .structural import copy, zero

Key = tuple[str, int | None, str]  # block, time and name of what stands in a step


class Recurrent(Layer, abstract=True):
    """A block of the net, run as one layer: ``block`` says what one step does.

    All values of one blob of the step, over time, lie side by side; what the step reads of a sequence, and what it
    adds to one, are parts of that sequence's own memory.  So layers of the step can be folded (see :mod:`folding`).
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
            every = " and ".join(f"{n} ({of})" for n, of in found.items())
            self.fail(f"needs the same number of time steps everywhere, got {every}")
        steps = next(iter(found))
        if steps < 1:
            self.fail("needs at least one time step, got T = 0")
        return steps

    # -- memory --------------------------------------------------------------------------------------------------

    def lay_out(self) -> None:
        """Find each inner blob's place, declare this layer's own memory, and see which layers fold."""
        self.places: dict[str, dict[int, Place]] = {slot: {} for slot in ARRAYS}
        self.silent: set[int] = set()  # nodes that need not run: their top is their bottom's memory
        self.keys = self.name_blobs()
        below = {id(top): node.bottom[0] for node in self.nodes if node.layer.shares for top in node.top}
        for node in self.nodes:
            if node.spec.type == "Unstack":
                self.part(node, node.bottom[0], node.top, node.top)
            elif node.spec.type == "Stack" and node.top[0] in self.outputs:
                roots = [root(blob, below) for blob in node.bottom]
                if not any(id(blob) in self.places["_data"] for blob in roots):
                    self.part(node, node.top[0], roots, node.bottom)
        self.skip_splits()
        owned = {id(blob) for blob in (*self.inputs, *self.outputs)}
        inner = {id(blob): blob for node in self.nodes for blob in node.top if id(blob) not in owned}
        for node in self.nodes:
            slots = {"": (), "data": ARRAYS[:1], "both": ARRAYS}[node.layer.shares]
            for blob in node.top:
                for slot in slots if id(blob) in inner and blob is not node.bottom[0] else ():
                    self.places[slot].setdefault(id(blob), Place(node.bottom[0], 0))
        self.own_memory([*inner.values()])
        self.folding = Folding(self.groups(), *self.ends(), self.find)
        self.share_work_space()

    def skip_splits(self) -> None:
        """A Split with one reader that can pass a gradient on has nothing to add up."""
        readers = {id(blob): node.layer for node in self.nodes for blob in node.bottom}
        for node in self.nodes:
            if node.spec.type == "Split" and not any(top is out for top in node.top for out in self.outputs):
                live = [top for top in node.top if id(top) in readers and readers[id(top)].differentiable != ()]
                if len(live) == 1:
                    self.silent.add(id(node))
                    self.places["_diff"].setdefault(id(live[0]), Place(node.bottom[0], 0))

    def name_blobs(self) -> dict[int, Key]:
        """Block, time and name of each blob; of a Split's tops, those of the blob it splits."""
        keys: dict[int, Key] = {}
        for node in self.nodes:
            for number, blob in enumerate(node.top):
                key = split_name(blob.name)
                if node.spec.type == "Split" and id(node.bottom[0]) in keys:
                    block, time, name = keys[id(node.bottom[0])]
                    key = (block, time, f"{name} split {number}")
                keys.setdefault(id(blob), key)
        return keys

    def part(self, node: Node, whole: Blob, data: Sequence[Blob], diffs: Sequence[Blob]) -> None:
        """Blobs that are the parts of another one, in order; the node that would cut or join them has no work."""
        self.silent.add(id(node))
        for slot, parts in zip(ARRAYS, (data, diffs), strict=True):
            self.places[slot].update({id(b): Place(whole, t * b.count) for t, b in enumerate(parts)})

    def own_memory(self, blobs: Sequence[Blob]) -> None:
        """Memory of this layer for blobs that have no place yet: one piece for all times of a blob."""
        for slot in ARRAYS:
            families: dict[tuple[str, str], list[Blob]] = {}
            for blob in blobs:
                if id(blob) not in self.places[slot]:
                    block, _, name = self.keys[id(blob)]
                    families.setdefault((block, name), []).append(blob)
            for family in families.values():
                family.sort(key=lambda blob: self.keys[id(blob)][1] or 0)
                memory, first = self.buffer(sum(blob.count for blob in family), keep=True), 0
                for blob in family:
                    self.places[slot][id(blob)] = Place(memory, first)
                    first += blob.count

    def find(self, blob: Blob, slot: str) -> Place:
        """The memory that a blob's array lies in, which is a bottom's, a top's or this layer's own."""
        place = self.places[slot].get(id(blob), Place(blob, 0))
        while isinstance(place.owner, Blob) and id(place.owner) in self.places[slot]:
            below = self.places[slot][id(place.owner)]
            place = Place(below.owner, below.first + place.first)
        return place

    def groups(self) -> list[list[Node]]:
        """The copies of each layer of the step, in the order of time."""
        found: dict[tuple[str, str], dict[int, Node]] = {}
        for node in self.nodes:
            named = node.bottom[0] if node.spec.type == "Split" else None
            block, time, name = self.keys.get(id(named)) or split_name(node.spec.name)
            if block == self.name and time is not None and node.top and id(node) not in self.silent:
                found.setdefault((node.spec.type if named else "", name), {})[time] = node
        return [[node for _, node in sorted(one.items())] for one in found.values() if len(one) == self.steps]

    def ends(self) -> tuple[list[Blob], list[Blob]]:
        """What sequences are cut into, and what they are made of."""
        sides = {"Unstack": "top", "Stack": "bottom"}
        return tuple(  # type: ignore[return-value]
            [
                b
                for node in self.nodes
                if id(node) in self.silent and node.spec.type == kind
                for b in getattr(node, side)
            ]
            for kind, side in sides.items()
        )

    def share_work_space(self) -> None:
        """Layers run one after another: what they need for a moment only, they share."""
        self.shared: list[tuple[Buffer, Buffer]] = []
        folded = self.folding.folded
        pool: dict[tuple, Buffer] = {}
        layers = [node.layer for node in self.nodes if id(node) not in folded]
        for layer in (*layers, *(whole.layer for whole in self.folding.wholes)):
            for number, buffer in enumerate(layer.buffers):
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
                for slot in ARRAYS:
                    if id(blob) in self.places[slot]:
                        setattr(blob, slot, array(self.find(blob, slot), blob.shape, slot))
            for weight in node.layer.weights:
                owner = weight
                while owner.owner is not owner:
                    owner = owner.owner
                weight._data = owner._data.reshape(weight.shape)
                weight._diff = None if owner._diff is None else owner._diff.reshape(weight.shape)
        for whole in self.folding.wholes:
            whole.attach()

    # -- passes --------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """What the backward pass owes, now that it is known which bottoms and weights want a gradient."""
        for node in self.nodes:
            node.loss_weight = [float(any(blob is out for out in self.outputs)) for blob in node.top]
        wanted = [blob for blob, want in zip(self.inputs, self.propagate_down, strict=True) if want]
        decide_backward(self.graph, False, wanted)
        for whole in self.folding.weights:
            whole.take_over()

    def running(self) -> list[Node]:
        """The nodes that run step by step."""
        folded = self.folding.folded
        return [node for node in self.nodes if id(node) not in self.silent and id(node) not in folded]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.attach(bottom, top)
        for whole in self.folding.before:
            whole.forward()
        for node in self.running():
            node.layer.forward(node.bottom, node.top)
            if node.layer.shares and any(node.top[0] is out for out in self.outputs):
                n = node.top[0].count  # this layer's top has memory of its own
                copy[n](node.bottom[0].data.reshape(n), node.top[0].data.reshape(n))
        for whole in self.folding.after:
            whole.forward()

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.decide()
        self.attach(bottom, top)
        for blob in (*(b for b, wanted in zip(bottom, self.propagate_down, strict=True) if wanted), *self.unmade()):
            zero[blob.count](blob.diff.reshape(blob.count))
        for whole in reversed(self.folding.after):
            whole.backward()
        for node in reversed(self.running()):
            if node.backward:
                node.layer.backward(node.bottom, node.top)
        for whole in self.folding.weights:
            whole.weights_backward()
        for whole in reversed(self.folding.before):
            whole.backward()

    def unmade(self) -> list[Blob]:
        """Blobs whose gradient is read, but made by nobody: what follows them, if anything does, has none to give."""
        pairs = (pair for node in self.nodes for pair in zip(node.bottom, node.bottom_need, strict=True))
        made = {id(blob) for blob, need in pairs if need} | {id(blob) for blob in self.outputs}
        return [blob for node in self.nodes if node.backward for blob in node.top if id(blob) not in made]

    def guard(self) -> None:
        for layer in (*(node.layer for node in self.running()), *(whole.layer for whole in self.folding.wholes)):
            layer.guard()

    @property
    def multiply_adds(self) -> int:
        return sum(node.layer.multiply_adds for node in self.nodes)


def root(blob: Blob, below: dict[int, Blob]) -> Blob:
    """The blob whose memory this one shares."""
    while id(blob) in below:
        blob = below[id(blob)]
    return blob


def split_name(name: str) -> Key:
    """``rnn/3/h`` is blob h of step 3 of block rnn."""
    found = re.fullmatch(r"(.*)/(\d+)/(.*)", name)
    return (found[1], int(found[2]), found[3]) if found else ("", None, name)


class Unroll(Recurrent):
    """A time step and how it is repeated: what a net's ``unroll:`` block becomes, unless its mode is unrolled."""

    examples = ()
