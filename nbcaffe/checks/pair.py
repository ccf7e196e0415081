"""One net twice, on two targets or by two engines, layer by layer with the same input: which one differs first?

After cxxnet's PairTest.  Each layer of the second net gets the first one's bottoms and top diffs, so what its row shows
is its own doing, and not what came down to it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..blob import Blob
from ..errors import ConfigError
from ..graph import Node
from ..layer import REGISTRY
from ..net import Net
from ..netfile import read_net
from ..ops.choose import CONV_CHOICES
from ..params import did_you_mean
from ..spec import LayerSpec
from .finding import Finding, compare
from .net import reader

TARGETS = ("cpu", "cuda", "sim")
ITERATIONS = 3
BATCH = 2  # in the simulator
TOLERANCE = 1e-4
RATE = 0.01

Errors = dict[str, dict[str, float]]  # layer -> top, bottom diff, weight diff -> largest relative difference


def pair(path: str, names: str, overrides: Iterable[str] = ()) -> list[str]:
    """Run both nets, print a row a layer, and return a sentence about the first that differs."""
    two = tuple(name.strip() for name in names.split(","))
    first, second = nets(path, two, tuple(overrides))
    errors: Errors = defaultdict(dict)
    faults = []
    for iteration in range(ITERATIONS):
        fault = iterate(first, second, errors)
        if fault:
            faults.append(f"{' and '.join(two)} differ in iteration {iteration + 1}, first in {fault}")
            break
        step(first, second)
    table = Table(title=f"{first.name}: {two[1]} against {two[0]}, largest relative difference", title_justify="left")
    columns = ("top", "bottom diff", "weight diff")
    for heading in ("layer", "type", *columns):
        table.add_column(heading)
    for node in first.graph.nodes:
        row = errors[node.spec.name]
        if row and node.spec.type != "Split":
            table.add_row(node.spec.name, node.spec.type, *(f"{row[c]:.0e}" if c in row else "" for c in columns))
    Console().print(table)
    return faults


def nets(path: str, two: tuple[str, ...], overrides: tuple[str, ...]) -> tuple[Net, Net]:
    """The net on both targets, or with both engines in each layer that has the choice."""
    known = (*TARGETS, *CONV_CHOICES)
    for name in two:
        if name not in known:
            raise ConfigError(f"check --pair: {name!r} is no target or engine{did_you_mean(name, known)}")
    if len(two) != 2 or (two[0] in TARGETS) != (two[1] in TARGETS):
        raise ConfigError("check --pair: name two targets, such as cpu,sim, or two engines, such as DIRECT,BLAS")
    if two[0] in TARGETS:
        made = [Net(path, device=name, overrides=overrides) for name in two]
    else:
        layers = read_net(path, overrides=overrides).layers
        made = [Net(path, overrides=(*engines(layers, name), *overrides)) for name in two]
    for net in made:
        if "sim" in two and net.sources:
            net.set_batch(BATCH)
        feed(net)
        send(made[0], net, made[0].param_data, net.param_data)
    return made[0], made[1]


def engines(layers: Iterable[LayerSpec], name: str) -> Iterator[str]:
    """The override that gives each layer with that choice the engine ``name``."""
    for layer in layers:
        choice = REGISTRY[layer.type].params.get("engine")
        if name in getattr(choice, "options", ()):
            yield f"{layer.name}.engine={name}"


def feed(net: Net) -> None:
    rng = np.random.default_rng(7)
    for name in net.inputs:
        kind, index = reader(net, name)
        net.device.upload(net.blobs[name].data, REGISTRY[kind].sample(index, net.blobs[name].shape, rng))


def send(source: Net, target: Net, array: Any, to: Any) -> None:
    target.device.upload(to, source.device.download(array))


def iterate(first: Net, second: Net, errors: Errors) -> str:
    """One forward and one backward pass of both; the first fault, or nothing."""
    for net in (first, second):
        net.tick()
        net.clear_param_diffs()
    nodes = list(enumerate(zip(first.graph.nodes, second.graph.nodes, strict=True)))
    for index, (a, b) in nodes:
        for x, y in zip(a.bottom, b.bottom, strict=True):
            send(first, second, x.data, y.data)
        first.run_forward(index, index)
        if not a.bottom:
            for x, y in zip(a.top, b.top, strict=True):
                send(first, second, x.data, y.data)
            continue
        second.run_forward(index, index)
        fault = differ(first, second, a, "top", blobs(a, b, "top", "data"), errors)
        if fault:
            return fault
    for index, (a, b) in reversed(nodes):
        if a.backward:
            for x, y in zip(a.top, b.top, strict=True):
                if x.diff is not None and y.diff is not None:
                    send(first, second, x.diff, y.diff)
            for net in (first, second):
                net._backward.run_layers(index, index)
            fault = differ(first, second, a, "bottom diff", blobs(a, b, "bottom", "diff"), errors)
            fault = fault or differ(first, second, a, "weight diff", blobs(a, b, "weight", "diff"), errors)
            if fault:
                return fault
    return ""


def blobs(a: Node, b: Node, what: str, slot: str) -> dict[str, tuple[Any, Any]]:
    """Pairs of arrays that both nets have, by what messages call them."""
    kinds: dict[str, tuple[list[Blob], list[Blob], list[bool]]] = {
        "top": (a.top, b.top, [True] * len(a.top)),
        "bottom": (a.bottom, b.bottom, a.bottom_need),
        "weight": (list(a.layer.weights), list(b.layer.weights), a.layer.param_propagate),
    }
    rows = zip(*kinds[what], strict=True)
    return {
        f"{slot} of {what} {x.name!r}": (getattr(x, slot), getattr(y, slot))
        for x, y, wanted in rows
        if wanted and getattr(x, slot) is not None
    }


def differ(first: Net, second: Net, node: Node, column: str, pairs: dict, errors: Errors) -> str:
    """Note the largest difference; a sentence where it is too large."""
    expected = {name: first.device.download(a) for name, (a, _) in pairs.items()}
    got = {name: second.device.download(b) for name, (_, b) in pairs.items()}
    if not pairs:
        return ""
    found: Finding = compare(got, expected, TOLERANCE, f"layer {node.spec.name!r} ({node.spec.type})")
    row = errors[node.spec.name]
    row[column] = max(row.get(column, 0.0), found.error)
    return found.fault


def step(first: Net, second: Net) -> None:
    """Both take the same small step down the first net's gradient, so that the next iteration is another one."""
    if first.param_diff is None:
        return
    diff = first.device.download(first.param_diff)
    data = first.device.download(first.param_data) - RATE * diff / max(1.0, float(np.abs(diff).max()))
    for net in (first, second):
        net.device.upload(net.param_data, data)
