"""What ``debug_info`` asks for: how large values and gradients are, blob by blob."""

from __future__ import annotations

from typing import Any

from ..blob import Blob
from ..net import Net

Sizes = dict[str, dict[str, float]]


def mean_sizes(net: Net) -> dict[str, Sizes]:
    """Mean magnitude of ``data`` and ``diff``, for each of the ``blobs`` in the order of the net and the ``params``.

    Blobs that the memory plan has overwritten are left out.
    """
    readable = {name: blob for name, blob in net.blobs.items() if not blob.overwritten_by}
    weights = {f"{name}[{i}]": weight for name, found in net.params.items() for i, weight in enumerate(found)}
    return {
        "blobs": {name: sizes(net, blob) for name, blob in readable.items()},
        "params": {name: sizes(net, weight) for name, weight in weights.items()},
    }


def sizes(net: Net, blob: Blob) -> dict[str, float]:
    arrays: dict[str, Any] = {"data": blob.data, "diff": blob.diff}
    return {
        what: float(abs(net.device.download(array)).mean(dtype="float64"))
        for what, array in arrays.items()
        if array is not None and blob.count
    }
