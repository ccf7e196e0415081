"""Where the time of a step goes: by layer and direction, beside what this machine could do."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from . import roofline
from .binding import Steps
from .cache import write_atomically
from .errors import ConfigError
from .graph import Node
from .net import Net
from .roofline import Peaks, Work, backward_work, forward_work

WARM = 3  # passes before those that count
DEAREST = 3  # layers that are named under the table
NARROWEST = 120  # columns of the table; in a narrower terminal lines wrap, but no number is cut
FORWARD, BACKWARD = "forward", "backward"


@dataclass(frozen=True)
class Slice:
    """What one layer did in one pass: when, in seconds, and what it launched: (name, start, end)."""

    index: int  # of the node
    way: str
    start: float
    end: float
    launches: list[tuple[str, float, float]]


@dataclass(frozen=True)
class Row:
    """Median milliseconds and least work of one layer in one direction."""

    ms: float
    work: Work

    def cells(self, roof: Peaks | None) -> list[str]:
        """Milliseconds, GFLOP/s, GB/s, and the time at the roof as a share of the time it took."""
        if not self.ms:
            return ["", "", "", ""]
        rate = f"{self.work.flops / self.ms / 1e6:.1f}" if self.work.flops else ""
        share = f"{100 * roof.least_ms(self.work) / self.ms:.0f} %" if roof else ""
        return [f"{self.ms:.3f}", rate, f"{self.work.bytes / self.ms / 1e6:.1f}", share]


def run(args: Namespace) -> int:
    """Time every layer of a net, as ``caffe time`` does; medians, so one slow pass does not count."""
    net = Net(
        args.net, args.phase, level=args.level, stages=args.stage, overrides=args.set, device=args.device, memory="plan"
    )
    roof = roofline.peaks(args.peaks) if net.device.name == "cpu" else None
    if args.plot and roof is None:
        raise ConfigError("--plot draws the roof of the CPU; leave out --device")
    for _ in range(WARM):
        net.tick()
        net.run_forward()
        net.run_backward()
    slices = measure(net, args.iterations)
    rows = summary(net, slices)
    Console(width=max(Console().width, NARROWEST)).print(table(net, rows, roof, args.iterations))
    for line in conclusions(net, rows, roof):
        print(line)
    if args.trace:
        write_trace(args.trace, trace(net, slices))
        print(f"trace: {args.trace} (open it at ui.perfetto.dev)")
    if args.plot and roof:
        points = [(net.graph.nodes[i].spec.name, way, row.work, row.ms) for (i, way), row in rows.items() if row.ms]
        roofline.draw(net.name, roof, points, args.plot)
        print(f"roofline: {args.plot}")
    return 0


def measure(net: Net, rounds: int) -> list[Slice]:
    """Whole passes, forward and backward, with the time of each launch."""
    slices = []
    for _ in range(rounds):
        for way, steps in ((FORWARD, net._forward), (BACKWARD, net._backward)):
            slices += [walk(index, way, steps) for index in steps.ranges]
    return slices


def walk(index: int, way: str, steps: Steps) -> Slice:
    """Run one layer's part of the bound steps."""
    low, high = steps.ranges[index]
    launches = []
    start = end = time.perf_counter()
    for step in steps.steps[low:high]:
        began = end
        step()
        end = time.perf_counter()
        launches.append((getattr(step.func, "__name__", type(step.func).__name__), began, end))
    return Slice(index, way, start, end, launches)


def summary(net: Net, slices: list[Slice]) -> dict[tuple[int, str], Row]:
    """For each (node, direction) that is timed its row; one that launches nothing takes no time."""
    times: dict[tuple[int, str], list[float]] = defaultdict(list)
    for part in slices:
        times[part.index, part.way].append((part.end - part.start) * 1e3 if part.launches else 0.0)
    nodes, size = net.graph.nodes, net.dtype.itemsize
    work = {FORWARD: forward_work, BACKWARD: backward_work}
    return {(i, way): Row(median(found), work[way](nodes[i], size)) for (i, way), found in times.items()}


def table(net: Net, rows: dict[tuple[int, str], Row], roof: Peaks | None, rounds: int) -> Table:
    """A row for each layer that takes time."""
    out = Table(
        title=f"{net.name} ({net.phase}): median of {rounds} passes",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    out.add_column("layer", overflow="fold")
    out.add_column("type (engine)", overflow="fold")
    for way in (FORWARD, BACKWARD):
        for heading in (f"{way} ms", "GFLOP/s", "GB/s", "of peak"):
            out.add_column(heading, justify="right", no_wrap=True)
    none = Row(0.0, Work())
    for index, node in enumerate(net.graph.nodes):
        both = [rows.get((index, way), none) for way in (FORWARD, BACKWARD)]
        if any(row.ms for row in both):
            out.add_row(node.spec.name, kind(net, node), *(cell for row in both for cell in row.cells(roof)))
    sums = [total(rows, way).cells(roof) for way in (FORWARD, BACKWARD)]
    out.add_section()
    out.add_row("sum", "", *(cell for cells in sums for cell in cells))
    return out


def total(rows: dict[tuple[int, str], Row], way: str) -> Row:
    mine = [row for (_, at), row in rows.items() if at == way and row.ms]
    return Row(sum(row.ms for row in mine), sum((row.work for row in mine), Work()))


def kind(net: Net, node: Node) -> str:
    """The layer's type, who computes it, and which layer does its backward pass if another one does."""
    engine = getattr(node.layer, "engine", None)
    more = [engine] if engine not in (None, "DEFAULT") else []
    if node.folded:
        more += [f"in {reader.spec.name}" for reader in net.graph.nodes if node.top[0] in reader.bottom]
    if node.finished:
        more += [f"forward in {maker.spec.name}" for maker in net.graph.nodes if node.bottom[0] in maker.top][:1]
    return node.spec.type + (f" ({', '.join(more)})" if more else "")


def conclusions(net: Net, rows: dict[tuple[int, str], Row], roof: Peaks | None) -> list[str]:
    """The lines under the table: what the step takes, the dearest layers, and the peaks."""
    by_layer: dict[int, float] = defaultdict(float)
    for (index, _), row in rows.items():
        by_layer[index] += row.ms
    whole = sum(by_layer.values()) or 1.0
    dearest = sorted(by_layer, key=lambda index: -by_layer[index])[:DEAREST]
    named = (f"{net.graph.nodes[i].spec.name} {100 * by_layer[i] / whole:.0f} %" for i in dearest)
    lines = [f"forward and backward {whole:.3f} ms; the dearest: {', '.join(named)}"]
    if roof:
        lines.append(
            f"peaks: {roof.gflops:.0f} GFLOP/s, {roof.gbytes:.1f} GB/s (--peaks measures them again); more than 100 % "
            "is what a cache, or an engine with fewer multiplications, makes possible"
        )
    return lines


def trace(net: Net, slices: list[Slice]) -> dict[str, Any]:
    """All passes in Chrome's trace format: a slice for each layer, its launches inside; times in microseconds."""
    zero = slices[0].start if slices else 0.0

    def event(name: str, what: str, start: float, end: float, **told: Any) -> dict[str, Any]:
        times = {"ts": (start - zero) * 1e6, "dur": (end - start) * 1e6}
        return {"name": name, "cat": what, "ph": "X", "pid": 1, "tid": 1, **times, "args": told}

    events: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": net.name}}]
    for part in slices:
        if part.launches:
            node = net.graph.nodes[part.index]
            told = {"type": kind(net, node), "tops": {blob.name: list(blob.shape) for blob in node.top}}
            events.append(event(node.spec.name, part.way, part.start, part.end, **told))
            events += [event(name, "launch", start, end) for name, start, end in part.launches]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def write_trace(path: str, content: dict[str, Any]) -> None:
    try:
        write_atomically(Path(path), json.dumps(content).encode())
    except OSError as error:
        raise ConfigError(f"--trace {path}: cannot be written: {error.strerror}") from None
