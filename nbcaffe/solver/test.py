"""``nbcaffe test``: scores of weights on a net."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from rich.console import Console

from ..caffe.document import load_either
from ..errors import ConfigError
from ..net import Net
from .loop import split_overrides
from .recipe_data import fetch_missing
from .remarks import uneven
from .run_folder import weight_files
from .scoring import Batches, score
from .spec import INLINE, NetState, read_solver
from .train import facts_of


def run(args: Namespace) -> int:
    """Print one line of scores for each test net."""
    console = Console(highlight=False, soft_wrap=True)
    batches = count(args.iterations)
    if not args.weights:
        console.print("no --weights: these are the scores of untrained weights")
    files = weight_files(args.weights)
    nets = sources(args)
    fetch_missing(source for source, _, _ in nets)
    for index, (source, state, overrides) in enumerate(nets):
        stages = (*state.stage, *args.stage)
        phase, level = state.phase or args.phase, args.level or state.level
        chosen: dict[str, Any] = {"level": level, "stages": stages, "overrides": overrides}
        net = Net(source, phase, device=args.device, memory="plan", backward=False, **chosen)
        if files:
            report = net.copy_from(files)
            for line in report.lines if report.missing else ():
                console.print(line, markup=False)
        for line in uneven(net, batches):
            console.print(f"--iterations: {line}", markup=False)
        which = f"test net {index}: " if len(nets) > 1 else ""
        console.print(which + facts_of(score(net, batches)), markup=False)
    return 0


def count(text: str) -> Batches:
    """A number of batches, or ``all``."""
    if text == "all":
        return "all"
    if not text.isdigit() or not int(text):
        raise ConfigError(f"--iterations: expected a number of batches, or all, got {text!r}")
    return int(text)


def sources(args: Namespace) -> list[tuple[Any, NetState, list[str]]]:
    """Net, state and overrides: of each test net of a solver file, or of the one net file."""
    document = load_either(args.net)
    if "layers" in document and INLINE not in document:
        return [(args.net, NetState(), args.set)]
    own, of_nets = split_overrides(args.set)
    spec = read_solver(args.net, own)
    return [(*one, of_nets) for one in spec.test_sources] or [(spec.train_source, NetState(), of_nets)]
