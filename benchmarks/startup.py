"""Start-up: seconds from starting ``python`` to the end of LeNet's first training iteration, by ``nbcaffe train``.

``PYTHONPATH=. python benchmarks/startup.py`` alternates fresh processes: cold with an empty kernel cache (and tells
what was compiled), warm with the cache that the run before left behind.  The data are noise of MNIST's shape; with
``--net`` a net of ``benchmarks/nets/`` is trained on zeros instead.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

SOLVER = Path(__file__).resolve().parents[1] / "nets/lenet/solver.yaml"
SETTINGS = ("max_iter=1", "test_interval=0", "snapshot_after_train=false")


def child(folder, net):
    """One iteration; the last line printed is what was compiled and when the iteration had ended."""
    from nbcaffe.kernel import on_compile

    compiled = []
    on_compile(lambda name, seconds: compiled.append((name, seconds)))
    failed = train_zeros(net) if net else train_lenet(folder)
    print(json.dumps({"end": time.time(), "compiled": compiled}))
    return failed


def train_lenet(folder):
    from nbcaffe.cli import main

    settings = [word for setting in (*SETTINGS, f"data.source={folder}/mnist.h5") for word in ("--set", setting)]
    return main(["train", str(SOLVER), "--quiet", "--runs", f"{folder}/runs", *settings])


def train_zeros(net):
    from nbcaffe.solver.loop import Solver

    settings = {"base_lr": 0.01, "lr_policy": "fixed", "net": str(Path(__file__).parent / f"nets/{net}.yaml")}
    Solver(settings, memory="plan").step(1)


def measure(folder, cache, net):
    """Seconds of one process, and the kernels it compiled."""
    start = time.time()
    command = [sys.executable, __file__, "--run", str(folder), *(["--net", net] if net else [])]
    done = subprocess.run(command, env={**os.environ, "NBCAFFE_CACHE": cache}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    return told["end"] - start, told["compiled"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="cold and warm processes (default: 5)")
    parser.add_argument("--net", metavar="NAME", help="a net of benchmarks/nets/ instead of LeNet's recipe")
    parser.add_argument("--run", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return child(args.run, args.net)
    times = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        with h5py.File(Path(folder) / "mnist.h5", "w") as file:
            file["data"] = rng.integers(0, 256, (1000, 1, 28, 28), np.uint8)
            file["label"] = rng.integers(0, 10, 1000, np.uint8)
        for number in range(args.rounds):
            cache = f"{folder}/cache{number}"
            seconds, compiled = measure(folder, cache, args.net)
            again, none = measure(folder, cache, args.net)
            assert not none, f"compiled again although the cache was warm: {none}"
            times["cold"].append(seconds)
            times["warm"].append(again)
            if number == 0:
                print(f"{len(compiled)} kernels compiled in {sum(s for _, s in compiled):.1f} s:")
                print(", ".join(f"{name} {spent:.2f}" for name, spent in compiled))
            print(f"round {number + 1}: cold {seconds:.2f} s, warm {again:.2f} s", flush=True)
    print(", ".join(f"{kind} {statistics.median(found):.2f} s" for kind, found in times.items()), "(medians)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
