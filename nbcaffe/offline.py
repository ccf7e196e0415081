"""Compile every kernel to machine code for a GPU that is not there, and read what it costs.

``python -m nbcaffe.offline 80 90`` prints a table and fails where a float32 kernel holds a double precision
instruction, spills registers or uses a stack.  It needs the ``[cuda]`` extra and no driver.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import layers  # noqa: F401  (defines the built-in types)
from .device import Cpu, cuda, pretend_capability
from .kernel import Kernel, intercepted
from .layer import REGISTRY
from .single import Single, least

SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True)
class Resources:
    """What one kernel needs on one architecture."""

    kernel: str
    compute: str
    registers: int
    stack: int
    spills: int
    doubles: int

    @property
    def clean(self) -> bool:
        return not (self.stack or self.spills or self.doubles)


class Recorder(Cpu):
    """The host, calling itself cuda: layers choose what they would run on a GPU, and we see each launch."""

    name = "cuda"


def launches() -> list[tuple[Kernel, int, tuple]]:
    """Each distinct kernel launch of every layer's examples: kernel, number of indices, arguments."""
    seen: dict[tuple, tuple[Kernel, int, tuple]] = {}

    def watch(kernel: Kernel, shape: tuple[int, ...], *args: Any) -> tuple:
        key = (id(kernel), len(shape), tuple(getattr(a, "ndim", 0) for a in args))
        seen[key] = (kernel, len(shape), args)
        return kernel.bind(shape, *args)

    with intercepted(watch):
        for kind, cls in sorted(REGISTRY.items()):
            for example in cls.examples:
                run(kind, dict(example))
    return list(seen.values())


def run(kind: str, example: dict[str, Any]) -> None:
    cls = REGISTRY[kind]
    shapes = example.pop("bottom", cls.bottom_shapes)
    num_top = example.pop("num_top", least(cls.num_top))
    rng = np.random.default_rng(0)
    for phase in [example.pop("phase")] if "phase" in example else ["TRAIN", "TEST"]:
        single = Single(kind, shapes, device=Recorder(), phase=phase, num_top=num_top, **example)
        single.forward(*(cls.sample(i, shape, rng) for i, shape in enumerate(shapes)))
        if cls.differentiable != () and shapes:
            single.backward(*(rng.standard_normal(top.shape) for top in single.top))


def compile_for(kernel: Kernel, ndim: int, args: tuple, compute: str) -> Resources:
    """One kernel through NVVM and ptxas."""
    from numba import typeof, types

    arrays = kernel.arrays(ndim, args)
    module = kernel.module("cuda", ndim, "float32", arrays)
    kinds = [types.float32 if isinstance(a, float | np.floating) else typeof(a) for a in args]
    signature = types.void(*[types.int64] * ndim, *kinds)
    ptx, _ = cuda.compile_ptx(module.launch, signature, cc=(int(compute[0]), int(compute[1])))
    doubles = len(re.findall(r"^\s+\w[\w.]*\.f64", ptx, re.M))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [ptxas(), "-v", f"-arch=sm_{compute}", str(source), "-o", str(source.with_suffix(".cubin"))]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    stack, stores, loads = map(max, zip(*(map(int, m) for m in SPILL.findall(log)), strict=True))
    registers = max(map(int, re.findall(r"Used (\d+) registers", log)))
    return Resources(kernel.__name__, compute, registers, stack, stores + loads, doubles)


def ptxas() -> str:
    """The assembler of the ``nvidia-cuda-nvcc`` wheel."""
    for folder in map(Path, sys.path):
        for path in folder.glob("nvidia/**/bin/ptxas"):
            return str(path)
    raise FileNotFoundError("ptxas: install the [cuda] extra")


def report(computes: list[str]) -> Iterator[Resources]:
    for compute in computes:
        pretend_capability((int(compute[0]), int(compute[1])))
        for kernel, ndim, args in launches():
            yield compile_for(kernel, ndim, args, compute)


def main() -> int:
    bad = 0
    for r in report(sys.argv[1:] or ["80", "90"]):
        bad += not r.clean
        flag = "" if r.clean else "  <-- "
        costs = f"{r.registers:3} registers, stack {r.stack}, spills {r.spills}, f64 {r.doubles}"
        print(f"sm_{r.compute} {r.kernel:28} {costs}{flag}")
    return bad


if __name__ == "__main__":
    sys.exit(main())
