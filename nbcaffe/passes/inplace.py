"""Which layers may write their top over their bottom, though the user gave it a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..layer import REGISTRY
from ..spec import LayerSpec, NetSpec, is_source, producers


def plan_inplace(spec: NetSpec, keep: Iterable[str] = ()) -> frozenset[str]:
    """Names of the layers whose first top may take the memory of their first bottom.

    Nobody else may need that memory: no other layer, no loss, not the user (blobs in ``keep``, and what data layers
    and inputs make), not the backward pass of the layer or of the one before.  Run it after :func:`insert_splits`.
    """
    sources = producers(spec.layers)
    readers = Counter(source for layer in sources for source in layer)
    kept = set(keep)
    chosen = set()
    for layer, source in zip(spec.layers, sources, strict=True):
        if not source or source[0] is None or not wants_it(layer) or kept & {layer.bottom[0], layer.top[0]}:
            continue
        index, t = source[0]
        if readers[index, t] == 1 and may_lose(spec.layers[index], t):
            chosen.add(layer.name)
    return frozenset(chosen)


def wants_it(layer: LayerSpec) -> bool:
    """One blob in, one blob out, and no look at the input in the backward pass."""
    kind = REGISTRY[layer.type]
    apart = len(layer.bottom) == len(layer.top) == 1 and layer.bottom != layer.top
    return kind.inplace and apart and "bottom" not in kind.backward_needs


def may_lose(maker: LayerSpec, t: int) -> bool:
    """Whether the maker of a top is done with its values once they are read; a view's are somebody else's, too."""
    kind = REGISTRY[maker.type]
    counts = any(maker.loss_weight[t : t + 1]) or (kind.loss and t == 0)
    return not (is_source(kind) or kind.shares or counts or "top" in kind.backward_needs)
