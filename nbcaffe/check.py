"""Is a layer right?  Gradients against finite differences, targets against each other, in place, accumulation.

``nbcaffe check`` runs this for layers and files of layers; the test suite runs it for every registered layer.
"""

import importlib.util
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from . import layers  # noqa: F401  (defines the built-in types)
from .device import SIMULATED
from .errors import ConfigError
from .layer import REGISTRY
from .params import did_you_mean
from .single import Single, least

STEP = 1e-6  # of the central difference, in float64


class Case:
    """One layer, one example: sample values clear of the layer's kinks, and a direction for each top's gradient."""

    def __init__(self, kind: str, example: dict[str, Any], seed: int = 7):
        example = dict(example)
        self.kind, self.cls = kind, REGISTRY[kind]
        self.shapes = [tuple(s) for s in example.pop("bottom", self.cls.bottom_shapes)]
        self.num_top = example.pop("num_top", least(self.cls.num_top))
        self.phase = example.pop("phase", "TRAIN")
        self.params = example
        self.rng = np.random.default_rng(seed)
        self.values = [self.clear(self.cls.sample(i, s, self.rng)) for i, s in enumerate(self.shapes)]

    def clear(self, values: np.ndarray) -> np.ndarray:
        for kink in self.cls.kinks:
            near = np.abs(values - kink) < 0.05
            values = np.where(near, values + 0.1, values)
        return values

    def single(self, **options: Any) -> Single:
        return Single(self.kind, self.shapes, phase=self.phase, num_top=self.num_top, **options, **self.params)

    @property
    def differentiable(self) -> bool:
        return self.cls.differentiable != () and bool(self.shapes)

    def run(self, **options: Any) -> list[np.ndarray]:
        """Tops, then the bottoms' and weights' gradients, for one forward and one backward pass."""
        single = self.single(**options)
        rng = np.random.default_rng(3)
        out = single.forward(*self.values)
        if self.differentiable:
            bottom = single.backward(*(rng.standard_normal(t.shape) for t in single.top))
            out += [b for b, need in zip(bottom, single.layer.propagate_down, strict=True) if need]
            out += [single.device.download(w.diff).copy() for w in single.layer.weights]
        return out


def gradient_error(case: Case) -> float:
    """The largest relative error of a directional derivative, over bottoms and weights."""
    single = case.single(dtype=np.float64)
    for weight in single.layer.weights:
        single.device.upload(weight.data, case.rng.standard_normal(weight.shape))
    spoil(single)
    single.forward(*case.values)
    direction = [case.rng.standard_normal(t.shape) for t in single.top]
    single.backward(*direction)
    inputs = [b for b, need in zip(single.bottom, single.layer.propagate_down, strict=True) if need]
    errors = [0.0]
    for blob in [*inputs, *single.layer.weights]:
        gradient, start = blob.diff.copy(), blob.data.copy()
        way = case.rng.standard_normal(blob.shape)
        ends = []
        for sign in (1.0, -1.0):
            blob.data[...] = start + sign * STEP * way
            tops = single.forward()
            ends.append(sum(float((t * d).sum()) for t, d in zip(tops, direction, strict=True)))
        blob.data[...] = start
        numeric, analytic = (ends[0] - ends[1]) / (2 * STEP), float((gradient * way).sum())
        errors.append(abs(numeric - analytic) / max(1.0, abs(numeric)))
    return float(np.max(errors))  # a NaN stays one, where Python's max would lose it


def spoil(single: Single) -> None:
    """Leave a NaN wherever a pass must write: what is added to, or left out, then shows."""
    for array in (*(top.data for top in single.top), *(bottom.diff for bottom in single.bottom)):
        single.device.upload(array, np.nan)


def difference(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """The largest difference relative to the largest value, over pairs of arrays."""
    errors = [
        np.abs(x.astype(np.float64) - y).max() / np.maximum(1e-3, np.abs(y).max())
        for x, y in zip(a, b, strict=True)
        if x.size
    ]
    return float(np.max(errors, initial=0.0))


def targets_error(case: Case) -> float:
    """CPU against CUDA: a GPU, or the simulator."""
    return difference(case.run(device="cuda"), case.run(device="cpu"))


def inplace_error(case: Case) -> float:
    """In place against not in place; the bottom's gradient and the top must not change."""
    return difference(case.run(inplace=True), case.run())


def accumulation_error(case: Case) -> float:
    """Weights' gradients after two passes against twice those of one."""
    single = case.single()
    direction = [case.rng.standard_normal(t.shape) for t in single.top]
    diffs = []
    for _ in range(2):
        single.forward(*case.values)
        single.backward(*direction)
        diffs.append([w.diff.copy() for w in single.layer.weights])
    return difference(diffs[1], [2.0 * d for d in diffs[0]])


Check = tuple[str, Callable[[Case], float], float, Callable[[Case], bool]]
CHECKS: tuple[Check, ...] = (
    ("gradient", gradient_error, 1e-5, lambda c: c.differentiable),
    ("cpu = cuda", targets_error, 1e-5, lambda c: SIMULATED),
    ("in place", inplace_error, 1e-6, lambda c: c.cls.inplace and c.differentiable),
    ("accumulation", accumulation_error, 1e-5, lambda c: c.differentiable and bool(c.single().layer.weights)),
)


def cases(kinds: list[str]) -> Iterator[tuple[str, int, Case]]:
    for kind in kinds:
        for index, example in enumerate(REGISTRY[kind].examples):
            yield kind, index, Case(kind, example)


def kinds_of(what: list[str]) -> list[str]:
    """Layer types from type names and from Python files that define layers."""
    found: list[str] = []
    for item in what:
        if item.endswith(".py"):
            before = set(REGISTRY)
            load_layers(Path(item))
            found += sorted(set(REGISTRY) - before)
        elif item in REGISTRY:
            found.append(item)
        else:
            raise ConfigError(f"check: no layer type {item!r}{did_you_mean(item, REGISTRY)}")
    return found or sorted(REGISTRY)


def load_layers(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)


def run(args: Namespace) -> int:
    """Print a table of checks; exit code 1 where one fails."""
    table = Table("layer", "example", *(name for name, *_ in CHECKS))
    failed = 0
    for kind, index, case in cases(kinds_of(args.what)):
        row = []
        for _, check, tolerance, applies in CHECKS:
            error = check(case) if applies(case) else None
            failed += error is not None and not error <= tolerance
            row.append("" if error is None else f"{error:.1e}" + ("" if error <= tolerance else "  FAILED"))
        table.add_row(kind, str(index), *row)
    Console().print(table)
    print(f"{failed} failed" if failed else "all passed")
    return int(failed > 0)
