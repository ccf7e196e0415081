"""Which layers may write their top over their bottom, though the user gave it a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..layer import REGISTRY
from ..spec import LayerSpec, NetSpec


def plan_inplace(spec: NetSpec, keep: Iterable[str] = (), backward: bool = True) -> frozenset[str]:
    """Names of the layers whose first top may take the memory of their first bottom.

    Nobody else may read that memory: not another layer, not the user (blobs in ``keep``, and what layers without
    bottoms make), and, unless the net never runs ``backward``, not the backward pass of the layer or of its producer.
    Run it after :func:`insert_splits`.
    """
    readers = Counter(blob for layer in spec.layers for blob in layer.bottom)
    makers: dict[str, LayerSpec] = {}
    kept, chosen = set(keep), set()

    def free(blob: str) -> bool:
        """The blob's memory is nobody's once its one reader has read it."""
        maker = makers[blob]
        known = REGISTRY[maker.type]
        if blob in kept or readers[blob] > 1 or not maker.bottom or any(maker.loss_weights()):
            return False
        if backward and "top" in known.backward_needs:
            return False
        if known.shares:  # the same memory is also its bottom, and perhaps a sibling's top
            return len(maker.top) == 1 and free(maker.bottom[0])
        return True

    for layer in spec.layers:
        known = REGISTRY[layer.type]
        if (
            known.inplace
            and layer.bottom
            and layer.top
            and not set(layer.bottom) & set(layer.top)
            and not (backward and "bottom" in known.backward_needs)
            and free(layer.bottom[0])
        ):
            chosen.add(layer.name)
        makers.update(dict.fromkeys(layer.top, layer))
    return frozenset(chosen)
