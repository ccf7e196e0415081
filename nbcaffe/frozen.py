"""Which layers of a bound net learn, and how far down its backward pass goes."""

from .graph import Graph, Node


def is_frozen(node: Node) -> bool:
    """Whether the layer has weights that could learn, and none that does."""
    weights = node.layer.weights
    able = node.spec.frozen or any(weight.learned for weight in weights)
    return bool(weights) and able and not any(weight.lr_mult for weight in weights)


def learning(graph: Graph) -> str:
    """A line like ``learning: ip1, ip2; frozen: conv1, conv2; the backward pass ends at ip1``."""
    learns = dict.fromkeys(w.address[0] for node in graph.nodes for w in node.layer.weights if w.lr_mult)
    frozen = dict.fromkeys(w.address[0] for node in filter(is_frozen, graph.nodes) for w in node.layer.weights)
    lowest = next((n.layer.name for n in graph.nodes if (n.backward or n.folded) and n.spec.type != "Split"), "")
    parts = (("learning: ", ", ".join(learns)), ("frozen: ", ", ".join(frozen)), ("the backward pass ends at ", lowest))
    return "; ".join(start + rest for start, rest in parts if rest)
