"""Nets that are edited while they live: the file is read again; weights, data position and random numbers stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .layer import REGISTRY
from .passes.imports import forgotten
from .weights import Report

if TYPE_CHECKING:
    from .net import Net


def position(net: Net) -> dict[str, Any]:
    """Where a net's random numbers and data stand, and what it carries from one batch to the next."""
    cursors = {name: [int(n) for n in source.cursor] for name, source in net.sources.items()}
    states = {name: net.device.download(kept.data).tolist() for name, kept in net.graph.states.items()}
    place = {"clock": int(net.device.download(net.clock)[0]), "cursors": cursors}
    return place | ({"states": states} if states else {})


def move_to(net: Net, place: dict[str, Any]) -> None:
    net.device.upload(net.clock, place["clock"])
    for name, cursor in place["cursors"].items():
        net.sources[name].cursor = tuple(cursor)
    for name, values in place.get("states", {}).items():
        kept = net.graph.states.get(name)
        if kept is not None and np.shape(values) == kept.shape:
            net.device.upload(kept.data, np.asarray(values, net.dtype))


@contextmanager
def or_as_before() -> Iterator[None]:
    """Take back the layer types that were defined inside, if what is inside fails."""
    before = dict(REGISTRY)
    try:
        yield
    except BaseException:
        REGISTRY.clear()
        REGISTRY.update(before)
        raise


def reload(net: Net) -> Report:
    """Build ``net`` anew from its file and carry over what still fits; see :meth:`nbcaffe.Net.reload`."""
    with or_as_before(), forgotten(net.spec.imports):
        new = type(net)(**net.made_of)
    report = carry_weights(net, new)
    place = position(net)
    old, now = net.sources, new.sources
    for name in old.keys() & now.keys():
        if hasattr(now[name], "set_arrays") and old[name].size and old[name].shape == now[name].shape:
            now[name].set_arrays(old[name].data, old[name].labels)
    # a set of another size has another order: it starts from its first sample
    fits = {n for n in old.keys() & now.keys() if type(old[n]) is type(now[n]) and old[n].size == now[n].size}
    move_to(new, {**place, "cursors": {name: place["cursors"][name] for name in fits}})
    vars(net).update(vars(new))
    return report


def carry_weights(old: Net, new: Net) -> Report:
    """Copy the weights of layers whose name and shapes both nets have."""
    report = Report(unused=[name for name in old.params if name not in new.params])
    for name, weights in new.params.items():
        before = old.params.get(name, [])
        if [w.shape for w in before] == [w.shape for w in weights]:
            for weight, source in zip(weights, before, strict=True):
                new.device.upload(weight.data, old.device.download(source.data))
            report.matched.append(name)
        else:
            report.missing.append(name)
    return report
