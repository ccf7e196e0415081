"""Pairs of layers that become one computation, where nobody can see what lay between them."""

from collections import Counter

from .elementwise import Elementwise
from .graph import Graph, Node
from .layers.embed import Embed


def fuse(graph: Graph) -> None:
    """Fold what can be folded; run it on a planned graph, before memory is laid out.

    Embed into the InnerProduct, or recurrent layer, that is the only one to read its top: legal where the gradient of
    that top is read by nobody else, so not in nets that keep every blob, and where no layer changes shapes in a pass.

    Scale into the BatchNorm in front of it: legal where it alone reads that top, and where both go backward or neither.

    An activation without weights into the convolution, InnerProduct or Pooling whose top it overwrites, the forward
    pass only: legal where nobody reads that top before it is overwritten, as a plan promises.
    """
    if any(node.layer.resizes for node in graph.nodes):
        return
    for index, node in enumerate(graph.nodes):
        after = graph.nodes[index + 1 :] if node.top and not any(node.loss_weight) else ()
        later = [other for other in after if any(blob is node.top[0] for blob in other.bottom)]
        if not later:
            continue
        first, *others = later
        if isinstance(node.layer, Embed) and not others:
            fold_embedding(node, graph)
        elif first.spec.type == "Scale" and (not others or first.top[0] is node.top[0]):
            fold_scale(node, first)
        elif first.top[:1] and (first.inplace or first.top[0] is node.top[0]):
            plain = isinstance(first.layer, Elementwise) and not first.layer.weights and first.layer.finite
            first.finished = plain and node.layer.finish(first.layer)


def postpone_gradients(graph: Graph) -> None:
    """Mark the weights that are updated by a gradient that is never whole; after :func:`fuse`, before they are placed.

    Legal where the caller updates once after each backward pass by that pass's gradient alone, and where no other
    layer has the weight.
    """
    if any(node.layer.resizes for node in graph.nodes):
        return
    uses = Counter(id(weight.owner) for node in graph.nodes for weight in node.layer.weights)
    for node in graph.nodes:
        for weight in node.layer.postpone() if node.backward else ():
            weight.late = uses[id(weight)] == 1  # they are none where it is another layer's


def fold_scale(node: Node, scale: Node) -> None:
    """Let a BatchNorm take over both passes of the Scale behind it; their tops are one piece of memory then."""
    if scale.finished:  # before a reshape
        scale.backward = scale.backward or scale.folded
        scale.inplace = scale.finished = scale.folded = False
    if node.backward == scale.backward and node.layer.scaled_by(scale.layer):
        scale.inplace = scale.finished = True
        scale.backward, scale.folded = False, scale.backward
        scale.layer.buffers.clear()  # no copy of the bottom, no sums


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
