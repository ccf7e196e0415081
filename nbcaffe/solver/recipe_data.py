"""A recipe whose data set is missing gets it before anything is built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..data.fetch import ensure
from ..netfile import read_net


def fetch_missing(nets: Iterable[Any], overrides: Iterable[str] = ()) -> None:
    """Fetch the files that the nets' data layers name and that a known set holds; others are the layers' to report."""
    for net in nets:
        for layer in read_net(net, overrides=tuple(overrides)).layers:
            source = layer.params.get("source")
            if isinstance(source, str) and not Path(source).exists():
                ensure(Path(layer.where.rpartition(":")[0]).parent / source)
