"""``nbcaffe check``: layers by type or from a file, nets, and two targets or engines side by side."""

import importlib.util
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import layers  # noqa: F401  (defines the built-in types)
from .checks import CHECKS, Case, Finding, examine
from .device import SIMULATED, cuda
from .errors import ConfigError
from .layer import REGISTRY
from .params import did_you_mean

NETS = (".yaml", ".yml", ".prototxt")
CUDA = "cpu = simulator" if SIMULATED else "cpu = GPU"
Row = tuple[str, list[Finding | None]]


def run(args: Namespace) -> int:
    """Check what the command line names; exit code 1 where something is wrong."""
    nets = [item for item in args.what if item.endswith(NETS)]
    start = time.perf_counter()
    if getattr(args, "pair", None):
        if not nets or len(nets) < len(args.what):
            raise ConfigError("check --pair: name a net, such as `nbcaffe check net.yaml --pair cpu,sim`")
        from .checks.pair import pair

        faults = [fault for net in nets for fault in pair(net, args.pair, args.set)]
    else:
        faults = [fault for net in nets for fault in check_net(net, args)]
        kinds = kinds_of([item for item in args.what if item not in nets]) if len(nets) < len(args.what) else []
        kinds = kinds or ([] if nets else sorted(REGISTRY))
        faults += [fault for kind in kinds for fault in check_type(kind)]
    for fault in faults:
        print(fault)
    if not (SIMULATED or cuda.is_available()):
        print("no CUDA target: the CPU was compared with nothing")
    verdict = f"{len(faults)} FAILED" if faults else "all passed"
    print(f"{verdict}, {time.perf_counter() - start:.1f} s")
    return int(bool(faults))


def check_net(net: str, args: Namespace) -> list[str]:
    from .checks.net import check_net

    return check_net(net, args.set)


def check_type(kind: str) -> list[str]:
    """Print a layer's table; return its faults as sentences."""
    if kind not in REGISTRY:
        return check_of_solver(kind)
    cases = [Case(kind, example) for example in REGISTRY[kind].examples]
    rows = [(check.name, [examine(check, case) for case in cases]) for check in CHECKS]
    table = Table(title=kind, title_justify="left")
    table.add_column("check")
    for case in cases:
        table.add_column(escape(describe(case)), overflow="fold")
    for name, found in rows:
        if any(found):
            table.add_row(CUDA if name == "cpu = cuda" else name, *map(cell, found))
    if any(case.kinks.looked for case in cases):
        table.add_row("kinks", *map(kinks, cases))
    Console().print(table)
    return list(faults(kind, cases, rows)) + advice(cases)


def describe(case: Case) -> str:
    params = {k: v for k, v in case.example.items() if k != "bottom"}
    return ", ".join(f"{k}: {v}" for k, v in params.items()) or "defaults"


def cell(found: Finding | None) -> str:
    if found is None:
        return ""
    if not found.passed:
        return "[bold red]FAILED[/]"
    return "ok" if not found.error else f"ok {found.error:.0e}"


def kinks(case: Case) -> str:
    """``found 1 at 0, declared 1``, and jumps of the value itself."""
    text = f"found {len(case.kinks.places)}{places(case.kinks.places)}, declared {len(case.cls.kinks)}"
    return text + (f"; jumps: {len(case.kinks.jumps)}{places(case.kinks.jumps)}" if case.kinks.jumps else "")


def places(found: tuple[float, ...]) -> str:
    return " at " + ", ".join(f"{x:g}" for x in found[:3]) + (", ..." if len(found) > 3 else "") if found else ""


def faults(kind: str, cases: list[Case], rows: list[Row]) -> Iterator[str]:
    """A sentence for each check that failed; examples that fail alike are one, as are all that do not compile."""
    broken = [f for _, found in rows for f in found if f and not f.passed and " does not compile: " in f.fault]
    if broken:
        yield f"{kind}: {broken[0].fault}"
    for name, found in rows:
        found = [None if f in broken else f for f in found]
        seen: dict[str, list[str]] = {}
        for case, finding in zip(cases, found, strict=True):
            if finding and not finding.passed:
                seen.setdefault(finding.fault, []).append(describe(case))
        for fault, examples in seen.items():
            yield f"{kind} ({'; '.join(examples)}): {name}: {fault}"


def advice(cases: list[Case]) -> list[str]:
    """Not a fault, so it is printed here: a function that jumps needs another one to learn by."""
    jumping = next((c for c in cases if c.kinks.jumps and getattr(c.cls, "surrogate", None) is None), None)
    if jumping:
        print(
            f"{jumping.kind}: its value jumps{places(jumping.kinks.jumps)}, and no derivative tells of that: to learn "
            "through it, declare surrogate=, a function whose derivative the backward pass takes"
        )
    return []


def kinds_of(what: list[str]) -> list[str]:
    """Layer types from type names, and what Python files define: layers, updates, policies."""
    found: list[str] = []
    for item in what:
        if item.endswith(".py"):
            before: dict[str, Any] = dict(REGISTRY)
            load_layers(Path(item))
            new = [kind for kind, cls in REGISTRY.items() if before.get(kind) is not cls]
            rules = updates_of(item)
            if not new and not rules:
                raise ConfigError(f"{item}: defines no layer; a layer is a subclass of Activation or Layer")
            found += [*new, *rules]
        elif item in REGISTRY:
            found.append(item)
        else:
            raise ConfigError(f"check: no layer type {item!r}{did_you_mean(item, REGISTRY)}")
    return found


def updates_of(file: str) -> list[str]:
    """Updates and policies that a file which has been loaded defines."""
    from .solver.policies import POLICIES
    from .solver.rules import UPDATES

    functions = {**{name: rule.update for name, rule in UPDATES.items()}, **{n: p.rate for n, p in POLICIES.items()}}
    return [name for name, fn in functions.items() if Path(fn.__code__.co_filename).resolve() == Path(file).resolve()]


def check_of_solver(name: str) -> list[str]:
    """Print the table of an update or a policy; return its faults as sentences."""
    from .checks.updates import check_policy, check_rule
    from .solver.rules import UPDATES

    found = [*(check_rule(name) if name in UPDATES else check_policy(name))]
    table = Table("check", "", title=name, title_justify="left")
    for check, finding in found:
        table.add_row(check, " ".join([cell(finding), finding.note]).strip())
    Console().print(table)
    return [f"{name}: {check}: {finding.fault}" for check, finding in found if finding.fault]


def load_layers(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))  # it may import what lies beside it
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
