"""What pycaffe's Net has beside building and running: views by name, batches of any length, callbacks, HDF5."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .blob import Blob, Weight
from .device import Device
from .errors import ConfigError, NbcaffeError, ShapeError
from .graph import Graph
from .params import did_you_mean
from .resizing import bind_again

if TYPE_CHECKING:
    from .net import Net


class Views:
    """The part of :class:`nbcaffe.Net` that only reads the graph, and what is made of its passes."""

    name: str
    graph: Graph
    device: Device
    _forward: Any
    _backward: Any
    forward: Callable[..., dict[str, np.ndarray]]
    backward: Callable[..., dict[str, np.ndarray]]
    save: Callable[..., None]
    copy_from: Callable[..., Any]

    @property
    def blobs(self) -> dict[str, Blob]:
        return self.graph.blobs

    @property
    def params(self) -> dict[str, list[Weight]]:
        return self.graph.params

    @property
    def layers(self) -> list:
        return [node.layer for node in self.graph.nodes]

    @property
    def layer_dict(self) -> dict[str, Any]:
        return {node.layer.name: node.layer for node in self.graph.nodes}

    @property
    def _layer_names(self) -> list[str]:  # many a script of pycaffe's users reads it
        return [node.layer.name for node in self.graph.nodes]

    @property
    def inputs(self) -> list[str]:
        return [name for node in self.graph.nodes if node.spec.type == "Input" for name in node.spec.top]

    @property
    def outputs(self) -> list[str]:
        return self.graph.outputs

    @property
    def top_names(self) -> dict[str, list[str]]:
        return {node.layer.name: list(node.spec.top) for node in self.graph.nodes}

    @property
    def bottom_names(self) -> dict[str, list[str]]:
        return {node.layer.name: list(node.spec.bottom) for node in self.graph.nodes}

    @property
    def blob_loss_weights(self) -> dict[str, float]:
        return {b.name: w for node in self.graph.nodes for b, w in zip(node.top, node.loss_weight, strict=True)}

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Let the net's MemoryData layer read these samples from the next pass on."""
        for layer in self.layers:
            if hasattr(layer, "set_arrays"):
                return layer.set_arrays(data, labels)
        raise NbcaffeError(f"net {self.name!r}: set_input_arrays needs a MemoryData layer, and it has none")

    # -- any number of samples -----------------------------------------------------------------------------------

    def forward_all(self, blobs: Iterable[str] = (), **inputs: Any) -> dict[str, np.ndarray]:
        """Run forward over any number of samples, batch by batch; return the outputs and ``blobs`` of all of them.

        Raises
        ------
        ShapeError
            If the arrays differ in length, or a blob has no axis of samples, as a loss has not.
        """
        return self._over_batches(list(blobs or ()), None, inputs)[0]

    def forward_backward_all(
        self, blobs: Iterable[str] = (), diffs: Iterable[str] = (), **arrays: Any
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Run forward and backward, batch by batch; ``arrays`` are inputs' data and outputs' diffs, by name.

        Returns the outputs and ``blobs``, and the diffs of the inputs and of ``diffs``.
        """
        return self._over_batches(list(blobs or ()), list(diffs or ()), arrays)

    def _over_batches(
        self, blobs: list[str], diffs: list[str] | None, arrays: dict[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        known = self.inputs if diffs is None else [*self.inputs, *self.outputs]
        for name in arrays:
            if name not in known:
                raise NbcaffeError(f"net {self.name!r} has no input {name!r}{did_you_mean(name, known)}")
        given = {name: np.asarray(values) for name, values in arrays.items()}
        count = self._count(given)
        data, tops = ({n: v for n, v in given.items() if n in names} for names in (self.inputs, self.outputs))
        found: tuple[dict, dict] = (defaultdict(list), defaultdict(list))
        one: dict[str, Any]
        above: dict[str, Any]
        for one, above in zip_longest(self._batches(data), self._batches(tops), fillvalue={}):
            passes = [self.forward(blobs, **one)]
            passes += [] if diffs is None else [self.backward(diffs, **above)]
            for results, made in zip(found, passes, strict=False):
                for name, values in made.items():
                    results[name].append(self._rows(name, values))
        joined = [{name: np.concatenate(parts)[:count] for name, parts in results.items()} for results in found]
        return joined[0], joined[1]

    def _count(self, arrays: Mapping[str, np.ndarray]) -> int:
        lengths = {name: len(values) if values.ndim else 0 for name, values in arrays.items()}
        if len(set(lengths.values())) != 1 or not min(lengths.values(), default=0):
            got = ", ".join(f"{name}: {length}" for name, length in lengths.items()) or "none"
            raise ShapeError(f"net {self.name!r}: expected samples, as many in each array, got {got}")
        return min(lengths.values())

    @property
    def _batch_size(self) -> int:
        return next(iter(self.graph.blobs.values())).num

    def _batches(self, arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Whole batches; the last one is filled up with zeros."""
        size = self._batch_size
        for start in range(0, max(map(len, arrays.values()), default=0), size):
            batch = {name: values[start : start + size] for name, values in arrays.items()}
            yield {
                name: np.concatenate([values, np.zeros((size - len(values), *values.shape[1:]), values.dtype)])
                for name, values in batch.items()
            }

    def _rows(self, name: str, values: np.ndarray) -> np.ndarray:
        if values.shape[:1] != (self._batch_size,):
            raise ShapeError(
                f"net {self.name!r}: blob {name!r} of shape {values.shape} has no row for each of the "
                f"{self._batch_size} samples of a batch; run forward batch by batch, or a net that ends before it"
            )
        return values.copy()

    # -- weights and callbacks -----------------------------------------------------------------------------------

    def share_with(self, other: Net) -> None:
        """Use ``other``'s values for the weights of layers of the same name: what one changes, the other sees."""
        if other.device.name != self.device.name:
            raise ConfigError(f"share_with: this net is on {self.device.name}, {other.name!r} on {other.device.name}")
        known = other.graph.params
        values: dict[int, Any] = {}
        for name, mine in self.graph.params.items():
            theirs = known.get(name)
            if theirs is None:
                continue
            shapes = [[weight.shape for weight in weights] for weights in (mine, theirs)]
            if shapes[0] != shapes[1]:
                raise ShapeError(f"layer {name!r}: weights of shapes {shapes[0]} here, {shapes[1]} in {other.name!r}")
            values |= {id(weight): source._data for weight, source in zip(mine, theirs, strict=True)}
        for weight in (weight for node in self.graph.nodes for weight in node.layer.weights):
            source = values.get(id(weight.owner), values.get(id(weight)))
            if source is not None:
                weight._data = source.reshape(weight.shape)
        self._forward, self._backward = bind_again(self.graph)

    def save_hdf5(self, path: str | Path) -> None:
        """Write the weights in Caffe's HDF5 layout."""
        self.save(as_hdf5(path, "save_hdf5"))

    def load_hdf5(self, path: str | Path) -> None:
        """Copy weights by layer name from an HDF5 file."""
        self.copy_from(as_hdf5(path, "load_hdf5"))

    def before_forward(self, call: Callable[[int], Any]) -> None:
        """Call it with each layer's number before that layer runs forward; one callback after another may be added."""
        self._call("before_forward", call)

    def after_forward(self, call: Callable[[int], Any]) -> None:
        """As :meth:`before_forward`, after the layer."""
        self._call("after_forward", call)

    def before_backward(self, call: Callable[[int], Any]) -> None:
        """As :meth:`before_forward`, on the way back; layers without a gradient are counted, too."""
        self._call("before_backward", call)

    def after_backward(self, call: Callable[[int], Any]) -> None:
        """As :meth:`before_backward`, after the layer."""
        self._call("after_backward", call)

    def _call(self, when: str, call: Callable[[int], Any]) -> None:
        if not callable(call):
            raise ConfigError(f"{when}: expected a function of the layer's number, got {call!r:.60}")
        self.graph.callbacks.setdefault(when, []).append(call)
        self._forward, self._backward = bind_again(self.graph)


def as_hdf5(path: str | Path, who: str) -> Path:
    if Path(path).suffix not in (".h5", ".hdf5"):
        raise ConfigError(f"{who}: {path}: expected a name that ends in .h5, as in lenet.caffemodel.h5")
    return Path(path)


class Timer:
    """A stop-watch: ``start()``, ``stop()``, then ``ms``; what runs on a GPU may still run when it stops."""

    ms = 0.0

    def start(self) -> None:
        self.begun = time.perf_counter()

    def stop(self) -> None:
        if not hasattr(self, "begun"):
            raise NbcaffeError("Timer: start() comes before stop()")
        self.ms = (time.perf_counter() - self.begun) * 1e3
