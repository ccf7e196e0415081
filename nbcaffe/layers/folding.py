"""All time steps at once, where the state does not stand in between: one product over T x N rows in the place of T.

A layer of the step that treats each sample by itself, and whose blobs lie side by side in time, can run over all T N
samples in one go.  Three kinds of layers do: those that depend on inputs alone (before the first step), those that no
state depends on (after the last step), and of the others all that have weights, whose gradient is one sum over time.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from ..blob import Blob, Buffer
from ..graph import Node
from ..layer import Layer
from .scale import Broadcast


class Place(NamedTuple):
    """Where a blob begins: in another one's memory or in work space, so many values from its start."""

    owner: Blob | Buffer
    first: int


Find = Callable[[Blob, str], Place]
ARRAYS = ("_data", "_diff")


def array(place: Place, shape: tuple[int, ...], slot: str) -> Any:
    """The array of this shape at a place; None where its owner has none."""
    whole = place.owner.data if isinstance(place.owner, Buffer) else getattr(place.owner, slot)
    return None if whole is None else whole.reshape(whole.size)[place.first : place.first + prod(shape)].reshape(shape)


class Whole:
    """A layer over some steps at once, in the place of its copies ``nodes``, one for each of these steps."""

    def __init__(self, nodes: Sequence[Node], find: Find, weights_only: bool = False):
        first = nodes[0]
        self.nodes, self.find, self.weights_only = nodes, find, weights_only
        self.bottom, self.top = self.blobs("bottom"), self.blobs("top")
        layer = first.layer
        self.layer = type(layer)(layer.name, layer.phase, layer.where, **first.spec.params)
        for name in ("dtype", "target", "seed", "key", "states", "num_tops", "top_names", "overwriting"):
            setattr(self.layer, name, getattr(layer, name))
        shapes = self.layer.plan(self.bottom)
        self.fits = [tuple(shape) for shape in shapes] == [blob.shape for blob in self.top] and all(
            mine.shape == theirs.shape for mine, theirs in zip(self.layer.weights, layer.weights, strict=True)
        )

    def blobs(self, side: str) -> list[Blob]:
        """Blobs that are all steps' one after another; a blob in place stays one."""
        first = getattr(self.nodes[0], side)
        return [Blob((len(self.nodes) * blob.shape[0], *blob.shape[1:]), blob.name) for blob in first]

    def attach(self) -> None:
        """Take the memory that the steps have, and their weights."""
        first = self.nodes[0]
        for side, blobs in (("bottom", self.bottom), ("top", self.top)):
            for blob, one in zip(blobs, getattr(first, side), strict=True):
                for slot in ARRAYS if side == "top" or not self.weights_only else ARRAYS[:1]:
                    setattr(blob, slot, array(self.find(one, slot), blob.shape, slot))
        for mine, theirs in zip(self.layer.weights, first.layer.weights, strict=True):
            mine._data, mine._diff = theirs._data, theirs._diff
        self.layer.clock = first.layer.clock

    def forward(self) -> None:
        self.layer.forward(self.bottom, self.top)

    def decide(self) -> None:
        """What the steps owe together: a bottom's gradient is wanted if one step's is."""
        backward = [node for node in self.nodes if node.backward]
        needs = zip(*(node.bottom_need for node in self.nodes), strict=True)
        self.layer.propagate_down = [any(need) for need in needs]
        self.layer.param_propagate = list(backward[0].layer.param_propagate) if backward else []

    def backward(self) -> None:
        if any(node.backward for node in self.nodes):
            self.layer.backward(self.bottom, self.top)

    def weights_backward(self) -> None:
        """The gradient of the weights alone."""
        self.layer.propagate_down = [False] * len(self.bottom)
        if any(self.layer.param_propagate):
            self.layer.backward(self.bottom, self.top)

    def take_over(self) -> None:
        """From here on the steps leave the weights' gradient to this one."""
        self.layer.param_propagate = list(self.nodes[0].layer.param_propagate)
        for node in self.nodes:
            node.layer.param_propagate = [False] * len(node.layer.param_propagate)


class Folding:
    """Which layers of a step run over several steps at once."""

    def __init__(self, groups: Iterable[Sequence[Node]], inputs: Iterable[Blob], outputs: Iterable[Blob], find: Find):
        self.find = find
        groups = [group for group in groups if len(group) > 1 and all(map(by_sample, group))]
        self.before: list[Whole] = []
        ready = {id(blob) for blob in inputs}
        for group in groups:
            if all(id(blob) in ready for node in group for blob in node.bottom) and self.side_by_side(group):
                whole = Whole(group, find)
                if whole.fits:
                    self.before.append(whole)
                    ready |= {id(blob) for node in group for blob in node.top}
        self.after = self.found_after(groups, {id(blob) for blob in outputs})
        taken = self.folded
        left = (group for group in groups if id(group[0]) not in taken)
        self.repeated = [group for group in left if group[0].layer.repeat([node.layer for node in group[1:]])]
        self.weights: list[Whole] = []
        for group in groups:
            if id(group[0]) not in taken and group[0].layer.weights:
                self.weights += filter(
                    self.stateless, (Whole(run, find, weights_only=True) for run in self.runs(group))
                )

    def found_after(self, groups: Sequence[Sequence[Node]], ends: set[int]) -> list[Whole]:
        """Layers whose tops only such layers and outputs read; after splits, each blob has one reader."""
        taken = {id(node) for whole in self.before for node in whole.nodes}
        found: list[Whole] = []
        for group in reversed(groups):
            tops = {id(blob) for node in group for blob in node.top}
            added = getattr(group[0].layer, "start", None) is not None  # to what a step makes
            if tops and tops <= ends and not added and id(group[0]) not in taken and self.side_by_side(group):
                whole = Whole(group, self.find)
                if whole.fits:
                    found.insert(0, whole)
                    ends = ends | {id(blob) for node in group for blob in node.bottom}
        return found

    @property
    def folded(self) -> set[int]:
        """Nodes that do not run step by step."""
        return {id(node) for whole in (*self.before, *self.after) for node in whole.nodes}

    def adjoins(self, blob: Blob, after: Blob, slot: str) -> bool:
        """Whether one blob's array follows another's in memory."""
        place = self.find(blob, slot)
        return self.find(after, slot) == (place.owner, place.first + blob.count)

    def side_by_side(self, group: Sequence[Node]) -> bool:
        """Whether every blob of these nodes follows its predecessor's in memory."""
        pairs = (
            (b, a) for node, after in pairwise(group) for b, a in zip(blobs_of(node), blobs_of(after), strict=True)
        )
        return all(self.adjoins(b, a, slot) for b, a in pairs for slot in ARRAYS)

    def runs(self, group: Sequence[Node]) -> list[Sequence[Node]]:
        """The longest parts of a group, of at least two steps, that lie side by side."""
        found, start = [], 0
        for end in range(1, len(group) + 1):
            if end == len(group) or not self.follows(group[end - 1], group[end]):
                if end - start > 1:
                    found.append(group[start:end])
                start = end
        return found

    def follows(self, node: Node, after: Node) -> bool:
        pairs = [(b, a, "_data") for b, a in zip(node.bottom, after.bottom, strict=True)]
        pairs += [(b, a, slot) for b, a in zip(node.top, after.top, strict=True) for slot in ARRAYS]
        return all(self.adjoins(b, a, slot) for b, a, slot in pairs)

    @staticmethod
    def stateless(whole: Whole) -> bool:
        """Whether its backward pass needs nothing that its forward pass would have kept."""
        return whole.fits and not any(buffer.keep for buffer in whole.layer.buffers)

    @property
    def wholes(self) -> list[Whole]:
        return [*self.before, *self.after, *self.weights]


def blobs_of(node: Node) -> tuple[Blob, ...]:
    return (*node.bottom, *node.top)


def by_sample(node: Node) -> bool:
    """Whether the first axis of all its blobs counts samples, each of which is computed by itself."""
    layer: Layer = node.layer
    sizes = {blob.shape[:1] for blob in blobs_of(node)}
    if not layer.per_sample or len(sizes) > 1 or sizes == {()}:
        return False
    first = layer.axis_of(node.bottom[0], getattr(layer, "axis", 1)) if len(node.bottom[0].shape) > 1 else 1
    by_factors = isinstance(layer, Broadcast) and len(node.bottom) == 2  # then those differ along the axis
    return (first == 0) == by_factors
