"""Where the blobs of a recurrent layer's steps lie: side by side along time, in a sequence's own memory if they can."""

import re
from collections.abc import Callable, Sequence

from ..blob import Blob, Buffer
from ..graph import Node
from .eltwise import Eltwise
from .folding import ARRAYS, Place
from .inner_product import InnerProduct
from .sequence import InitialState

Key = tuple[str, int | None, str]  # block, time and name of what stands in a step


class Layout:
    """The place of every blob that ``nodes`` make, and the nodes that need not run because of it.

    ``inputs`` and ``outputs`` are blobs of the layer around; ``buffer`` declares memory of its own.
    """

    def __init__(
        self, nodes: Sequence[Node], inputs: Sequence[Blob], outputs: Sequence[Blob], buffer: Callable[..., Buffer]
    ):
        self.nodes, self.outputs, self.buffer = nodes, outputs, buffer
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
        self.start_products()
        owned = {id(blob) for blob in (*inputs, *outputs)}
        inner = {id(blob): blob for node in self.nodes for blob in node.top if id(blob) not in owned}
        for node in self.nodes:
            slots = {"": (), "data": ARRAYS[:1], "both": ARRAYS}[node.layer.shares]
            for blob in node.top:
                for slot in slots if id(blob) in inner and blob is not node.bottom[0] else ():
                    self.places[slot].setdefault(id(blob), Place(node.bottom[0], 0))
        self.own_memory([*inner.values()])

    def skip_splits(self) -> None:
        """A Split with one reader that can pass a gradient on has nothing to add up."""
        readers = {id(blob): node.layer for node in self.nodes for blob in node.bottom}
        for node in self.nodes:
            if node.spec.type == "Split" and not any(top is out for top in node.top for out in self.outputs):
                live = [top for top in node.top if id(top) in readers and readers[id(top)].differentiable != ()]
                if len(live) == 1:
                    self.silent.add(id(node))
                    self.places["_diff"].setdefault(id(live[0]), Place(node.bottom[0], 0))

    def start_products(self) -> None:
        """Where a product of the state is one of two addends, it starts from the other one: the sum needs no pass."""
        made: dict[int, tuple[int, Node]] = {}
        free = {id(blob) for blob in self.cut()}  # what depends on inputs alone
        zeros = {id(n.top[0]) for n in self.nodes if isinstance(n.layer, InitialState) and n.layer.zeros}
        for index, node in enumerate(self.nodes):
            if node.bottom and all(id(blob) in free for blob in node.bottom):
                free |= {id(blob) for blob in node.top}
            if isinstance(node.layer, Eltwise) and node.layer.plain_sum and len(node.bottom) == 2:
                addends = [(*made.get(id(blob), (index, node)), blob) for blob in node.bottom]
                (_, first, other), (_, last, blob) = sorted(addends, key=lambda addend: addend[0])
                placed = any(id(b) in self.places["_diff"] for b in node.bottom)
                mine = isinstance(last.layer, InnerProduct) and last.layer.can_start and id(last.bottom[0]) not in free
                if mine and first is not node and not first.layer.overwriting and not placed:
                    vars(last.layer).update(start=other, of_zeros=id(last.bottom[0]) in zeros)
                    self.silent.add(id(node))
                    self.places["_data"][id(blob)] = Place(node.top[0], 0)
                    self.places["_diff"].update({id(b): Place(node.top[0], 0) for b in node.bottom})
            made.update({id(blob): (index, node) for blob in node.top})

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

    def groups(self, block_name: str, steps: int) -> list[list[Node]]:
        """The copies of each layer of the step, in the order of time."""
        found: dict[tuple[str, str], dict[int, Node]] = {}
        for node in self.nodes:
            named = node.bottom[0] if node.spec.type == "Split" else None
            block, time, name = self.keys.get(id(named)) or split_name(node.spec.name)
            if block == block_name and time is not None and node.top and id(node) not in self.silent:
                found.setdefault((node.spec.type if named else "", name), {})[time] = node
        return [[node for _, node in sorted(one.items())] for one in found.values() if len(one) == steps]

    def cut(self) -> list[Blob]:
        """What sequences are cut into."""
        return [b for node in self.nodes if id(node) in self.silent and node.spec.type == "Unstack" for b in node.top]

    def joined(self) -> list[Blob]:
        """What sequences are made of."""
        return [b for node in self.nodes if id(node) in self.silent and node.spec.type == "Stack" for b in node.bottom]


def root(blob: Blob, below: dict[int, Blob]) -> Blob:
    """The blob whose memory this one shares."""
    while id(blob) in below:
        blob = below[id(blob)]
    return blob


def split_name(name: str) -> Key:
    """``rnn/3/h`` is blob h of step 3 of block rnn."""
    found = re.fullmatch(r"(.*)/(\d+)/(.*)", name)
    return (found[1], int(found[2]), found[3]) if found else ("", None, name)
