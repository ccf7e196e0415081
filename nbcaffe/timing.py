"""Milliseconds per layer, forward and backward."""

import time
from argparse import Namespace
from statistics import median

from rich.console import Console
from rich.table import Table

from .binding import Steps
from .net import Net


def run(args: Namespace) -> int:
    """Time every layer of a net, as ``caffe time`` does; medians, so one slow pass does not count."""
    net = Net(
        args.net, args.phase, level=args.level, stages=args.stage, overrides=args.set, device=args.device, memory="plan"
    )
    for _ in range(3):
        net.tick()
        net.run_forward()
        net.run_backward()
    forward, backward = (measure(steps, args.iterations) for steps in (net._forward, net._backward))
    table = Table(title=f"{net.name}: median of {args.iterations} passes, ms", title_justify="left")
    for heading in ("layer", "type"):
        table.add_column(heading)
    for heading in ("forward", "backward"):
        table.add_column(heading, justify="right")
    for index, node in enumerate(net.graph.nodes):
        back = f"{backward[index]:.3f}" if index in backward else ""
        table.add_row(node.spec.name, node.spec.type, f"{forward[index]:.3f}", back)
    table.add_row("sum", "", f"{sum(forward.values()):.3f}", f"{sum(backward.values()):.3f}")
    Console().print(table)
    return 0


def measure(steps: Steps, rounds: int) -> dict[int, float]:
    """Median milliseconds of each layer's part of a list of bound steps."""
    times: dict[int, list[float]] = {index: [] for index in steps.ranges}
    for _ in range(rounds):
        for index, (low, high) in steps.ranges.items():
            start = time.perf_counter()
            for step in steps.steps[low:high]:
                step()
            times[index].append(time.perf_counter() - start)
    return {index: median(samples) * 1e3 for index, samples in times.items()}
