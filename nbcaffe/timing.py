"""Where the time of a step goes: by layer and direction, and in the update, beside what this machine could do."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from . import roofline
from .binding import has_late
from .cache import write_atomically
from .caffe.document import load_either
from .errors import ConfigError
from .graph import Node
from .kernel import Step
from .net import TRAIN, Net
from .roofline import Peaks, Work, backward_work, forward_work, late_work
from .solver.loop import split_overrides, train_net
from .solver.spec import INLINE, NetState, SolverSpec, read_solver
from .solver.updates import BoundUpdate

WARM = 3  # passes before those that count
DEAREST = 3  # layers that are named under the table
NARROWEST = 136  # columns of the table; in a narrower terminal lines wrap, but no number is cut
FORWARD, BACKWARD, UPDATE = WAYS = "forward", "backward", "update"
CLEAR, NORM, SWEEP = REST = "clear", "norm", "update"  # what a training step does for all weights together
RULE = {"type": "SGD", "momentum": 0.9, "base_lr": 0.0}  # where no solver says

Key = int | str  # of a node its index; else one of REST


@dataclass(frozen=True)
class Part:
    """What is timed as one: bound steps of a node, or of all weights."""

    key: Key
    way: str
    steps: list[Step]


@dataclass(frozen=True)
class Slice:
    """What one part did in one pass: when, in seconds, and what it launched: (name, start, end)."""

    key: Key
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
    net, update = subject(args)
    roof = roofline.peaks(args.peaks) if net.device.name == "cpu" else None
    if args.plot and roof is None:
        raise ConfigError("--plot draws the roof of the CPU; leave out --device")
    for _ in range(WARM):
        net.tick()
        net.run_forward()
        net.run_backward()
        if update is not None:
            update.measure(0)
            update.apply()
    slices = measure(parts(net, update), args.iterations)
    rows = summary(net, update, slices)
    Console(width=max(Console().width, NARROWEST)).print(table(net, update, rows, roof, args.iterations))
    for line in conclusions(net, rows, roof):
        print(line)
    if args.trace:
        write_trace(args.trace, trace(net, update, slices))
        print(f"trace: {args.trace} (open it at ui.perfetto.dev)")
    if args.plot and roof:
        points = [(name_of(net, key), way, row.work, row.ms) for (key, way), row in rows.items() if row.ms]
        roofline.draw(net.name, roof, points, args.plot)
        print(f"roofline: {args.plot}")
    return 0


def subject(args: Namespace) -> tuple[Net, BoundUpdate | None]:
    """The net that a file means, and in phase TRAIN the update of what it learns, by the file's solver or ``RULE``."""
    document = load_either(args.net)
    if "layers" in document and INLINE not in document:
        spec, overrides = read_solver({"net": str(args.net), **RULE}), args.set
    else:
        own, overrides = split_overrides(args.set)
        spec = read_solver(args.net, own)
    options: dict[str, Any] = {"device": args.device, "memory": "plan", "overrides": overrides}
    if args.phase == TRAIN:
        net = train_net(spec, args.level, args.stage, **options)
        return net, update_of(net, spec)
    source, state = (spec.test_sources or [(spec.train_source, NetState())])[0]
    stages = (*state.stage, *args.stage)
    return Net(source, args.phase, level=args.level or state.level, stages=stages, **options), None


def update_of(net: Net, spec: SolverSpec) -> BoundUpdate | None:
    """The update of a net that learns; at the rate 0, so that each pass computes the same."""
    if net.param_diff is None or not (net.rules or net.late):
        return None
    still = replace(spec, values={**spec.values, "lr_policy": "fixed", "base_lr": 0.0})
    return BoundUpdate(still, net.device, net.param_data, net.param_diff, net.rules, net.late)


def parts(net: Net, update: BoundUpdate | None) -> list[Part]:
    """What a training step walks, in its order; without an update, a pass forward and one backward."""
    found = []
    for way, steps in ((FORWARD, net._forward), (BACKWARD, net._backward)):
        found += [Part(index, way, steps.steps[low:high]) for index, (low, high) in steps.ranges.items()]
    if update is None:
        return found
    late = [index for index, node in enumerate(net.graph.nodes) if has_late(node)]
    return [
        Part(CLEAR, UPDATE, net._clear),
        *found,
        Part(NORM, UPDATE, update._measure),
        Part(SWEEP, UPDATE, update._apply),
        *(Part(index, UPDATE, steps) for index, steps in zip(late, update._sweeps, strict=True)),
    ]


def measure(parts: list[Part], rounds: int) -> list[Slice]:
    """Whole passes, with the time of each launch."""
    return [walk(part) for _ in range(rounds) for part in parts]


def walk(part: Part) -> Slice:
    """Run the bound steps of one part."""
    launches = []
    start = end = time.perf_counter()
    for step in part.steps:
        began = end
        step()
        end = time.perf_counter()
        launches.append((getattr(step.func, "__name__", type(step.func).__name__), began, end))
    return Slice(part.key, part.way, start, end, launches)


def summary(net: Net, update: BoundUpdate | None, slices: list[Slice]) -> dict[tuple[Key, str], Row]:
    """For each (part, direction) that is timed its row; one that launches nothing takes no time."""
    times: dict[tuple[Key, str], list[float]] = defaultdict(list)
    for one in slices:
        times[one.key, one.way].append((one.end - one.start) * 1e3 if one.launches else 0.0)
    return {at: Row(median(found), work_of(net, update, *at)) for at, found in times.items()}


def work_of(net: Net, update: BoundUpdate | None, key: Key, way: str) -> Work:
    """The least work of a part: of the update of all weights, each array once."""
    size, histories = net.dtype.itemsize, len(update.histories) if update else 0
    if isinstance(key, str):
        moved = sum(high - low for lr_mult, _, low, high in net.rules if lr_mult) * (3 + 2 * histories)
        read = net.param_diff.size + sum(factor.size for one in net.late for factor in (one.a, one.b))
        return Work(0, size * {CLEAR: net.param_diff.size, NORM: read, SWEEP: moved}[key])
    node = net.graph.nodes[key]
    if way == UPDATE:
        return late_work(node, histories, size)
    return (forward_work if way == FORWARD else backward_work)(node, size)


def table(
    net: Net, update: BoundUpdate | None, rows: dict[tuple[Key, str], Row], roof: Peaks | None, rounds: int
) -> Table:
    """A row for each layer, and each other part of a training step, that takes time."""
    out = Table(
        title=f"{net.name} ({net.phase}): median of {rounds} passes",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    out.add_column("layer", overflow="fold")
    out.add_column("type (engine)", overflow="fold")
    ways = WAYS if update else WAYS[:2]
    for way in ways:
        for heading in (f"{way}\nms", "GFLOP\n/s", "\nGB/s", "of\npeak"):
            out.add_column(heading, justify="right", no_wrap=True)
    none = Row(0.0, Work())
    for key in (*range(len(net.graph.nodes)), *REST):
        found = [rows.get((key, way), none) for way in ways]
        if any(row.ms for row in found):
            out.add_row(name_of(net, key), kind_of(net, key, update), *(c for row in found for c in row.cells(roof)))
    sums = [total(rows, way).cells(roof) for way in ways]
    out.add_section()
    out.add_row("sum", "", *(cell for cells in sums for cell in cells))
    return out


def total(rows: dict[tuple[Key, str], Row], way: str) -> Row:
    mine = [row for (_, at), row in rows.items() if at == way and row.ms]
    return Row(sum(row.ms for row in mine), sum((row.work for row in mine), Work()))


def name_of(net: Net, key: Key) -> str:
    return key if isinstance(key, str) else net.graph.nodes[key].spec.name


def kind_of(net: Net, key: Key, update: BoundUpdate | None) -> str:
    """What a row is about: a layer, or weights and gradients."""
    if not isinstance(key, str):
        return kind(net, net.graph.nodes[key])
    rule = f"{update.spec.type}, all {'other ' if net.late else ''}weights" if update else ""
    return {CLEAR: "gradients to zero", NORM: "of the gradients", SWEEP: rule}[key]


def kind(net: Net, node: Node) -> str:
    """The layer's type, who computes it, and which layer does its backward pass if another one does."""
    engine = getattr(node.layer, "engine", None)
    more = [engine] if engine not in (None, "DEFAULT") else []
    if node.folded:
        more += [f"in {reader.spec.name}" for reader in net.graph.nodes if node.top[0] in reader.bottom]
    if node.finished:
        more += [f"forward in {maker.spec.name}" for maker in net.graph.nodes if node.bottom[0] in maker.top][:1]
    if has_late(node):
        more.append("gradient and update in one")
    return node.spec.type + (f" ({', '.join(more)})" if more else "")


def conclusions(net: Net, rows: dict[tuple[Key, str], Row], roof: Peaks | None) -> list[str]:
    """The lines under the table: what the step takes, the dearest layers, and the peaks."""
    by_part: dict[Key, float] = defaultdict(float)
    for (key, _), row in rows.items():
        by_part[key] += row.ms
    whole = sum(by_part.values()) or 1.0
    dearest = sorted(by_part, key=lambda key: -by_part[key])[:DEAREST]
    named = (f"{name_of(net, key)} {100 * by_part[key] / whole:.0f} %" for key in dearest)
    timed = "forward, backward and update" if (SWEEP, UPDATE) in rows else "forward and backward"
    lines = [f"{timed} {whole:.3f} ms; the dearest: {', '.join(named)}"]
    if roof:
        lines.append(
            f"peaks: {roof.gflops:.0f} GFLOP/s, {roof.gbytes:.1f} GB/s (--peaks measures them again); more than 100 % "
            "is what a cache, or an engine with fewer multiplications, makes possible"
        )
    return lines


def trace(net: Net, update: BoundUpdate | None, slices: list[Slice]) -> dict[str, Any]:
    """All passes in Chrome's trace format: a slice for each part, its launches inside; times in microseconds."""
    zero = slices[0].start if slices else 0.0

    def event(name: str, what: str, start: float, end: float, **told: Any) -> dict[str, Any]:
        times = {"ts": (start - zero) * 1e6, "dur": (end - start) * 1e6}
        return {"name": name, "cat": what, "ph": "X", "pid": 1, "tid": 1, **times, "args": told}

    events: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": net.name}}]
    for one in slices:
        if one.launches:
            tops = [] if isinstance(one.key, str) else net.graph.nodes[one.key].top
            told = {"type": kind_of(net, one.key, update), "tops": {blob.name: list(blob.shape) for blob in tops}}
            events.append(event(name_of(net, one.key), one.way, one.start, one.end, **told))
            events += [event(name, "launch", start, end) for name, start, end in one.launches]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def write_trace(path: str, content: dict[str, Any]) -> None:
    try:
        write_atomically(Path(path), json.dumps(content).encode())
    except OSError as error:
        raise ConfigError(f"--trace {path}: cannot be written: {error.strerror}") from None
