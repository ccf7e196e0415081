"""A whole net: each layer at the shapes it has there, and the gradient of the loss by all weights together."""

from collections.abc import Iterable, Iterator
from math import prod

import numpy as np
from rich.console import Console
from rich.table import Table

from ..blob import Weight
from ..graph import Node
from ..layer import REGISTRY, Layer
from ..net import Net
from .case import Case
from .table import CHECKS, examine

BATCH = 2
SMALL = 2000  # elements; in Python, or in the simulator, larger layers take minutes
ONLY_SMALL = {"owned writes", "cpu = cuda", "NaN", "shapes"}
STEPS = (1e-6, 1e-7, 1e-5)  # of the difference: one may meet a kink, a smaller or larger one need not
TOLERANCE = 1e-4


def check_net(path: str, overrides: Iterable[str] = ()) -> list[str]:
    """Print a table of the net's layers and its gradient; return the faults as sentences."""
    net = small(Net(path, dtype=np.float64, overrides=tuple(overrides)))
    table = Table(title=f"{net.name}, batch of {BATCH}", title_justify="left")
    for heading in ("layer", "type", "checks", "failed"):
        table.add_column(heading)
    faults = []
    for name, case in cases(net):
        chosen = [c for c in CHECKS if c.name not in ONLY_SMALL or sum(map(prod, case.shapes)) <= SMALL]
        found = {check.name: finding for check in chosen if (finding := examine(check, case))}
        wrong = [check for check, finding in found.items() if not finding.passed]
        table.add_row(name, case.kind, str(len(found)), ", ".join(wrong))
        faults += [f"layer {name!r} ({case.kind}): {check}: {found[check].fault}" for check in wrong]
    Console().print(table)
    return faults + gradient(net)


def small(net: Net) -> Net:
    """The net with few items a batch, random inputs and one pass done."""
    if net.sources:
        net.set_batch(BATCH)
    if all(net.blobs[name].shape for name in net.inputs) and net.inputs:
        for name in net.inputs:
            net.blobs[name].reshape(min(BATCH, net.blobs[name].num), *net.blobs[name].shape[1:])
        net.reshape()
    rng = np.random.default_rng(7)
    for name in net.inputs:
        kind, index = reader(net, name)
        net.device.upload(net.blobs[name].data, REGISTRY[kind].sample(index, net.blobs[name].shape, rng))
    for weight in net.parameters:  # off the kinks that zeros lie on
        start = net.device.download(weight.data)
        net.device.upload(weight.data, start + 0.01 * rng.standard_normal(weight.shape))
    net.forward()
    return net


def reader(net: Net, name: str) -> tuple[str, int]:
    """Type of the layer that reads a blob, and as which bottom; behind splits."""
    for node in net.graph.nodes:
        if name in node.spec.bottom:
            if node.spec.type == "Split":
                return reader(net, node.spec.top[-1])
            return node.spec.type, node.spec.bottom.index(name)
    return "Silence", 0


def cases(net: Net) -> Iterator[tuple[str, Case]]:
    """Each layer that reads something, those of one kind and shape once."""
    seen = set()
    for node in net.graph.nodes:
        given = repr(sorted(node.spec.params.items())) + repr(node.spec.block)
        key = (node.spec.type, given, tuple(b.shape for b in node.bottom))
        if not node.bottom or node.spec.type == "Split" or key in seen:
            continue
        seen.add(key)
        shapes = [blob.shape for blob in node.bottom]
        example = {**node.spec.given, "bottom": shapes, "num_top": len(node.top), "phase": node.layer.phase}
        case = Case(kind(node), example)
        real = [net.device.download(blob.data).copy() for blob in node.bottom]
        vars(case)["values"] = [  # labels must be classes; other values are random, since real ones tie
            value if (value == np.round(value)).all() and not able(case, index) else case.values[index]
            for index, value in enumerate(real)
        ]
        yield node.spec.name, case


def kind(node: Node) -> str | type[Layer]:
    """The node's type; of an unroll block, a type with its step."""
    if node.spec.block is None:
        return node.spec.type
    own = {"block": node.spec.block, "differentiable": node.layer.differentiable}
    return type(node.spec.type, (type(node.layer),), own, abstract=True)


def able(case: Case, index: int) -> bool:
    return case.cls.differentiable is None or index in case.cls.differentiable


def gradient(net: Net) -> list[str]:
    """The loss along a random direction of all weights; where that is wrong, along one for each layer."""
    learning = {
        node.spec.name: [w for w, wanted in zip(node.layer.weights, node.layer.param_propagate, strict=True) if wanted]
        for node in net.graph.nodes
        if node.backward
    }
    weights = [w for group in learning.values() for w in group if w.owner is w]
    if not weights:
        print("no layer of this net learns: its gradient was not checked")
        return []
    net.clear_param_diffs()
    walk(net)
    net.run_backward()
    diffs = {id(w): net.device.download(w.diff).copy() for w in weights}
    error = slope_error(net, weights, diffs)
    print(f"gradient of the loss by {sum(w.count for w in weights):,} weights: relative error {error:.0e}")
    if error <= TOLERANCE:
        return []
    errors = {name: slope_error(net, [w for w in group if w.owner is w], diffs) for name, group in learning.items()}
    wrong = [f"{name!r} ({error:.0e})" for name, error in errors.items() if not error <= TOLERANCE]
    last = f"; the fault is in the last of them or above it: {wrong[-1]}" if wrong else ""
    return [f"net {net.name!r}: the loss's gradient is wrong by the weights of {', '.join(wrong) or 'all'}{last}"]


def slope_error(net: Net, weights: list[Weight], diffs: dict[int, np.ndarray]) -> float:
    rng = np.random.default_rng(11)
    ways = [rng.standard_normal(w.shape) for w in weights]
    analytic = sum(float((diffs[id(w)] * way).sum()) for w, way in zip(weights, ways, strict=True))
    starts = [net.device.download(w.data).copy() for w in weights]
    errors = []
    for step in STEPS:
        ends = []
        for sign in (1.0, -1.0):
            for weight, start, way in zip(weights, starts, ways, strict=True):
                net.device.upload(weight.data, start + sign * step * way)
            walk(net)
            ends.append(net.loss())
        numeric = (ends[0] - ends[1]) / (2.0 * step)
        errors.append(abs(numeric - analytic) / max(abs(numeric), abs(analytic), 1e-6 * abs(ends[0]), 1e-12))
        if errors[-1] <= TOLERANCE:
            break
    for weight, start in zip(weights, starts, strict=True):
        net.device.upload(weight.data, start)
    return min(errors)


def walk(net: Net) -> None:
    """A forward pass on the same data: sources, which would read the next batch, are left out."""
    for index, node in enumerate(net.graph.nodes):
        if node.bottom:
            net.run_forward(index, index)
