"""A time step repeated inside one layer: the flat net that unrolling gives, in memory laid out along time."""

from collections.abc import Sequence
from itertools import groupby

from ..blob import Blob, Buffer
from ..graph import Graph, Node, build, decide_backward
from ..layer import Layer
from ..passes.splits import insert_splits
from ..passes.unroll import unrolled
from ..spec import Block, LayerSpec, NetSpec, builtin
from .chains import Chain, schedule
from .folding import ARRAYS, Folding, array
from .inner_product import InnerProduct
from .layout import Layout
from .structural import copy, zero


class Recurrent(Layer, abstract=True):
    """A block of the net, run as one layer: ``block`` says what one step does.

    All values of one blob of the step, over time, lie side by side; what the step reads of a sequence, and what it
    adds to one, are parts of that sequence's own memory.  So layers of the step can be folded (see :mod:`folding`).
    """

    num_bottom = (0, None)
    num_top = (1, None)
    graph: Graph
    step_block: Block
    inspected = False  # then every layer of the step runs by itself, so that all its blobs are written

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        block = self.step_block = self.step(bottom)
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
        self.embedded: set[int] = set()  # inputs that are an Embed's, whose passes are this layer's work
        self.layout = Layout(self.nodes, self.inputs, self.outputs, self.buffer)
        groups = self.layout.groups(self.name, self.steps)
        self.folding = Folding(groups, self.layout.cut(), self.layout.joined(), self.layout.find)
        self.share_work_space()
        inner = [*(node.layer for node in self.running()), *(whole.layer for whole in self.folding.before)]
        inner += [whole.layer for whole in self.folding.after]
        self.guards = [layer for layer in inner if type(layer).guard is not Layer.guard]
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

    def embed(self, index: int, table: Layer) -> bool:
        """An Embed that makes a sequence folds into the product of all its steps, if that is all that reads it."""
        sequence, live = self.inputs[index], [node for node in self.running() if node.layer.differentiable != ()]
        readers = [w for w in self.folding.before if any(self.reads(b, sequence) for b in w.nodes[0].bottom)]
        others = [node for node in live if any(self.reads(b, sequence) for b in node.bottom)]
        if len(readers) != 1 or others:
            return False
        known = len(readers[0].layer.buffers)
        taken = readers[0].layer.embed(0, table)
        self.buffers += readers[0].layer.buffers[known:]
        self.embedded |= {index} if taken else set()
        return taken

    def reads(self, blob: Blob, sequence: Blob) -> bool:
        """Whether a blob of the step is part of a sequence."""
        return self.layout.find(blob, "_data").owner is sequence

    def share_work_space(self) -> None:
        """Layers run one after another: what they need for a moment only, they share."""
        self.shared: list[tuple[Buffer, Buffer]] = []
        folded = self.folding.folded
        pool: dict[tuple, Buffer] = {}
        layers = [node.layer for node in self.nodes if id(node) not in folded]
        for layer in (*layers, *(whole.layer for whole in self.folding.wholes)):
            for number, buffer in enumerate(layer.buffers):
                leader = pool.setdefault((buffer.shape, buffer.dtype, buffer.only, number), buffer)
                if buffer.keep or leader is buffer:
                    self.buffers.append(buffer)
                else:
                    self.shared.append((buffer, leader))

    def attach(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Give every inner blob and weight its memory."""
        for inner, outer in zip((*self.inputs, *self.outputs), (*bottom, *top), strict=True):
            inner._data = outer._data.reshape(inner.shape)
            inner._diff = None if outer._diff is None else outer._diff.reshape(inner.shape)
        find = self.layout.find
        for buffer, leader in self.shared:
            buffer.data = leader.data
        for node in self.nodes:
            node.layer.clock = self.clock
            for blob in node.top:
                for slot in ARRAYS:
                    if id(blob) in self.layout.places[slot]:
                        setattr(blob, slot, array(find(blob, slot), blob.shape, slot))
            for weight in node.layer.weights:
                weight._data = weight.root._data.reshape(weight.shape)
                weight._diff = None if weight.root._diff is None else weight.root._diff.reshape(weight.shape)
        for whole in self.folding.wholes:
            whole.attach()

    # -- passes --------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """What the backward pass owes, now that it is known which bottoms and weights want a gradient."""
        for node in self.nodes:
            node.loss_weight = [float(any(blob is out for out in self.outputs)) for blob in node.top]
        needs = enumerate(zip(self.inputs, self.propagate_down, strict=True))
        wanted = [blob for index, (blob, want) in needs if want or index in self.embedded]
        decide_backward(self.graph, False, wanted)
        for whole in (*self.folding.before, *self.folding.after):
            whole.decide()
        for whole in self.folding.weights:
            whole.take_over()

    def running(self) -> list[Node]:
        """The nodes that run step by step."""
        folded = self.folding.folded
        return [node for node in self.nodes if id(node) not in self.layout.silent and id(node) not in folded]

    def order(self) -> list[Node | Chain]:
        """What runs step by step, element-wise layers of a step in chains."""
        if self.inspected:
            return [*self.running()]
        folded = self.folding.folded
        readers: dict[int, list[Node]] = {}
        for node in self.nodes:
            for blob in node.bottom:
                readers.setdefault(id(blob), []).append(node)
        out: list[Node | Chain] = []
        left = (node for node in self.nodes if id(node) not in folded)
        for time, nodes in groupby(left, key=lambda node: step_of(node.spec.name, self.name)):
            silent = self.layout.silent
            if time is None:
                out += [node for node in nodes if id(node) not in silent]
            else:
                out += schedule(list(nodes), silent, readers)
        return out

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.decide()
        self.attach(bottom, top)
        for whole in self.folding.before:
            whole.forward()
        for group in self.folding.repeated:
            group[0].layer.before_forward()
        for node in self.order():
            if isinstance(node, Chain):
                node.forward()
                continue
            node.layer.forward(node.bottom, node.top)
            if node.layer.shares and any(node.top[0] is out for out in self.outputs):
                n = node.top[0].count  # this layer's top has memory of its own
                copy[n](node.bottom[0].data.reshape(n), node.top[0].data.reshape(n))
        for whole in self.folding.after:
            whole.forward()

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.decide()
        self.attach(bottom, top)
        for blob in self.unmade():
            zero[blob.count](blob.diff.reshape(blob.count))
        for whole in reversed(self.folding.after):
            whole.backward()
        for group in self.folding.repeated:
            if any(need for node in group for need in node.bottom_need):
                group[0].layer.before_backward()
        order = self.order()
        spared = self.spared_sums(order)
        for node in reversed(order):
            if isinstance(node, Chain):
                node.backward()
            elif node.backward and id(node) not in spared:
                node.layer.backward(node.bottom, node.top)
        for whole in self.folding.weights:
            whole.weights_backward()
        for whole in reversed(self.folding.before):
            whole.backward()

    def unmade(self) -> list[Blob]:
        """Blobs whose gradient is read, but made by nobody: what follows them, if anything does, has none to give."""
        pairs = (pair for node in self.nodes for pair in zip(node.bottom, node.bottom_need, strict=True))
        made = {id(blob) for blob, need in pairs if need} | {id(blob) for blob in self.outputs}
        read = [blob for blob, wanted in zip(self.inputs, self.propagate_down, strict=True) if wanted]
        for node in self.nodes:
            passed_on = node.spec.type == "Split" and id(node) in self.layout.silent  # from the one top that has one
            read += node.top if node.backward and not passed_on else ()
        return [blob for blob in read if id(blob) not in made]

    def spared_sums(self, order: Sequence[Node | Chain]) -> set[int]:
        """Splits between an output and a product, which adds its own gradient to that of the output instead."""
        for node in self.nodes:
            vars(node.layer).pop("start_diff", None)
        joined = {id(blob) for blob in self.layout.joined()}
        readers = {id(blob): node for node in self.nodes for blob in node.bottom}
        found = set()
        for item in order if not self.inspected else ():
            if isinstance(item, Node) and item.spec.type == "Split" and item.bottom_need[0] and len(item.top) == 2:
                blob, output = sorted(item.top, key=lambda top: id(top) in joined)
                reader = readers.get(id(blob))
                layer = reader.layer if reader and reader.bottom_need[0] else None
                if id(output) in joined and isinstance(layer, InnerProduct) and layer.engine == "DIRECT":
                    blob._diff, layer.start_diff = item.bottom[0]._diff, output
                    found.add(id(item))
        return found

    def guard(self) -> None:
        for layer in self.guards:
            layer.guard()

    @property
    def multiply_adds(self) -> int:
        return sum(node.layer.multiply_adds for node in self.nodes)


def step_of(name: str, block: str) -> str | None:
    """The step of a block that a layer stands in: 3 of ``rnn/3/gates``, also of ``rnn/3/inner/1/gates``."""
    rest = name.removeprefix(f"{block}/") if name.startswith(f"{block}/") else ""
    first, _, more = rest.partition("/")
    return first if more and first.isdigit() else None


class Unroll(Recurrent):
    """A time step and how it is repeated: what a net's ``unroll:`` block becomes, unless its mode is unrolled."""

    examples = ()
