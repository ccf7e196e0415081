"""``nbcaffe train``: a solver with a run folder, a progress bar and last words."""

from __future__ import annotations

import json
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import ConfigError, NbcaffeError
from ..frozen import is_frozen, learning
from ..kernel import on_compile
from .loop import DEBUG, Solver, split_overrides
from .recipe_data import fetch_missing
from .run_folder import RunFolder, find_snapshot, weight_files
from .spec import SolverSpec, read_solver
from .states import model_name

REFRESH = 0.1  # seconds between looks at the progress; showing more would cost small nets their speed


def run(args: Namespace) -> int:
    """Train; 0 at the end, 128 + the signal's number when one stopped the run."""
    console = Console(highlight=False, soft_wrap=True)
    compiled = Compiled(console)
    spec = read_spec(args)
    if spec.max_iter is None:
        raise ConfigError(f"{args.solver}: max_iter: how many iterations? set it in the file, or pass --max-iter")
    resume = find_snapshot(args.resume, args.runs, spec.name) if args.resume else None
    of_nets = split_overrides(args.set)[1]
    fetch_missing([spec.train_source, *(source for source, _ in spec.test_sources)], of_nets)
    with compiled:
        solver = Solver(spec, device=args.device, overrides=of_nets, level=args.level, stages=args.stage, memory="plan")
    if resume is not None:
        solver.restore(resume)
    report = solver.started_from
    notes = [f"weights of {', '.join(map(str, spec.weight_files))}", *report.lines] if report else []
    notes += [f"resumed from {resume}"] if resume else []
    notes += [learning(solver.net.graph)] * any(map(is_frozen, solver.net.graph.nodes))
    folder = RunFolder(args.runs, spec.name)
    solver.prefix = str(folder.snapshots / Path(spec.snapshot_prefix or spec.name).name)
    folder.write_start(solver, args.device, str(resume) if resume else None)
    with Show(solver, folder, console, quiet=args.quiet) as show:
        for note in [*compiled.note(), f"run folder: {folder.path}", *notes]:
            show.say(note)
        try:
            solver.solve()
        except NbcaffeError as error:
            with suppress(NbcaffeError):  # the disk may be full
                folder.log(str(error))
            raise
        for line in [*show.reached(), *next_steps(args, solver, folder)]:
            show.say(line)
    return 128 + solver.stopped_by if solver.stopped_by is not None else 0


def read_spec(args: Namespace) -> SolverSpec:
    """The solver file with what the command line changes in it."""
    if args.resume and (args.weights or args.reinit):
        raise ConfigError(
            "--resume, --weights: give a snapshot to resume training or weights to finetune, but not both"
        )
    overrides = split_overrides(args.set)[0]
    overrides += ["weights=[]", "reinit=[]"] * bool(args.resume)
    files = [str(file.absolute()) for file in weight_files(args.weights)]
    for key, names in (("weights", files), ("reinit", args.reinit), ("freeze", args.freeze)):
        overrides += [f"{key}={json.dumps(names)}"] * bool(names)
    overrides += [f"max_iter={args.max_iter}"] * (args.max_iter is not None)
    overrides += [f"random_seed={args.seed}"] * (args.seed is not None)
    return read_solver(args.solver, overrides, net=args.net)


class Compiled:
    """Shows, while a solver is being made, which kernel was compiled last, and then how many and how long it took."""

    def __init__(self, console: Console):
        self.console, self.kernels, self.seconds = console, 0, 0.0
        self.status, self.open = console.status("", refresh_per_second=4), True

    def __enter__(self) -> None:
        on_compile(self)

    def __exit__(self, *exception: object) -> None:
        self.status.stop()
        self.open = False  # from now on there is a progress bar

    def __call__(self, kernel: str, seconds: float) -> None:
        if not self.kernels:
            self.console.print("compiling kernels for this machine; later runs find them in the cache")
        self.kernels += 1
        self.seconds += seconds
        if self.open:
            self.status.start()
            self.status.update(f"{self.kernels} compiled, the last: {kernel}")

    def note(self) -> list[str]:
        return [f"compiled {self.kernels} kernels in {self.seconds:.1f} s"] if self.kernels else []


class Show:
    """What the user sees of a run, and what its folder keeps."""

    def __init__(self, solver: Solver, folder: RunFolder, console: Console, quiet: bool):
        self.solver, self.folder, self.console = solver, folder, console
        self.start_iter, self.start = solver.iter, time.monotonic()
        self.next_look, self.testing = 0.0, 0.0
        self.results: dict[int, dict[str, Any]] = {}
        counts, facts = TextColumn("{task.completed:.0f}/{task.total:.0f}"), TextColumn("{task.fields[facts]}")
        columns = (TextColumn("{task.description}"), BarColumn(), counts, facts, TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=quiet or not console.is_terminal, auto_refresh=False)
        total = solver.spec.max_iter
        self.task = self.bar.add_task("train", total=total, completed=solver.iter, facts="")
        solver.add_callback(on_iteration=self.iteration, on_metrics=self.metrics, on_snapshot=self.snapshot)

    def __enter__(self) -> Show:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        self.folder.log(line)
        self.bar.console.print(line, markup=False)

    def speed(self) -> float:
        """Samples a second since the start, tests and compilation included."""
        done = (self.solver.iter - self.start_iter) * self.solver.batch_size
        return done / max(time.monotonic() - self.start, 1e-9)

    def iteration(self, loss: float) -> None:
        now = time.monotonic()
        if self.bar.disable or (now < self.next_look and self.solver.iter < self.solver.spec.max_iter):
            return
        self.next_look = now + REFRESH
        facts = f"loss {loss:.4f}  lr {self.solver.lr:.3g}  {self.speed():,.0f} images/s"
        self.bar.update(self.task, completed=self.solver.iter, facts=facts, refresh=True)

    def metrics(self, values: dict[str, Any]) -> None:
        self.folder.metrics({**values, "seconds": round(time.monotonic() - self.start, 3)})
        if values["phase"] == DEBUG:
            return  # too much for the screen
        if values["phase"] == "TEST":
            self.results[values["net"]] = values
        which = f" net {values['net']}" if values["phase"] == "TEST" and len(self.solver.test_nets) > 1 else ""
        self.say(f"iteration {values['iter']}  {values['phase'].lower()}{which}: {facts_of(values)}")

    def snapshot(self, path: Path) -> None:
        self.say(f"snapshot: {path}")

    def reached(self) -> list[str]:
        """The last words on what came out."""
        solver = self.solver
        seconds = time.monotonic() - self.start
        how = "done" if solver.stopped_by is None else f"stopped by signal {solver.stopped_by}"
        lines = [f"{how}: iteration {solver.iter} after {seconds:.1f} s, {self.speed():,.0f} images/s"]
        lines += [f"reached in test net {net}: {facts_of(values)}" for net, values in self.results.items()]
        return [*lines, f"run folder: {self.folder.path}"]


def facts_of(values: dict[str, Any]) -> str:
    """``accuracy 0.978, loss 0.0712``."""
    shown = {name: value for name, value in values.items() if name not in ("iter", "phase", "net")}
    return ", ".join(f"{name} {number(value)}" for name, value in shown.items())


def number(value: Any) -> str:
    return "[" + " ".join(map(number, value)) + "]" if isinstance(value, list) else f"{value:.4g}"


def next_steps(args: Namespace, solver: Solver, folder: RunFolder) -> list[str]:
    """Three commands that make sense now."""
    verb = command("train", args.solver)
    more = solver.spec.max_iter if solver.stopped_by is not None else 2 * solver.spec.max_iter
    lines = ["to try next:"]
    if solver.last_snapshot is not None:
        weights = model_name(solver.last_snapshot)
        lines.append("  " + command("test", args.solver, "--weights", weights))
    lines.append("  " + f"{verb} --resume {shlex.quote(str(folder.path))} --max-iter {more}")
    lines.append("  " + f"{verb} --set base_lr={solver.spec.base_lr / 2:g}")
    lines.append("  " + f"{verb} --seed {solver.seed + 1}")
    return lines[:4]


def command(*words: str) -> str:
    """The words as this program was called: the console command, or the script of the verb."""
    verb, *rest = words
    script = Path(sys.argv[0])
    start: Sequence[str] = ("nbcaffe", verb)
    if script.suffix == ".py" and script.stem in ("train", "test"):
        start = ("python", str(script.with_name(f"{verb}.py")))
    return shlex.join([*start, *rest])
