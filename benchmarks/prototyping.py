"""An activation of one's own: nbcaffe against PyTorch's eager mode, torch.compile and torch.autograd.Function.

``PYTHONPATH=. python benchmarks/prototyping.py --torch PYTHON`` counts lines, takes the seconds from a saved file to
the first checked run, and the time of forward and backward, each in separate processes that take turns; then compares
derived derivatives with hand-written ones.  ``--results FILE`` keeps each round; started again, it goes on from there.
"""

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
TYPES = {
    "swish": "SmoothGate",
    "rational": "Rational",
    "fixed_point": "CubeRoot",
    "quantise": "Quantise",
    "spline": "Spline",
}
MODES = ("nbcaffe", "eager", "compiled", "function")
SHAPE, TOLERANCE, BUDGET = (32, 64, 28, 28), 1e-5, 1.0  # seconds of timing for each activation
# A derivative by hand where the built-in layer has none, and in the place of those that it has: see `derivatives`.
BY_HAND = {
    "Swish": ("beta", "gate = 0.5 * math.tanh(0.5 * beta * x) + 0.5; return gate * (1.0 + beta * x * (1.0 - gate))"),
    "BNLL": ("", "return 0.5 * math.tanh(0.5 * x) + 0.5"),
    "AbsVal": ("", "return 1.0 if x > 0.0 else -1.0 if x < 0.0 else 0.0"),
    "Clip": ("min, max", "return 0.0 if x < min or x > max else 1.0"),
    "Log": ("base, scale, shift", "return scale / ((shift + scale * x) * (1.0 if base == -1.0 else math.log(base)))"),
    "Power": ("power, scale, shift", "return power * scale * (shift + scale * x) ** (power - 1.0)"),
    "PReLU": ("slope", "return 1.0 if x > 0.0 else slope"),
}
GIVEN = ("ReLU", "ELU", "Sigmoid", "TanH", "Exp")
PARAMS = {"Clip": {"min": -0.5, "max": 0.8}, "Log": {"shift": 20.0}, "Power": {"power": 0.37, "shift": 20.0}}


def problem():
    rng = np.random.default_rng(0)
    return (2.0 * rng.standard_normal(SHAPE)).astype("f"), rng.standard_normal(SHAPE).astype("f")


def milliseconds(run):
    for _ in range(3):
        run()
    times = []
    while sum(times) < BUDGET or len(times) < 5:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def ours(folder):
    from nbcaffe.single import Single

    x, dy = problem()
    found = {}
    for name, kind in TYPES.items():
        load(EXAMPLES / f"{name}.py")
        single = Single(kind, [SHAPE])
        layer, bottom, top = single.layer, single.bottom, single.top
        (y,), (dx,) = single.forward(x), single.backward(dy)
        np.savez(f"{folder}/nbcaffe_{name}.npz", y, dx, *(w.diff.copy() for w in layer.weights))
        forward = milliseconds(lambda f=layer.forward, b=bottom, t=top: f(b, t))
        found[name] = {
            "ms": milliseconds(lambda n=layer, b=bottom, t=top: (n.forward(b, t), n.backward(b, t))),
            "forward": forward,
        }
    return found


def torchs(mode, folder):
    import torch
    import torch_activations as activations

    torch.set_num_threads(2)
    x, dy = map(torch.from_numpy, problem())
    found = {}
    for name in TYPES:
        f = activations.version(name, mode, SHAPE[1])
        y, diffs = activations.gradients(f, x, dy)
        np.savez(f"{folder}/{mode}_{name}.npz", y.detach().numpy(), *(d.numpy() for d in diffs))
        found[name] = {"ms": milliseconds(lambda f=f: activations.gradients(f, x, dy))}
        if mode == "compiled":
            found[name]["breaks"] = sum(torch._dynamo.utils.counters["unimplemented"].values())
            torch._dynamo.utils.counters.clear()
    return found


def derivatives(folder):
    """Backward milliseconds of the built-in layers, derived and by hand; both first give the same gradients."""
    import nbcaffe.layers  # noqa: F401
    from nbcaffe.layer import REGISTRY
    from nbcaffe.single import Single

    lines = ["import math", "from nbcaffe.layers.activation import *"]
    for name in GIVEN:
        lines.append(f"class {name}Derived({name}): df = None")
    for name, (arguments, body) in BY_HAND.items():
        head = ", ".join(["x", *([arguments] if arguments else [])])
        more = "; df_slope = staticmethod(lambda x: 0.0 if x > 0.0 else x)" if name == "PReLU" else ""
        lines += [f"def by_{name}({head}):", *(f"    {part}" for part in body.split("; "))]
        if more:
            lines += ["def by_slope(x): return 0.0 if x > 0.0 else x"]
        lines += [f"class {name}ByHand({name}):", f"    df = by_{name}", *(["    df_slope = by_slope"] if more else [])]
    path = Path(folder) / "pairs_of_layers.py"
    path.write_text("\n".join(lines) + "\n")
    load(path)
    x, dy = problem()
    found = {}
    for name in (*GIVEN, *BY_HAND):
        pair = (f"{name}Derived", name) if name in GIVEN else (name, f"{name}ByHand")
        assert all(kind in REGISTRY for kind in pair)
        singles = [Single(kind, [SHAPE], **PARAMS.get(name, {})) for kind in pair]
        results = []
        for single in singles:
            single.forward(x)
            results.append([*single.backward(dy), *(w.diff.copy() for w in single.layer.weights)])
        apart = max(distance(a, b) for a, b in zip(*results, strict=True))
        assert apart < TOLERANCE, (name, apart)
        times = [[], []]
        for _ in range(30):
            for single, spent in zip(singles, times, strict=True):
                start = time.perf_counter()
                single.layer.backward(single.bottom, single.top)
                spent.append(time.perf_counter() - start)
        derived, by_hand = (statistics.median(spent) * 1e3 for spent in times)
        found[name] = {"derived": derived, "by_hand": by_hand}
    return found


def distance(a, b):
    """The largest difference, relative to the largest value where that is above 1."""
    a, b = a.ravel(), b.ravel()
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def apart(folder, name, mode):
    mine, other = (np.load(f"{folder}/{m}_{name}.npz") for m in ("nbcaffe", mode))
    return max(distance(mine[key], other[key]) for key in other.files)


def child(python, mode, folder, cache):
    environment = {**os.environ, "NBCAFFE_CACHE": cache, "NUMBA_NUM_THREADS": "2"}
    command = [python, __file__, "--run", mode, "--folder", folder]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def first_check(python, name, mode):
    """Seconds of a fresh process that checks one activation, with empty caches; None where the check fails."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NBCAFFE_CACHE": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
        if mode == "nbcaffe":
            command = [sys.executable, "-m", "nbcaffe", "check", str(EXAMPLES / f"{name}.py")]
        else:
            command = [python, "-c", f"import torch_activations as a; a.check({name!r}, {mode!r}, 4)"]
            environment["PYTHONPATH"] = str(HERE)
        start = time.time()
        failed = subprocess.run(command, capture_output=True, env=environment).returncode
        return None if failed else time.time() - start


def lines_of(text):
    """Lines of code: neither blank, nor comments, nor docstrings of a line."""
    lines = [line.strip() for line in text.splitlines()]
    return sum(1 for line in lines if line and not line.startswith("#") and not re.fullmatch(r'""".*"""', line))


def count_lines():
    parts = re.split(r"^# --- ?(.*)\n", (HERE / "torch_activations.py").read_text(), flags=re.MULTILINE)
    saved = dict(zip(parts[1::2], parts[2::2], strict=True))
    imports = {"eager": 1, "function": 2}  # torch; and Function
    table = {}
    for name in TYPES:
        more = int(name in ("rational", "spline"))  # torch.nn; the table of values
        table[name] = {"nbcaffe": lines_of((EXAMPLES / f"{name}.py").read_text())}
        for mode, count in imports.items():
            table[name][mode] = lines_of(saved[f"{name} {mode}"]) + count + more
        table[name]["compiled"] = table[name]["eager"] + 1
    return table


def report(results):
    middle = statistics.median
    print("\nlines\n", json.dumps(count_lines(), indent=1))
    for name in TYPES if results["rounds"] else ():
        row = []
        for mode in MODES[1:]:
            ratios = [r["nbcaffe"][name]["ms"] / r[mode][name]["ms"] for r in results["rounds"]]
            row.append(f"{mode} {middle(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        forward = middle(r["nbcaffe"][name]["forward"] / r["nbcaffe"][name]["ms"] for r in results["rounds"])
        breaks = results["rounds"][-1]["compiled"][name]["breaks"]
        print(f"{name}: nbcaffe / PyTorch: {', '.join(row)}; forward's share {forward:.0%}; graph breaks {breaks}")
    for name, seconds in results["first"].items():
        print(f"{name}: saved to checked:", ", ".join(f"{m} {s and round(s, 1)}" for m, s in seconds.items()))
    for name in results["derived"][0] if results["derived"] else ():
        ratios = [r[name]["derived"] / r[name]["by_hand"] for r in results["derived"]]
        print(f"{name}: derived / by hand {middle(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--results", type=Path, default=HERE / "prototyping.json", help="kept from run to run")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        kinds = {"nbcaffe": ours, "derived": derivatives}
        print(json.dumps(kinds[args.run](args.folder) if args.run in kinds else torchs(args.run, args.folder)))
        return
    results = {"rounds": [], "first": {}, "derived": []}
    if args.results.exists():
        results = json.loads(args.results.read_text())
    rounds = 1 if args.quick else args.rounds
    with tempfile.TemporaryDirectory() as folder:
        python = dict.fromkeys(MODES[1:], args.torch) | {"nbcaffe": sys.executable, "derived": sys.executable}
        while len(results["rounds"]) < rounds:
            found = {mode: child(python[mode], mode, folder, f"{folder}/cache") for mode in MODES}
            for name in TYPES:
                for mode in MODES[1:]:
                    found[mode][name]["apart"] = apart(folder, name, mode)
                    if found[mode][name]["apart"] > TOLERANCE:
                        print(f"DIFFERENT: {name}, nbcaffe and {mode}: {found[mode][name]['apart']:.1e}", flush=True)
            results["rounds"].append(found)
            args.results.write_text(json.dumps(results))
            print(f"round {len(results['rounds'])} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
        while len(results["derived"]) < rounds:
            results["derived"].append(child(sys.executable, "derived", folder, f"{folder}/cache"))
            args.results.write_text(json.dumps(results))
        for name in TYPES:
            if name not in results["first"]:
                results["first"][name] = {mode: first_check(args.torch, name, mode) for mode in MODES}
                args.results.write_text(json.dumps(results))
    report(results)


if __name__ == "__main__":
    main()
