"""Pairs of layers that become one computation, where nobody can see what lay between them."""

from collections import Counter

from .graph import Graph, Node
from .layers.embed import Embed


def fuse(graph: Graph) -> None:
    """Fold what can be folded; run it on a planned graph, before memory is laid out.

    Embed into the InnerProduct, or recurrent layer, that is the only one to read its top: legal where the gradient of
    that top is read by nobody else, so not in nets that keep every blob, and where no layer changes shapes in a pass.
    """
    if any(node.layer.resizes for node in graph.nodes):
        return
    readers = Counter(id(blob) for node in graph.nodes for blob in node.bottom)
    for node in graph.nodes:
        if isinstance(node.layer, Embed) and readers[id(node.top[0])] == 1 and not any(node.loss_weight):
            fold_embedding(node, graph)


def fold_embedding(node: Node, graph: Graph) -> None:
    """Let the reader of an Embed's top take over both passes of the pair, if it gains by that."""
    blob = node.top[0]
    reader = next(other for other in graph.nodes if any(b is blob for b in other.bottom))
    place = next(i for i, b in enumerate(reader.bottom) if b is blob)
    if node.folded:  # before a reshape
        node.backward, node.folded = True, False
        reader.bottom_need[place] = True
    if reader.bottom_need[place] and reader.layer.embed(place, node.layer):
        reader.bottom_need[place] = False  # the reader gives the Embed's weights their gradient itself
        node.backward, node.folded = False, True
