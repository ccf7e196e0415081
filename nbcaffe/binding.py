"""Give a graph its memory, and turn its layers into two flat lists of bound steps."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .blob import Blob, Buffer, Weight
from .device import Device
from .graph import Graph, Node
from .kernel import Step, recording
from .layer import Layer
from .memory import Request, place


@dataclass
class Steps:
    """Bound steps of one pass, and where each layer's begin and end."""

    steps: list[Step] = field(default_factory=list)
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)  # index of the node -> its part of the list

    def run(self) -> None:
        """Walk the whole list: a training step."""
        for step in self.steps:
            step()

    def run_layers(self, first: int, last: int) -> None:
        """Walk the parts of the layers ``first .. last``."""
        for index, (low, high) in self.ranges.items():
            if first <= index <= last:
                for step in self.steps[low:high]:
                    step()


@dataclass
class Storage:
    """One piece of memory and the blobs that live in it, one after another or as views."""

    size: int
    spans: list[tuple[int, int]] = field(default_factory=list)
    blobs: list[tuple[Blob, str]] = field(default_factory=list)


class Plan:
    """When each blob's data and diff, and each buffer, must be there: forward of node i at i, backward at 2n-1-i."""

    def __init__(self, graph: Graph, itemsize: int, keep: bool):
        self.graph, self.itemsize, self.keep = graph, itemsize, keep
        self.end = 2 * len(graph.nodes)
        self.data: dict[int, Storage] = {}
        self.diff: dict[int, Storage] = {}
        outputs = {id(graph.blobs[name]) for name in graph.outputs}
        self.written = {  # blobs whose diff somebody's backward pass writes; another one is zero for good
            id(b) for node in graph.nodes for b, need in zip(node.bottom, node.bottom_need, strict=True) if need
        }
        for index, node in enumerate(graph.nodes):
            for position, blob in enumerate(node.top):
                self.top(index, node, position, blob, pinned=id(blob) in outputs)
        for index, node in enumerate(graph.nodes):
            self.use(index, node)

    def backward_of(self, index: int) -> int:
        return self.end - 1 - index

    def top(self, index: int, node: Node, position: int, blob: Blob, pinned: bool) -> None:
        """A top has memory of its own, unless it is a view of its bottom or runs in place."""
        everything = (0, self.end)
        if id(blob) not in self.data:
            view = bool(node.layer.shares) or (node.inplace and position == 0)
            source = id(node.bottom[0]) if view else None
            size = blob.count * self.itemsize
            same_diff = node.layer.shares == "both" or node.inplace
            self.data[id(blob)] = Storage(size) if source is None else self.data[source]
            self.diff[id(blob)] = Storage(size) if source is None or not same_diff else self.diff[source]
            self.data[id(blob)].blobs.append((blob, "_data"))
            self.diff[id(blob)].blobs.append((blob, "_diff"))
        weighted = node.loss_weight[position] != 0.0
        fed = not node.bottom  # replayed when a NaN is traced, and filled by the user
        self.data[id(blob)].spans.append(everything if self.keep or pinned or weighted or fed else (index, index))
        owed = (weighted and node.folded) or (node.backward and (weighted or id(blob) not in self.written))
        if self.keep or owed:
            self.diff[id(blob)].spans.append(everything)

    def use(self, index: int, node: Node) -> None:
        """Extend the spans by what this node reads and writes."""
        backward = self.backward_of(index)
        for blob, need in zip(node.bottom, node.bottom_need, strict=True):
            reads = backward if node.backward and "bottom" in node.layer.backward_needs else index
            self.data[id(blob)].spans.append((index, reads))
            if need:
                self.diff[id(blob)].spans.append((backward, backward))
        if has_late(node):  # its factors wait for the update
            self.data[id(node.bottom[0])].spans.append((index, self.end))
            self.diff[id(node.top[0])].spans.append((backward, self.end))
        if node.backward:
            for blob in node.top:
                if "top" in node.layer.backward_needs:
                    self.data[id(blob)].spans.append((index, backward))
                self.diff[id(blob)].spans.append((backward, backward))

    def requests(self) -> tuple[list[Request], dict[str, Any]]:
        """What to place, and what each request is for."""
        out: list[Request] = []
        owners: dict[str, Any] = {}
        for kind, table in (("data", self.data), ("diff", self.diff)):
            for number, storage in enumerate({id(s): s for s in table.values()}.values()):
                if storage.spans:
                    whole = (min(a for a, _ in storage.spans), max(b for _, b in storage.spans))
                    name = f"{kind}{number}"
                    out.append(Request(name, storage.size, [whole]))
                    owners[name] = storage
        for index, node in enumerate(self.graph.nodes):
            for number, buffer in enumerate(node.layer.buffers):
                spans = self.spans(index, node, buffer)
                if spans:
                    name = f"buffer{index}.{number}"
                    out.append(Request(name, prod(buffer.shape) * np.dtype(buffer.dtype).itemsize, spans))
                    owners[name] = buffer
        return out, owners

    def spans(self, index: int, node: Node, buffer: Buffer) -> list[tuple[int, int]]:
        """When a buffer of a node must be there; never, if it is for a pass that the node does not have."""
        backward = self.backward_of(index)
        passes = {"forward": (index, index), **({"backward": (backward, backward)} if node.backward else {})}
        if not buffer.keep or buffer.only:
            return [span for name, span in passes.items() if buffer.only in ("", name)]
        if self.keep or buffer.carried:
            return [(0, self.end)]  # for a second backward pass
        if node.backward or node.folded:
            return [(index, backward)]
        guarded = type(node.layer).guard is not Layer.guard  # it looks when forward has ended
        return [(index, len(self.graph.nodes) - 1 if guarded else index)]


def allocate(graph: Graph, device: Device, dtype: Any, keep: bool) -> tuple[int, dict[str, str]]:
    """Give every blob and buffer its memory; return the bytes, and which blobs will be overwritten by what."""
    plan = Plan(graph, np.dtype(dtype).itemsize, keep)
    requests, owners = plan.requests()
    by_dtype: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        owner = owners[request.name]
        by_dtype[np.dtype(dtype).name if isinstance(owner, Storage) else owner.dtype].append(request)
    total = 0
    for kind, group in by_dtype.items():
        offsets, size = place(group)
        width = np.dtype(kind).itemsize
        arena = device.zeros(max(size // width, 1), kind)
        total += size
        for request in group:
            attach(owners[request.name], arena, offsets[request.name] // width)
    return total, {} if keep else overwritten(plan)


def attach(owner: Any, arena: Any, at: int) -> None:
    if isinstance(owner, Storage):
        for blob, slot in owner.blobs:
            setattr(blob, slot, arena[at : at + blob.count].reshape(blob.shape))
    else:
        owner.data = arena[at : at + prod(owner.shape)].reshape(owner.shape)


def overwritten(plan: Plan) -> dict[str, str]:
    """Blobs that cannot be read after a pass, and what took their memory."""
    found = {}
    for node in plan.graph.nodes:
        for blob in node.top:
            storage = plan.data[id(blob)]
            if node.inplace and blob is node.top[0]:
                found.update({b.name: f"layer {node.spec.name!r}" for b, _ in storage.blobs if b is not blob})
            if (0, plan.end) not in storage.spans:
                found[blob.name] = "a later layer"
    return found


class Late(NamedTuple):
    """A weight whose gradient ``a^T b`` is computed when it is updated."""

    weight: Weight
    a: Any
    b: Any


def late(graph: Graph) -> list[Late]:
    nodes = (node for node in graph.nodes if has_late(node))
    return [Late(*found) for node in nodes for found in node.layer.gradient_factors(node.bottom, node.top)]


def has_late(node: Node) -> bool:
    return any(weight.late for weight in node.layer.weights)


def bind(graph: Graph) -> tuple[Steps, Steps]:
    """Record what every layer launches, forward in order and backward in reverse, between the callbacks."""
    forward, backward = Steps(), Steps()
    for index, node in enumerate(graph.nodes):
        record(forward, index, None if node.finished else node.layer.forward, node, graph.callbacks, "forward")
    called = any(when.endswith("backward") for when in graph.callbacks)
    for index, node in reversed(list(enumerate(graph.nodes))):
        if node.backward or called:
            record(backward, index, node.layer.backward if node.backward else None, node, graph.callbacks, "backward")
    return forward, backward


def bind_backward_again(graph: Graph) -> Steps:
    """The same steps backward for what has changed meanwhile, in the same memory, so that nothing in it is lost."""
    taken = {blob: blob.overwritten_by for blob in graph.blobs.values()}
    for blob in taken:
        blob.overwritten_by = ""
    steps = bind(graph)[1]
    for blob, by in taken.items():
        blob.overwritten_by = by
    return steps


def record(into: Steps, index: int, run: Any, node: Node, callbacks: dict[str, list], way: str) -> None:
    with recording() as steps:
        if run is not None:
            run(node.bottom, node.top)
    before, after = callbacks.get(f"before_{way}", ()), callbacks.get(f"after_{way}", ())
    start = len(into.steps)
    into.steps.extend([*(partial(call, index) for call in before), *steps, *(partial(call, index) for call in after)])
    into.ranges[index] = (start, len(into.steps))


def fill_loss_weights(graph: Graph, device: Device) -> None:
    """A top with a loss_weight has that weight as its gradient, for good."""
    for node in graph.nodes:
        for blob, weight in zip(node.top, node.loss_weight, strict=True):
            if weight and blob._diff is not None:
                device.upload(blob._diff, weight)


def first_non_finite(graph: Graph, forward: Steps, device: Device) -> tuple[str, str] | None:
    """Layer and blob where a NaN or an infinity first shows, running the forward pass again layer by layer."""
    for index, node in enumerate(graph.nodes):
        for position, weight in enumerate(node.layer.weights):
            if not np.isfinite(device.download(weight._data)).all():
                return node.layer.name, f"params[{node.layer.name!r}][{position}]"
        if node.bottom:  # data layers would read the next batch
            forward.run_layers(index, index)
        for blob in node.top:
            if not np.isfinite(device.download(blob._data)).all():
                return node.layer.name, blob.name
    return None
