"""The memory of weights and their gradients: each side by side in one flat arena, so that an update is one pass."""

from collections import defaultdict
from typing import Any

from .blob import Weight
from .device import Device
from .graph import Graph

MOVED, UNMOVED, LATE = range(3)  # weights in the order of their arena


def parameter_arenas(graph: Graph, device: Device, dtype: Any, gradients: bool) -> tuple[Any, Any, list, list[Weight]]:
    """One arena of data and one of diffs, weights with the same multipliers side by side: one update launch a rule.

    Those that get no gradient stand behind the others, which are cleared and measured together; then come those whose
    gradient is late, which have no diff and no rule.
    """
    own = [w for w in graph.learnable if w._data is None]
    layers = [node.layer for node in graph.nodes]
    wanted = {id(w.owner) for a in layers for w, yes in zip(a.weights, a.param_propagate, strict=True) if yes}
    groups: dict[tuple[int, float, float], list[Weight]] = defaultdict(list)
    for weight in own:
        place = LATE if weight.late else MOVED if id(weight) in wanted else UNMOVED
        groups[place, weight.lr_mult, weight.decay_mult].append(weight)
    order, rules, at, ends = [], [], 0, [0, 0, 0]
    for (place, *multipliers), members in sorted(groups.items(), key=lambda group: group[0][0]):
        first = at
        for weight in members:
            weight.offset = at
            at += -(-weight.count // 16) * 16
            order.append(weight)
        if place != LATE:
            rules.append((*multipliers, first, at))
        ends[place:] = [at] * (LATE + 1 - place)
    data = device.zeros(max(at, 1), dtype)
    diff: Any = device.zeros(max(ends[UNMOVED], 1), dtype) if gradients else None
    for weight in order:
        low, high = weight.offset, weight.offset + weight.count
        weight._data = data[low:high].reshape(weight.shape)
        if gradients and not weight.late:
            weight._diff = diff[low:high].reshape(weight.shape)
    follow_owners(graph, device, gradients)
    return data, diff if diff is None else diff[: max(ends[MOVED], 1)], rules, order


def gradient_arena(graph: Graph, weights: list[Weight], device: Device, data: Any) -> tuple[Any, list]:
    """Diffs of all weights, those that were late, too, and the rules of all."""
    diff = device.zeros(data.shape, data.dtype)
    for weight in weights:
        weight.late, weight._diff = False, diff[weight.offset : weight.offset + weight.count].reshape(weight.shape)
    follow_owners(graph, device, True)
    return diff, [(w.lr_mult, w.decay_mult, w.offset, w.offset + w.count) for w in weights]


def follow_owners(graph: Graph, device: Device, gradients: bool) -> None:
    """Weights that are another layer's have that one's memory; a late one of another net has no diff to share."""
    for node in graph.nodes:
        for weight in node.layer.weights:
            owner = weight.owner
            if owner is not weight:
                diff = device.zeros(owner.shape, owner._data.dtype) if owner.late and gradients else owner._diff
                weight._data = owner._data.reshape(weight.shape)
                weight._diff = None if diff is None else diff.reshape(weight.shape)
