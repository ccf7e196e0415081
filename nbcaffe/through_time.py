"""What happens inside recurrent layers: gradient norms by time step, and gates over time as a picture."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .errors import ConfigError
from .layers.gates import Unit
from .layers.recurrent import Recurrent
from .net import Net
from .solver.run_folder import weight_files

MOST_ROWS = 40  # of the table; of longer sequences every so many steps
BAR = 24  # characters of the longest bar
NARROWEST = 100  # columns; in a narrower terminal lines wrap
Series = dict[str, np.ndarray]  # by name: one number for each step; or (steps, units)


def run(args: Namespace) -> int:
    """``nbcaffe show NET --time``: one forward and one backward pass over the net's own data."""
    net = Net(
        args.net,
        "TRAIN",
        level=args.level,
        stages=args.stage,
        overrides=args.set,
        weights=weight_files(args.weights) or None,
    )
    layers = inspected(net)
    console = Console(width=max(Console().width, NARROWEST))
    for layer in layers:
        console.print(table(layer.name, gradient_norms(net, layer)))
    if args.plot:
        draw(net, layers, args.plot)
        print(f"gates over time: {args.plot}")
    return 0


def inspected(net: Net) -> list[Recurrent]:
    """The net's recurrent layers, after a pass in which every blob of every step was written."""
    layers = [layer for layer in net.layers if isinstance(layer, Recurrent)]
    if not layers:
        raise ConfigError(
            f"net {net.name!r} has no recurrent layer to look into (one of mode: unrolled is a flat net, whose blobs "
            "are in net.blobs: --set NAME.mode=fused)"
        )
    for layer in layers:
        layer.inspected = True
    net._bind()
    net.forward()
    net.clear_param_diffs()
    net.backward()
    return layers


def gradient_norms(net: Net, layer: Recurrent) -> Series:
    """For each state, the norm of the loss's gradient with respect to its value after each step."""
    found: Series = {}
    for state in layer.step_block.state:
        blobs = [layer.graph.blobs[f"{layer.name}/{time}/{state.next}"] for time in range(layer.steps)]
        diffs = (net.device.download(blob.diff).astype(np.float64) for blob in blobs)
        found[state.name] = np.array([np.sqrt((diff**2).sum()) for diff in diffs])
    return found


def table(name: str, norms: Series) -> Table:
    out = Table(title=f"{name}: gradient of the loss by time step", box=SIMPLE_HEAD)
    out.add_column("step", justify="right")
    for state in norms:
        out.add_column(f"|d loss / d {state}|", no_wrap=True)
    steps = len(next(iter(norms.values()), []))
    for time in range(0, steps, max(1, -(-steps // MOST_ROWS))):
        cells = []
        for values in norms.values():
            bar = "#" * round(BAR * values[time] / (values.max() or 1.0)) if np.isfinite(values).all() else ""
            cells.append(f"{values[time]:.2e} {bar}")
        out.add_row(str(time), *cells)
    return out


def gates(net: Net, layer: Recurrent) -> Iterator[tuple[str, np.ndarray]]:
    """What gates did in the first sequence: (steps, units) for each gate, by name."""
    series: dict[str, dict[int, np.ndarray]] = {}
    for node in layer.nodes:
        block, _, rest = node.spec.name.rpartition("/")
        time = block.rpartition("/")[2]
        if not time.isdigit():
            continue
        if isinstance(node.layer, Unit):
            acts = net.device.download(node.layer.acts.data)[0].reshape(-1, node.layer.units)
            for gate, values in zip(node.layer.gates, acts, strict=True):
                series.setdefault(gate, {})[int(time)] = values
        elif node.spec.type in ("Sigmoid", "TanH"):
            series.setdefault(rest, {})[int(time)] = net.device.download(node.top[0].data)[0].ravel()
    for gate, by_time in series.items():
        yield gate, np.array([values for _, values in sorted(by_time.items())])


def draw(net: Net, layers: list[Recurrent], path: str) -> None:
    """Write a picture: for each layer a row, for each gate a map of units over time."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("--plot needs matplotlib: pip install 'nbcaffe[plot]'") from None
    rows: list[list[tuple[str, Any]]] = [[*gates(net, layer)] for layer in layers]
    width = max((len(row) for row in rows), default=0)
    if not width:
        raise ConfigError("none of the recurrent layers has a gate (a Sigmoid, a TanH, or a unit of gates) to draw")
    figure = Figure(figsize=(2.6 * width, 2.4 * len(rows)), layout="constrained")
    places = figure.subplots(len(rows), width, squeeze=False)
    for layer, row, axes in zip(layers, rows, places, strict=True):
        for place in axes[len(row) :]:
            place.set_visible(False)
        for (gate, values), place in zip(row, axes, strict=False):
            low = -1 if values.min() < 0 else 0
            picture = place.imshow(
                values.T, aspect="auto", vmin=low, vmax=1, cmap="viridis" if low == 0 else "coolwarm"
            )
            place.set(title=f"{layer.name}: {gate}", xlabel="time step", ylabel="unit")
            figure.colorbar(picture, ax=place)
    try:
        figure.savefig(Path(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--plot {path}: cannot be written: {error}") from None
