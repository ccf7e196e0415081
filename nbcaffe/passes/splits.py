"""A blob that several layers read gets a Split, whose backward pass adds up their gradients."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..spec import LayerSpec, NetSpec, builtin, producers
from .apart import keep_apart


def insert_splits(spec: NetSpec) -> NetSpec:
    """Put a Split behind each top that is read more than once.

    A top with a ``loss_weight`` counts as read by the loss as well; the weight then moves to the Split's first top.
    """
    spec = keep_apart(spec)
    sources = producers(spec.layers)
    readers = Counter(source for layer in sources for source in layer)
    taken: Counter = Counter()  # tops of each Split that have found their reader
    layers: list[LayerSpec] = []
    for index, layer in enumerate(spec.layers):
        bottom = list(layer.bottom)
        for position, source in enumerate(sources[index]):
            if source and source in taken:
                bottom[position] = _top_name(spec.layers[source[0]], source[1], taken[source])
                taken[source] += 1
        weights = list(layer.loss_weight)
        splits = []
        for t in range(len(layer.top)):
            weight = weights[t] if t < len(weights) else 0.0
            count = readers[index, t] + (weight != 0.0)
            if readers[index, t] and count > 1:
                splits.append(_split(layer, t, count, weight))
                taken[index, t] = int(weight != 0.0)
                weights[t : t + 1] = [0.0] if weights else []
        layers += [replace(layer, bottom=tuple(bottom), loss_weight=tuple(weights)), *splits]
    return replace(spec, layers=tuple(layers))


def _split(layer: LayerSpec, t: int, count: int, weight: float) -> LayerSpec:
    tops = tuple(_top_name(layer, t, k) for k in range(count))
    loss_weight = (weight, *[0.0] * (count - 1)) if weight else ()
    bottom = (layer.top[t],)
    return builtin(LayerSpec(_name(layer, t), "Split", bottom, tops, loss_weight=loss_weight, where=layer.where))


def _name(layer: LayerSpec, t: int) -> str:
    return f"{layer.top[t]}_{layer.name}_{t}_split"


def _top_name(layer: LayerSpec, t: int, k: int) -> str:
    return f"{_name(layer, t)}_{k}"
