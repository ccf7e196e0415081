"""``nbcaffe features``: what a net computes for each sample of a data set, into an HDF5 file."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.console import Console

from .errors import ConfigError, DataError, NumericError
from .net import Net
from .params import did_you_mean
from .solver.recipe_data import fetch_missing
from .solver.run_folder import weight_files
from .solver.scoring import Batches, batches
from .solver.test import count, sources

SAMPLES = "sample"  # the dataset that says where each row comes from


def run(args: Namespace) -> int:
    """Write the features of a net, of a solver file those of its first test net."""
    console = Console(highlight=False, soft_wrap=True)
    target = Path(args.to)
    if target.exists() and not args.force:
        raise ConfigError(f"{target}: is there already; --force replaces it")
    number, files = count(args.iterations), weight_files(args.weights)
    source, state, overrides = sources(args)[0]
    fetch_missing([source], overrides)
    stages, phase, level = (*state.stage, *args.stage), state.phase or args.phase, args.level or state.level
    net = Net(source, phase, device=args.device, level=level, stages=stages, overrides=overrides)
    last = last_layer(net, args.blobs)
    report = net.copy_from(files) if files else None
    below = {weight.address[0] for node in net.graph.nodes[: last + 1] for weight in node.layer.weights}
    missing = [name for name in (report.missing if report else net.params) if name in below]
    if missing:
        console.print(f"warning: features of untrained weights: {', '.join(missing)}", markup=False)
    for line in extract(net, args.blobs, target, number):
        console.print(line, markup=False)
    return 0


def extract(net: Net, blobs: Sequence[str], target: str | Path, number: Batches = "all") -> list[str]:
    """Write one dataset a blob, one row a sample, and ``sample``, where the data layer says what each row is.

    Parameters
    ----------
    net : Net
        With ``memory='keep'``, in the phase whose data are wanted; layers above the blobs do not run.
    blobs : sequence of str
        (N, ...) each; their first axis counts the samples.
    target : path
        HDF5; it is there only when all of it is written.
    number : int or "all"
        Batches; ``all``: each sample once.

    Returns
    -------
    list of str
        A line for each dataset.
    """
    last, target = last_layer(net, blobs), Path(target)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with h5py.File(part, "w") as file:
            for _ in batches(net, number, last):
                append(file, dict(rows(net, blobs)), net)
            made = [*dict.fromkeys(blobs), *([SAMPLES] if SAMPLES in file else [])]
            lines = [f"{target}: {name} {'x'.join(map(str, file[name].shape))}" for name in dict.fromkeys(made)]
        os.replace(part, target)
    except (OSError, ValueError) as error:
        raise DataError(f"{target}: could not be written: {getattr(error, 'strerror', None) or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return lines


def last_layer(net: Net, blobs: Sequence[str]) -> int:
    """Index of the layer that has written all of these blobs."""
    if not blobs:
        raise ConfigError(f"name at least one blob of net {net.name!r}{did_you_mean('', net.blobs)}")
    for name in blobs:
        if name not in net.blobs:
            raise ConfigError(f"net {net.name!r} has no blob {name!r}{did_you_mean(name, net.blobs)}")
    wanted = {id(net.blobs[name]) for name in blobs}
    return max(i for i, node in enumerate(net.graph.nodes) if wanted & {id(blob) for blob in node.top})


def rows(net: Net, blobs: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The blobs of one pass, which must have as many rows each and no NaN."""
    first = net.blobs[blobs[0]]
    for name in blobs:
        values = net.device.download(net.blobs[name].data)
        if not values.shape or values.shape[0] != first.shape[0]:
            shapes = f"blob {name!r} has shape {values.shape}, {blobs[0]!r} {first.shape}"
            raise ConfigError(f"{shapes}: the first axis has to count samples")
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if bad.any():
            row = int(bad.argmax())
            at = next((ids[row] for ids in names(net) if len(ids) == len(values)), f"row {row} of the batch")
            raise NumericError(f"blob {name!r} is not finite for {at}")
        yield name, values


def names(net: Net) -> list[Any]:
    """What the data layers call the samples of the last batch."""
    return [source.ids for source in net.sources.values() if hasattr(source, "ids")]


def append(file: Any, found: dict[str, np.ndarray], net: Net) -> None:
    """Add rows to the datasets of a file, which are made for the first of them."""
    size = len(next(iter(found.values())))
    ids = next((np.array(ids, object) for ids in names(net) if len(ids) == size), None)
    if ids is not None and SAMPLES not in found:
        found = {**found, SAMPLES: ids}
    for name, values in found.items():
        if name not in file:
            kind = h5py.string_dtype() if values.dtype == object else values.dtype
            file.create_dataset(name, (0, *values.shape[1:]), kind, maxshape=(None, *values.shape[1:]))
        end = file[name].shape[0]
        file[name].resize(end + size, axis=0)
        file[name][end:] = values
