"""A spec bound to shapes, memory and two flat lists of bound steps."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from . import (
    binding,
    layers,  # noqa: F401  (defines the built-in types)
    live,
    mode,
    rng,
)
from .arenas import gradient_arena, parameter_arenas
from .blob import Blob
from .device import Device, get_device
from .errors import ConfigError, NbcaffeError, ShapeError
from .fillers import fill
from .fusing import fuse, postpone_gradients
from .graph import shapes, share_by_name, wire
from .kernel import recording
from .netfile import read_net
from .ops.arena import clear
from .passes.expand import as_mapping, expand
from .passes.inplace import plan_inplace
from .passes.phase import filter_phase
from .passes.sharing import share_params
from .passes.splits import insert_splits
from .passes.unroll import unroll
from .pycaffe import Views
from .resizing import Resizing
from .spec import NetSpec
from .weights import load_weights, save_weights

TRAIN, TEST = "TRAIN", "TEST"
log = logging.getLogger("nbcaffe.net")


class Net(Views):
    """A network ready to run.

    Parameters
    ----------
    net : path, YAML text, mapping or NetSpec
        What to build.
    phase : {"TRAIN", "TEST"}
        Which layers and behaviours apply.
    weights : path, Net or list, optional
        Trained weights, matched by layer name: what :meth:`copy_from` takes.
    device : str or Device
        ``cpu``, ``cuda`` or ``sim``; by default what ``set_mode_cpu`` or ``set_mode_gpu`` chose.
    memory : {"keep", "plan"}
        Keep every blob readable after a pass, or let blobs that are never alive together share memory.
    level, stages
        Select layers by their include and exclude rules.
    seed : int
        Of fillers, dropout and shuffles.
    share : Net, optional
        Use this net's weights for layers of the same name.
    overrides : iterable of str
        ``layer.key=value``.
    backward : bool
        Whether there is a backward pass; where there is none, memory "plan" holds nothing for it.
    late_gradients : bool
        Leave gradients of large products to the update, as :func:`fusing.postpone_gradients` says; with memory "plan".
    """

    def __init__(
        self,
        net: Any,
        phase: str = TRAIN,
        weights: Any = None,
        *,
        device: str | Device | None = None,
        dtype: Any = np.float32,
        memory: str = "keep",
        level: int = 0,
        stages: Iterable[str] = (),
        seed: int | None = None,
        share: "Net | None" = None,
        overrides: Iterable[str] = (),
        backward: bool = True,
        late_gradients: bool = False,
    ):
        if isinstance(weights, str) and weights in (TRAIN, TEST):  # pycaffe's older order: weights, then phase
            phase, weights = weights, phase
        stages, overrides = tuple(stages), tuple(overrides)
        self.made_of = {k: v for k, v in locals().items() if k not in ("self", "weights", "__class__")}
        if phase not in (TRAIN, TEST) or memory not in ("keep", "plan"):
            raise ConfigError(f"expected phase TRAIN or TEST and memory keep or plan, got {phase!r} and {memory!r}")
        whole = net if isinstance(net, NetSpec) else read_net(net, overrides=overrides)
        selected = share_params(unroll(filter_phase(whole, phase, level, stages)))
        self.spec = insert_splits(share_params(selected))
        self.name, self.phase, self.dtype = whole.name, phase, np.dtype(dtype)
        self.seed = mode.seed() if seed is None else seed
        self.text = expand(selected)
        device = device or mode.device() or "cpu"
        self.device = get_device(device) if isinstance(device, str) else device
        self.memory = memory
        inplace = plan_inplace(self.spec) if memory == "plan" else frozenset()
        self.clock = self.device.zeros(1, np.int64)
        self.graph = wire(self.spec, phase, self.seed, inplace, self.dtype, self.device.name, backward)
        if share is not None:
            share_by_name(self.graph, share.graph)
        if memory == "plan":
            fuse(self.graph)
            if late_gradients:
                postpone_gradients(self.graph)
        self._place_weights()
        self._bind()
        if weights is not None and (report := self.copy_from(weights)).missing:
            log.warning("net %r: %s", self.name, report)

    # -- construction --------------------------------------------------------------------------------------------

    def _place_weights(self) -> None:
        moved = any(node.backward for node in self.graph.nodes)
        self.param_data, diff, self.rules, self.parameters = parameter_arenas(
            self.graph, self.device, self.dtype, moved
        )
        self._take_gradients(diff)
        for node in self.graph.nodes:
            for weight in node.layer.weights:
                if weight in self.parameters:
                    key = rng.key(self.seed, *weight.address)
                    self.device.upload(weight._data, fill(weight.filler, weight.shape, key))

    def _take_gradients(self, diff: Any) -> None:
        self.param_diff = diff
        with recording() as self._clear:
            if diff is not None:
                clear(diff)

    def _bind(self) -> None:
        for node in self.graph.nodes:
            node.layer.clock = self.clock
        for blob in self.graph.blobs.values():
            blob.overwritten_by = ""
        self.activation_bytes, taken = binding.allocate(self.graph, self.device, self.dtype, self.memory == "keep")
        binding.fill_loss_weights(self.graph, self.device)
        self._forward, self._backward = binding.bind(self.graph)
        self.late = binding.late(self.graph)
        self._guards = [node.layer.guard for node in self.graph.nodes]
        self._losses = [pair for n in self.graph.nodes for pair in zip(n.top, n.loss_weight, strict=True) if pair[1]]
        self.resizing = Resizing(self.graph)
        self._shapes = {name: blob.shape for name, blob in self.graph.blobs.items()}
        for name, by in taken.items():
            self.graph.blobs[name].overwritten_by = by

    # -- pycaffe's names -----------------------------------------------------------------------------------------

    @property
    def states(self) -> dict[str, Any]:
        """What is carried from one batch to the next, by name."""
        return {name: kept.data for name, kept in self.graph.states.items()}

    def forward(
        self, blobs: Iterable[str] = (), start: str | None = None, end: str | None = None, **inputs: Any
    ) -> dict[str, np.ndarray]:
        """Run forward, from layer ``start`` to layer ``end``; return the outputs and the ``blobs`` asked for."""
        if {name: blob.shape for name, blob in self.graph.blobs.items()} != self._shapes:
            self.reshape()
        for name, value in inputs.items():
            self._feed(self._blob(name), value, "data")
        first, last = self._layer_index(start, 0), self._layer_index(end, len(self.graph.nodes) - 1)
        if first == 0:
            self.tick()
        self.run_forward(first, last)
        names = [*(blobs or ()), *((end and self.top_names[end]) or self.outputs)]
        return {name: self.device.download(self.graph.blobs[name].data) for name in names}

    def backward(
        self, diffs: Iterable[str] = (), start: str | None = None, end: str | None = None, **top_diffs: Any
    ) -> dict[str, np.ndarray]:
        """Run backward, from layer ``start`` down to layer ``end``; return the inputs' diffs and those asked for."""
        if not self.made_of["backward"]:
            raise NbcaffeError(f"net {self.name!r} was built to run only; build it with backward=True for gradients")
        for name, value in top_diffs.items():
            self._feed(self._blob(name), value, "diff")
        first, last = self._layer_index(end, 0), self._layer_index(start, len(self.graph.nodes) - 1)
        self._backward.run_layers(first, last)
        names = [*(diffs or ()), *self.inputs]
        return {
            n: self.device.download(self.graph.blobs[n].diff) for n in names if self.graph.blobs[n].diff is not None
        }

    def reshape(self) -> None:
        """Take over the inputs' new shapes: infer all others, plan memory and bind anew."""
        kept = {id(b): self.device.download(b._data) for n in self.graph.nodes if not n.bottom for b in n.top}
        for node in self.graph.nodes:
            if node.spec.type == "Input":
                node.layer.plan(node.bottom)
            else:
                shapes(self.graph, node)
        if self.memory == "plan":
            fuse(self.graph)
        self._bind()
        for node in self.graph.nodes:
            for blob in node.top:
                old = kept.get(id(blob))
                if old is not None and old.shape == blob.shape:
                    self.device.upload(blob._data, old)

    def copy_from(self, source: Any, reinit: Iterable[str] = ()) -> Any:
        """Copy weights by layer name from files or a Net, but not ``reinit``'s; see :func:`weights.load_weights`."""
        return load_weights(source, self.params, self.device, reinit)

    def save(self, path: str | Path) -> None:
        """Write the weights, as a caffemodel if the name ends in that, else in Caffe's HDF5 layout."""
        save_weights(path, self.params, self.device, as_mapping(self.spec))

    def reload(self) -> Any:
        """Read the net's file and the layer files it imports again; weights, data position and random numbers stay.

        An error leaves the net as it was.  Reports which layers kept their weights.  Not for a solver's net, whose
        histories belong to the old weights: resume from a snapshot instead.
        """
        return live.reload(self)

    # -- what the solver drives ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """The next forward pass begins: random layers draw anew."""
        self.device.upload(self.clock, int(self.device.download(self.clock)[0]) + 1)

    def run_forward(self, first: int = 0, last: int | None = None) -> None:
        """Walk the bound steps of the layers ``first .. last`` and let them check what came in."""
        if last is None and not self.resizing:
            self._forward.run()
        else:
            self.resizing.run(self, first, len(self.graph.nodes) - 1 if last is None else last)
        for guard in self._guards[first : None if last is None else last + 1]:
            guard()

    def run_backward(self) -> None:
        self._backward.run()

    def loss(self) -> float:
        """The sum of all tops, weighted by their loss_weight."""
        total = 0.0
        for blob, weight in self._losses:
            values = self.device.download(blob._data)
            total += weight * (values.item() if values.size == 1 else float(values.sum(dtype=np.float64)))
        return total

    def keep_gradients(self) -> None:
        """Hold the gradient of every weight from the backward pass to the update, also those that were late."""
        if self.late:
            diff, self.rules = gradient_arena(self.graph, self.parameters, self.device, self.param_data)
            self._take_gradients(diff)
            self._backward, self.late = binding.bind_backward_again(self.graph), []

    def clear_param_diffs(self) -> None:
        for step in self._clear:
            step()

    @property
    def sources(self) -> dict[str, Any]:
        """The data sources by layer name; each has a cursor, a size and a batch size."""
        return {n.layer.name: s for n in self.graph.nodes if (s := getattr(n.layer, "source", None)) is not None}

    def rewind(self) -> None:
        """Start every data source from its first sample."""
        for source in self.sources.values():
            source.rewind()

    def set_batch(self, size: int) -> None:
        """Plan for another batch size, as for the last, smaller batch of an exact test."""
        for node in self.graph.nodes:
            if getattr(node.layer, "source", None) is not None:
                vars(node.layer)["batch_size"] = size
        self.reshape()

    def find_non_finite(self) -> tuple[str, str] | None:
        """Layer and blob where a NaN or an infinity first shows; runs the last forward pass again, layer by layer."""
        return binding.first_non_finite(self.graph, self._forward, self.device)

    # -- addressing ----------------------------------------------------------------------------------------------

    def _feed(self, blob: Blob, value: Any, slot: str) -> None:
        value = np.asarray(value, self.dtype)
        if value.shape != self._shapes[blob.name]:
            raise ShapeError(f"blob {blob.name!r}: expected shape {self._shapes[blob.name]}, got {value.shape}")
        self.device.upload(blob.data if slot == "data" else blob.diff, value)

    def _blob(self, name: str) -> Blob:
        if name not in self.graph.blobs:
            raise NbcaffeError(f"net {self.name!r} has no blob {name!r}; it has {', '.join(self.graph.blobs)}")
        return self.graph.blobs[name]

    def _layer_index(self, name: str | None, default: int) -> int:
        names = [node.layer.name for node in self.graph.nodes]
        if name is not None and name not in names:
            raise NbcaffeError(f"net {self.name!r} has no layer {name!r}; it has {', '.join(names)}")
        return default if name is None else names.index(name)
