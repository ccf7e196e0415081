"""Layers whose tops get another shape in each pass: what is behind them is laid out anew, in the memory it has."""

from math import prod
from typing import Any

from .binding import Steps, bind
from .graph import Graph, shapes


class Resizing:
    """The layers of a bound net that decide shapes while a pass runs, and the memory that all blobs were given."""

    def __init__(self, graph: Graph):
        self.layers = [index for index, node in enumerate(graph.nodes) if node.layer.resizes]
        nodes = graph.nodes if self.layers else []
        self.blobs = {id(blob): (blob._data, blob._diff) for node in nodes for blob in node.top}
        self.buffers = [[buffer.data for buffer in node.layer.buffers] for node in nodes]

    def __bool__(self) -> bool:
        return bool(self.layers)

    def run(self, net: Any, first: int, last: int) -> None:
        """Walk the layers ``first .. last``; before each that resizes, ask it for its shapes."""
        for index in self.layers:
            if first <= index <= last:
                net._forward.run_layers(first, index - 1)
                first, node = index, net.graph.nodes[index]
                wanted = [tuple(shape) for shape in node.layer.prepare(node.bottom, node.top)]
                if wanted != [blob.shape for blob in node.top]:
                    net.resizing.resize(net, index, wanted)
        net._forward.run_layers(first, last)

    def resize(self, net: Any, index: int, wanted: list[tuple[int, ...]]) -> None:
        """Give the tops of layer ``index`` these shapes, and all behind it what follows from them."""
        nodes = net.graph.nodes
        for blob, shape in zip(nodes[index].top, wanted, strict=True):
            blob.reshape(*shape)
        for node in nodes[index + 1 :]:
            shapes(net.graph, node)
        if self.fits(nodes, index):
            self.refit(net, index)
            net._forward, net._backward = bind_again(net.graph)
        else:
            self.grow(net, index)
        net._shapes = {name: blob.shape for name, blob in net.graph.blobs.items()}

    def fits(self, nodes: list, index: int) -> bool:
        """Whether the blobs from layer ``index`` on have room where they were."""
        return all(self.blobs[id(b)][0].size >= b.count for node in nodes[index:] for b in node.top)

    def refit(self, net: Any, index: int) -> None:
        """Memory of before for the blobs; for work space too, unless an engine now asks for more of it."""
        nodes = net.graph.nodes
        for node in nodes[index:]:
            for blob in node.top:
                blob._data, blob._diff = (part(array, blob.shape) for array in self.blobs[id(blob)])
        for node, arrays in zip(nodes[index + 1 :], self.buffers[index + 1 :], strict=True):
            for number, buffer in enumerate(node.layer.buffers):
                old = arrays[number] if number < len(arrays) else None
                fits = old is not None and old.dtype == buffer.dtype and old.size >= prod(buffer.shape)
                buffer.data = part(old, buffer.shape) if fits else net.device.zeros(buffer.shape, buffer.dtype)

    def grow(self, net: Any, index: int) -> None:
        """Take new memory for the whole net, and carry over what the layers before have made in this pass."""
        before, down = net.graph.nodes[:index], net.device.download
        if net.memory == "plan" and any(node.bottom for node in before):
            net.graph.nodes[index].layer.fail(
                "its tops became larger than the memory planned for them; build the net with memory='keep'"
            )
        made = [(blob, "_data", down(blob._data).copy()) for node in before for blob in node.top]
        buffers = [buffer for node in before for buffer in node.layer.buffers if buffer.data is not None]
        made += [(buffer, "data", down(buffer.data).copy()) for buffer in buffers]
        net._bind()
        for owner, slot, values in made:
            net.device.upload(getattr(owner, slot), values)


def bind_again(graph: Graph) -> tuple[Steps, Steps]:
    """Blobs that the memory plan lets others overwrite are there while layers are bound."""
    taken = {blob.name: blob.overwritten_by for blob in graph.blobs.values()}
    for blob in graph.blobs.values():
        blob.overwritten_by = ""
    try:
        return bind(graph)
    finally:
        for name, by in taken.items():
            graph.blobs[name].overwritten_by = by


def part(array: Any, shape: tuple[int, ...]) -> Any:
    """The beginning of an array, in this shape."""
    return None if array is None else array.reshape(array.size)[: prod(shape)].reshape(shape)
