"""Layers wired to blobs, with what each backward pass owes; no memory yet."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from . import rng
from .blob import Blob, Buffer, Weight
from .errors import ShapeError
from .layer import REGISTRY, Layer
from .spec import LayerSpec, NetSpec


@dataclass
class Node:
    """A layer in its net."""

    spec: LayerSpec
    layer: Layer
    bottom: list[Blob]
    top: list[Blob] = field(default_factory=list)
    bottom_need: list[bool] = field(default_factory=list)  # which bottoms get a gradient
    backward: bool = False
    inplace: bool = False
    folded: bool = False  # its backward pass is another layer's work
    finished: bool = False  # its forward pass is the work of the layer whose top it overwrites
    loss_weight: list[float] = field(default_factory=list)  # of each top


@dataclass
class Graph:
    """Nodes in order, the blob behind each name at the end, and the weights by owner."""

    nodes: list[Node]
    blobs: dict[str, Blob]
    owners: dict[str, Weight] = field(default_factory=dict)  # shared param name -> its first weight
    callbacks: dict[str, list] = field(default_factory=dict)  # before_forward and the like -> what is called then
    homes: dict[tuple[str, int], Weight] = field(default_factory=dict)  # address -> the weight that is kept there
    states: dict[str, Buffer] = field(default_factory=dict)  # carried from pass to pass, by name

    @property
    def params(self) -> dict[str, list[Weight]]:
        """All weights by the name they are kept under; the copies that unrolling makes of a layer count once."""
        found: dict[str, list[Weight]] = {}
        for weight in (weight for node in self.nodes for weight in node.layer.weights):
            kept = found.setdefault(weight.address[0], [])
            if weight.address[1] == len(kept):
                kept.append(weight)
        return found

    @property
    def outputs(self) -> list[str]:
        """Tops that no layer reads; one that a layer overwrote in place counts as that layer's top."""
        found: dict[str, None] = {}
        for node in self.nodes:
            for name in node.spec.bottom:
                found.pop(name, None)
            found.update(dict.fromkeys(node.spec.top))
        return list(found)

    @property
    def learnable(self) -> list[Weight]:
        """Every weight that owns itself, in the order of the layers, as Caffe lists them."""
        return [w for node in self.nodes for w in node.layer.weights if w.owner is w]


def wire(
    spec: NetSpec, phase: str, seed: int, inplace: frozenset[str], dtype: np.dtype, target: str, backward: bool = True
) -> Graph:
    """Create the layers, infer every shape, share weights, decide the backward pass, if there is to be one."""
    graph = build(Graph([], {}), spec, phase, seed, inplace, dtype, target)
    if backward:
        decide_backward(graph, spec.force_backward)
    else:
        forward_only(graph)
    return graph


def build(
    graph: Graph, spec: NetSpec, phase: str, seed: int, inplace: frozenset[str], dtype: np.dtype, target: str
) -> Graph:
    """Add layers to a graph: their shapes and weights; weights of a home that it knows are the ones it knows."""
    for one in spec.layers:
        node = add(graph, one, phase, seed, one.name in inplace)
        node.layer.dtype, node.layer.target = dtype, target  # setup chooses engines by them
        shapes(graph, node)
        weights(graph, node)
    return graph


def add(graph: Graph, spec: LayerSpec, phase: str, seed: int, inplace: bool) -> Node:
    cls = REGISTRY[spec.type]
    layer = cls(spec.name, spec.phase or phase, spec.where, **spec.params)
    layer.seed, layer.key, layer.states = seed, rng.key(seed, spec.name), graph.states
    if spec.block is not None:
        layer.block = spec.block
    layer.num_tops, layer.top_names = len(spec.top), spec.top
    layer.overwriting = inplace or bool(set(spec.top[:1]) & set(spec.bottom))
    node = Node(spec, layer, [graph.blobs[b] for b in spec.bottom], inplace=inplace)
    node.loss_weight = list(spec.loss_weights())
    graph.nodes.append(node)
    return node


def shapes(graph: Graph, node: Node) -> None:
    """Ask the layer for its tops' shapes; a top that names a bottom is that bottom."""
    found = node.layer.plan(node.bottom)
    if len(found) != len(node.spec.top):
        node.layer.fail(f"it makes {len(found)} tops, but {len(node.spec.top)} are named: {', '.join(node.spec.top)}")
    for index, (name, shape) in enumerate(zip(node.spec.top, found, strict=True)):
        if name in node.spec.bottom:
            blob = node.bottom[node.spec.bottom.index(name)]
            if not (node.layer.inplace or node.layer.shares) or blob.shape != tuple(shape):
                node.layer.fail(f"it cannot run in place on {name!r}; give its top a name of its own")
        elif index < len(node.top):  # a reshape: the blob stays, its shape changes
            blob = node.top[index]
            blob.reshape(*shape)
        else:
            blob = Blob(shape, name)
        graph.blobs[name] = blob
        if index < len(node.top):
            node.top[index] = blob
        else:
            node.top.append(blob)


def weights(graph: Graph, node: Node) -> None:
    """Give each weight its multipliers and, where its param has a name, its owner."""
    spec, layer = node.spec, node.layer
    if len(spec.param) > len(layer.weights):
        layer.fail(f"{len(spec.param)} param entries for {len(layer.weights)} weights")
    for index, weight in enumerate(layer.weights):
        inside = bool(weight.address[0])  # of a layer in a block, which has a home and rules of its own
        if not inside:
            weight.address = (spec.home or layer.name, index)
        known = graph.homes.setdefault(weight.address, weight)
        if known is not weight:  # another copy of this layer
            share(layer, weight, known, f"weight {index} of {spec.home!r}")
        if known is not weight or inside:
            continue
        param = spec.param_spec(index)
        if weight.learned:
            weight.lr_mult, weight.decay_mult = param.lr_mult, param.decay_mult
        elif param.lr_mult and "lr_mult" in param.written:
            layer.fail(f"weight {index} is no learned one, the layer computes it; leave out lr_mult, or give 0")
        if not param.name:
            continue
        owner = graph.owners.setdefault(param.name, weight)
        share(layer, weight, owner, f"shared param {param.name!r}", param.share_mode == "PERMISSIVE")


def share(layer: Layer, weight: Weight, owner: Weight, what: str, permissive: bool = False) -> None:
    """Make a weight another one, which has its shape; or, PERMISSIVE, its number of values."""
    if permissive and owner.count != weight.count:
        layer.fail(f"{what} has {owner.count} values in {owner.name!r}, here {weight.count}")
    if not permissive and owner.shape != weight.shape:
        layer.fail(f"{what} has shape {owner.shape} in {owner.name!r}, here {weight.shape}")
    weight.owner = owner.owner
    weight.lr_mult, weight.decay_mult = owner.lr_mult, owner.decay_mult


def decide_backward(graph: Graph, force: bool, given: Iterable[Blob] = ()) -> None:
    """Caffe's rule: a gradient flows where something below learns and something above is a loss.

    ``given`` are blobs of layers without bottoms whose gradient is wanted all the same.
    """
    asked = {id(blob) for blob in given}
    needs: dict[int, bool] = {}
    for node in graph.nodes:
        node.bottom_need = [needs.get(id(b), False) for b in node.bottom]
        for index, wanted in enumerate(node.spec.propagate_down):
            node.bottom_need[index] = wanted
        node.layer.param_propagate = [w.learned and (w.owner.lr_mult != 0.0 or force) for w in node.layer.weights]
        learns = any(node.layer.param_propagate)
        node.backward = any(node.bottom_need) or learns or (force and bool(node.bottom))
        if force:
            node.bottom_need = [True] * len(node.bottom)
        able = node.layer.differentiable
        if able is not None:
            node.bottom_need = [need and i in able for i, need in enumerate(node.bottom_need)]
            node.backward = node.backward and (learns or any(node.bottom_need))
        needs.update({id(b): node.backward or id(b) in asked for b in node.top})
    prune(graph.nodes, force)


def forward_only(graph: Graph) -> None:
    """Nobody asks for a gradient."""
    for node in graph.nodes:
        node.layer.propagate_down = node.bottom_need = [False] * len(node.bottom)
        node.layer.param_propagate = [False] * len(node.layer.weights)


def prune(nodes: Iterable[Node], force: bool) -> None:
    """Drop what no loss can reach, and what nobody below waits for; with ``force`` the user may set any top's diff."""
    under_loss: set[int] = set()
    skip: set[int] = set()
    for node in reversed(list(nodes)):
        contributes = force or any(node.loss_weight) or any(id(b) in under_loss for b in node.top)
        waited_for = any(id(b) not in skip for b in node.top)
        node.backward = node.backward and contributes and waited_for
        if not node.backward:
            node.bottom_need = [False] * len(node.bottom)
        for blob, need in zip(node.bottom, node.bottom_need, strict=True):
            if contributes:
                under_loss.add(id(blob))
            if need:
                skip.discard(id(blob))
            else:
                skip.add(id(blob))
        node.layer.propagate_down = node.bottom_need


def share_by_name(graph: Graph, other: Graph) -> None:
    """Make the weights that ``other`` has under the same names its own, as a test net shares a train net's."""
    for address, mine in graph.homes.items():
        theirs = other.homes.get(address)
        if theirs is None:
            continue
        if mine.shape != theirs.shape:
            raise ShapeError(f"layer {address[0]!r}: weights {mine.shape} here, {theirs.shape} in the train net")
        mine.owner = theirs.owner
    for node in graph.nodes:
        for weight in node.layer.weights:
            weight.owner = weight.owner.owner
