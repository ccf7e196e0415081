"""How many instructions the hot kernels execute: figures without noise, to notice what a change made slower.

``PYTHONPATH=. python benchmarks/instructions.py`` prints a table of each kernel's count beside the recorded one;
``--check`` also fails, naming the kernels, when a count grew by more than 5 %, and ``--update`` records the counts in
``benchmarks/instructions.json``.  Needs Linux on x86-64 and valgrind.

Valgrind runs no AVX-512, so kernels are compiled for AVX2 (``haswell``), the width that most hosts have; one thread.
Kernels are compiled without it, before; then one process under callgrind runs each case N and 2 N times, and the
difference, divided by N, is the count of one call.  Fewer instructions need not be faster: this guards, timing decides.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

RECORDED = Path(__file__).with_name("instructions.json")
ALLOWED = 0.05
CALLS = 2
FEATURES = "64bit avx avx2 bmi bmi2 cmov cx16 cx8 f16c fma fxsr lzcnt mmx movbe popcnt sahf sse sse2 sse3 sse4.1 sse4.2"
HOST = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": ",".join(f"+{word}" for word in [*FEATURES.split(), "ssse3", "xsave"]),
    "NUMBA_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
IMAGES, PLANES = [(2, 32, 24, 24)], [(4, 16, 32, 32)]
CONV = {"num_output": 32, "pad": 1, "kernel_size": 3}
CASES = {  # name: type, bottoms, parameters
    "convolution 3x3 DIRECT": ("Convolution", IMAGES, {**CONV, "engine": "DIRECT"}),
    "convolution 3x3 WINOGRAD": ("Convolution", IMAGES, {**CONV, "engine": "WINOGRAD"}),
    "convolution 5x5 stride 2": ("Convolution", IMAGES, {"num_output": 32, "kernel_size": 5, "stride": 2}),
    "convolution 1x1": ("Convolution", IMAGES, {"num_output": 32, "kernel_size": 1}),
    "product": ("InnerProduct", [(64, 512)], {"num_output": 128}),
    "pooling MAX 2x2": ("Pooling", PLANES, {"kernel_size": 2, "stride": 2}),
    "pooling MAX 3x3": ("Pooling", PLANES, {"kernel_size": 3, "stride": 2}),
    "pooling AVE 3x3": ("Pooling", PLANES, {"kernel_size": 3, "stride": 2, "pool": "AVE"}),
    "LRN across channels": ("LRN", PLANES, {}),
    "ReLU": ("ReLU", PLANES, {}),
    "softmax": ("Softmax", [(64, 100)], {}),
}
PARAMETERS = 65536  # of the update


# The child, under callgrind.


def requester():
    """A function that sends valgrind a request; outside valgrind it does nothing."""
    import llvmlite.binding as llvm
    import numpy as np
    from llvmlite import ir
    from numba import njit, types
    from numba.extending import intrinsic

    llvm.initialize_native_asmparser()
    rotations = "; ".join(f"rolq $${n}, %rdi" for n in (3, 13, 61, 51))  # what valgrind looks for; together nothing

    @intrinsic
    def send(_, where):
        def code(context, builder, signature, values):
            word = ir.IntType(64)
            kind = ir.FunctionType(word, [word, word])
            clobbered = "={rdx},{rax},{rdx},~{rdi},~{cc},~{memory}"
            asm = f"{rotations}; xchgq %rbx, %rbx"
            return builder.asm(kind, asm, clobbered, [values[0], ir.Constant(word, 0)], True)

        return types.int64(types.int64), code

    @njit
    def call(where):
        return send(where)

    def request(number, text=b""):
        words = np.zeros(6, np.uint64)
        name = np.frombuffer(text + b"\0", np.uint8)
        words[:2] = (ord("C") << 24 | ord("T") << 16) + number, name.ctypes.data
        call(words.ctypes.data)

    return request


def bound():
    """For each case and direction its bound steps."""
    import numpy as np

    from nbcaffe.device import Cpu
    from nbcaffe.kernel import recording
    from nbcaffe.single import Single
    from nbcaffe.solver.spec import read_solver
    from nbcaffe.solver.updates import BoundUpdate

    import_module("nbcaffe.layers")  # defines the types
    rng, found = np.random.default_rng(0), {}
    for name, (kind, shapes, params) in CASES.items():
        single = Single(kind, shapes, **params)
        for blob in (*single.bottom, *single.layer.weights):
            blob._data[...] = rng.standard_normal(blob.shape)
        for top in single.top:
            top._diff[...] = rng.standard_normal(top.shape)
        for way in ("forward", "backward"):
            with recording() as steps:
                getattr(single.layer, way)(single.bottom, single.top)
            found[f"{name} {way}"] = steps, single  # which owns the memory
    spec = read_solver({"base_lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "lr_policy": "fixed", "net": "none"})
    data, diff = (rng.standard_normal(PARAMETERS).astype(np.float32) for _ in range(2))
    update = BoundUpdate(spec, Cpu(), data, diff, [(1.0, 1.0, 0, PARAMETERS)])
    update.measure(0)
    found["SGD update"] = update.steps, update
    return found


def child():
    zero, dump, start, stop = 1, 3, 4, 5
    request = requester()
    request(stop)
    cases = bound()
    for steps, _ in cases.values():
        for step in steps:
            step()
    for name, (steps, _) in cases.items():
        request(start)
        for count in (CALLS, 2 * CALLS):
            request(zero)
            for step in steps * count:
                step()
            request(dump, f"{name}={count}".encode())
        request(stop)


# The parent.


def run(*before):
    done = subprocess.run(
        [*before, sys.executable, __file__, "--run"], env={**os.environ, **HOST}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(before)} failed:\n{done.stderr[-3000:]}")


def measure():
    """Instructions of one call by case and direction."""
    run()  # compiles
    seen = {}
    with tempfile.TemporaryDirectory() as folder:
        run("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out")
        for path in Path(folder).iterdir():
            text = path.read_text()
            label = re.search(r"^desc: Trigger: Client Request: (.*)=(\d+)$", text, re.M)
            if label:
                seen[label[1], int(label[2])] = int(re.search(r"^(?:totals|summary): (\d+)", text, re.M)[1])
    names = dict.fromkeys(name for name, _ in seen)
    found = {name: (seen[name, 2 * CALLS] - seen[name, CALLS]) // CALLS for name in names}
    order = [f"{name} {way}" for name in CASES for way in ("forward", "backward")]
    return {name: found[name] for name in [*order, "SGD update"]}


def environment():
    import numba
    import numpy

    return {"numba": numba.__version__, "numpy": numpy.__version__, "cpu": HOST["NUMBA_CPU_NAME"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help=f"fail when a count grew by more than {ALLOWED:.0%}")
    parser.add_argument("--update", action="store_true", help=f"record the counts in {RECORDED.name}")
    args = parser.parse_args()
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"counts": {}}
    found, grown = measure(), []
    print("| kernel | instructions | recorded | change |\n|---|---|---|---|")
    for name, count in found.items():
        old = recorded["counts"].get(name)
        change = count / old - 1 if old else 0.0
        print(f"| {name} | {count:,} | {f'{old:,}' if old else '-'} | {f'{change:+.1%}' if old else 'new'} |")
        if change > ALLOWED:
            grown.append(f"{name}: {old:,} to {count:,} instructions, {change:+.1%}")
    if args.update:
        RECORDED.write_text(json.dumps({**environment(), "counts": found}, indent=2) + "\n")
    elif args.check and grown:
        other = {key: value for key, value in environment().items() if recorded.get(key) != value}
        told = f"\n(recorded with other versions; here: {other})" if other else ""
        raise SystemExit("grew by more than 5 %; find out why, or record it with --update:\n" + "\n".join(grown) + told)


if __name__ == "__main__":
    child() if "--run" in sys.argv else main()
