"""What a solver file asks for and does not get, or gets otherwise than it seems to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..net import Net
from .scoring import Batches
from .settings import SETTINGS
from .spec import SolverSpec

NO_EFFECT = ("snapshot_diff", "device_id")


def remarks(spec: SolverSpec, test_nets: Sequence[Net]) -> Iterator[str]:
    """One line for each thing that its author should know before the run."""
    for key in NO_EFFECT:
        if getattr(spec, key) != SETTINGS[key].default:
            yield f"{spec.where(key)}: {key}: {SETTINGS[key].doc}"
    for net, batches in zip(test_nets, spec.test_iter, strict=True):
        for line in uneven(net, batches):
            yield f"{spec.where('test_iter')}: test_iter: {line}"


def uneven(net: Net, batches: Batches) -> Iterator[str]:
    """Data layers whose samples do not all count alike in a test of so many batches."""
    for name, source in net.sources.items():
        count = 0 if batches == "all" else batches * source.batch_size
        if source.size and count % source.size:
            yield (
                f"{batches} batches of {source.batch_size} are {count} samples, and layer {name!r} has {source.size}: "
                "they do not count alike; `all` counts each once"
            )
