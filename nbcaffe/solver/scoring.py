"""Scores of a test net: its outputs averaged over batches, or exactly over every sample."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, Literal

import numpy as np

from ..errors import ConfigError
from ..net import Net

Batches = int | Literal["all"]
Scores = dict[str, Any]


def score(net: Net, number: Batches, total: bool = False) -> Scores:
    """Average of each output: a number, or a list where the output has several; ``total`` adds the weighted loss."""
    sums = Sums(net, total)
    for weight in batches(net, number):
        sums.add(weight)
    return sums.average()


def batches(net: Net, number: Batches, last: int | None = None) -> Iterator[int]:
    """Run forward up to layer ``last`` batch by batch, and say what each batch counts."""
    for weight in exact(net) if number == "all" else repeat(1, number):
        net.tick()
        net.run_forward(0, last)
        yield weight


def exact(net: Net) -> Iterator[int]:
    """What each batch counts, where each sample is read once: the last one is as small as what is left."""
    size, batch = set_size(net)
    net.rewind()
    yield from repeat(batch, size // batch)
    rest = size % batch
    if rest:
        cursors = {name: source.cursor for name, source in net.sources.items()}
        try:
            net.set_batch(rest)
            for name, cursor in cursors.items():
                net.sources[name].cursor = cursor
            yield rest
        finally:
            net.set_batch(batch)
    net.rewind()


def set_size(net: Net) -> tuple[int, int]:
    """Samples of the data layers, and their batch size, when all of them agree."""
    kinds = {name: (source.size, source.batch_size) for name, source in net.sources.items()}
    if len(set(kinds.values())) != 1 or not all(size for size, _ in kinds.values()):
        got = ", ".join(f"{name!r} has {size} in batches of {batch}" for name, (size, batch) in kinds.items())
        raise ConfigError(
            f"test_iter: all needs data layers that agree in their number of samples and batch size, "
            f"got {got or 'none'}; give a number of batches instead"
        )
    return next(iter(kinds.values()))


class Sums:
    """Weighted sums of a net's outputs over forward passes."""

    def __init__(self, net: Net, total: bool):
        self.net, self.total = net, total
        self.values: dict[str, Any] = {}
        self.weight = 0

    def add(self, weight: int) -> None:
        """Count the outputs of the last pass ``weight`` times."""
        found = outputs(self.net)
        if self.total:
            found["total_loss"] = np.float64(self.net.loss())
        for name, value in found.items():
            self.values[name] = self.values.get(name, 0.0) + weight * value
        self.weight += weight

    def average(self) -> Scores:
        return {name: plain(value / self.weight) for name, value in self.values.items()}


def outputs(net: Net) -> dict[str, Any]:
    """The net's outputs after a pass, in float64."""
    return {name: np.array(net.device.download(net.blobs[name].data), np.float64) for name in net.outputs}


def plain(value: Any) -> float | list[float]:
    """A number, or the list of an output's numbers."""
    return float(value.reshape(-1)[0]) if value.size == 1 else [float(v) for v in value.ravel()]
