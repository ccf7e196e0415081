"""Each width of vectors: the engines' tests in a process that is compiled for it, and tiles that stay in registers.

The machine's own width is what all other tests run.  NEON is compiled here, not run, unless the machine has it.
"""

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass, field

import llvmlite.binding as llvm
import numpy as np
import pytest

import nbcaffe.layers  # noqa: F401  (defines the types)
from benchmarks.instructions import HOST
from nbcaffe.ops import direct, direct_product, host
from nbcaffe.single import Single

ARM = platform.machine().lower() in ("arm64", "aarch64")


@dataclass(frozen=True)
class Width:
    """What forces it, what a machine needs to run it, and how its machine code looks."""

    registers: tuple[int, int]  # as in host.registers
    multiply: str  # a whole register's worth
    wider: str = "nothing is"  # may be nowhere
    needs: tuple[str, ...] = ()
    forced: dict[str, str] = field(default_factory=dict)
    arm: bool = False

    @property
    def runs(self) -> bool:
        features = llvm.get_host_cpu_features()
        return self.arm == ARM and all(features.get(name) for name in self.needs)


WIDTHS = {
    "AVX-512": Width((32, 1), r"vfmadd\w+ps\b.*%zmm", needs=("avx512f", "avx512vl", "avx512dq")),
    "AVX2": Width(
        (16, 2),
        r"vfmadd\w+ps\b.*%ymm",
        "%zmm",
        ("avx2", "fma", "bmi2", "f16c", "lzcnt", "movbe"),
        {name: HOST[name] for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")},
    ),
    "SSE2": Width((16, 4), r"mulps\b.*%xmm", "%[yz]mm", forced={"NUMBA_CPU_NAME": "generic"}),
    "NEON": Width((32, 4), r"fmla\b.*4s", arm=True),
}
FORCED = [name for name, width in WIDTHS.items() if width.forced]


def child(width, *arguments, **more):
    """What Python prints in a process that compiles for this width."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_CPU_", "NUMBA_ENABLE_AVX"))}
    done = subprocess.run(
        [sys.executable, *arguments], env={**kept, **width.forced, **more}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def width_that_runs(name):
    if not WIDTHS[name].runs:
        pytest.skip(f"this machine cannot run {name}")
    return WIDTHS[name]


# -- results ----------------------------------------------------------------------------------------------------------

FILES = ("engines", "pooling", "sweep", "kernel")
CONVOLUTIONS = "convolution_equals and (DIRECT or WINOGRAD) and (stride or one or width or conv3 or padding or groups)"
CHOSEN = {  # few: a kernel is compiled anew for each width
    "AVX2": f"({CONVOLUTIONS}) or (product_equals and DIRECT) or (any_shape and (0 or 1))"
    " or (tiles_pool and (inception or cell or square)) or (lrn_computes and quick)"
    " or odd_sizes or (loop_ends and Adam) or exp_log_and_tanh_are or softmax_and_tanh",
    "SSE2": "product_equals and DIRECT and not sizes0 or softmax_and_tanh",
}


def run_tests(name, root, files, *arguments):
    paths = [str(root / f"tests/test_{file}.py") for file in files]
    child(width_that_runs(name), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments, *paths)


@pytest.mark.parametrize("name", FORCED)
def test_engines_are_right_at_a_forced_width(name, root):
    run_tests(name, root, (*FILES, "widths"), "-k", CHOSEN[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORCED)
def test_all_tests_of_engines_pass_at_a_forced_width(name, root):
    run_tests(name, root, FILES)


def test_softmax_and_tanh_equal_float64():
    """Two kernels that LLVM makes vectors of by itself."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 7, 37)).astype(np.float32)
    wide, gradient = x.astype(np.float64), dy.astype(np.float64)
    soft, tanh = np.exp(wide) / np.exp(wide).sum(1, keepdims=True), np.tanh(wide)
    expected = {
        "Softmax": (soft, soft * (gradient - (soft * gradient).sum(1, keepdims=True))),
        "TanH": (tanh, gradient * (1 - tanh**2)),
    }
    for kind, (y, dx) in expected.items():
        single = Single(kind, [x.shape])
        single.bottom[0]._data[...], single.top[0]._diff[...] = x, dy
        single.layer.forward(single.bottom, single.top)
        single.layer.backward(single.bottom, single.top)
        np.testing.assert_allclose(single.top[0]._data, y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(single.bottom[0]._diff, dx, rtol=1e-5, atol=1e-6)


# -- machine code -----------------------------------------------------------------------------------------------------

TILES = {
    "product_tile": "tile",
    "product_turned_tile": "tile",
    "winograd_product": "product",
    "forward_tile": "image",
    "weights_tile": "image",
    "columns_tile": "product",
}
LISTING = """
import json, sys
from nbcaffe.ops import direct, host
from nbcaffe.ops.specialise import specialise
if sys.argv[2] == "as ARM":
    host.platform.machine = lambda: "aarch64"
largest = {v: (m, v) for m, v in direct.tiles()}
found = []
for template, name in json.loads(sys.argv[1]).items():
    for rows, vectors in largest.values():
        code = getattr(specialise(template, MR=rows, NV=vectors), name)
        text = code.inspect_llvm() if sys.argv[2] == "as ARM" else code._library.get_asm_str()
        found.append((template, rows, vectors, text))
print(json.dumps([host.registers(), found]))
"""
SPILL = re.compile(r"mm\d+.*\(%rsp|\(%rsp.*mm\d+|\b[qv]\d+.*\[sp")
OTHER_MACHINES = (("aarch64-unknown-linux-gnu", "neoverse-n1"), ("arm64-apple-macosx", "apple-m1"))


def compiled_elsewhere(code, triple, cpu):
    """The assembly of LLVM code that nothing has optimised yet."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    module = llvm.parse_assembly(code)
    module.triple, module.data_layout = triple, str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    return machine.emit_assembly(module)


def hot_loop(assembly, multiply):
    """The lines of the innermost loop with the most multiplications."""
    lines = [line.strip() for line in assembly.splitlines()]
    label, branch = re.compile(r"(\.?LBB\w+):"), re.compile(r"(?:j|b|cb|tb)\w*(?:\.\w+)?\s.*?(\.?LBB\w+)$")
    starts = {found[1]: i for i, line in enumerate(lines) if (found := label.match(line))}
    jumps = [(starts.get(found[1], i), i) for i, line in enumerate(lines) if (found := branch.match(line))]
    loops = [(first, last) for first, last in jumps if first < last]
    inner = [(a, b) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]
    return max((lines[a : b + 1] for a, b in inner), key=lambda body: sum(bool(re.search(multiply, x)) for x in body))


@pytest.mark.parametrize("name", WIDTHS)
def test_tiles_fill_the_registers_of_a_width_and_stay_in_them(name, tmp_path):
    width = WIDTHS[name]
    foreign = width.arm and not ARM
    if not foreign:
        width_that_runs(name)
    arguments = ("-c", LISTING, json.dumps(TILES), "as ARM" if foreign else "as it is")
    # unoptimised code must not reach the cache of others; without masks and registers of x86-64, the code is ARM's
    bare = {"NUMBA_OPT": "0", "NUMBA_CPU_NAME": "generic"} if foreign else {}
    registers, found = json.loads(child(width, *arguments, NBCAFFE_CACHE=str(tmp_path), **bare))
    assert tuple(registers) == width.registers
    for template, rows, vectors, code in found:
        for assembly in [compiled_elsewhere(code, *other) for other in OTHER_MACHINES] if foreign else [code]:
            body = hot_loop(assembly, width.multiply)
            count, where = sum(bool(re.search(width.multiply, line)) for line in body), f"{template} {rows}x{vectors}"
            assert count and count % (rows * vectors * registers[1]) == 0, f"{where}: {count} multiplications"
            assert not re.search(width.wider, assembly), f"{where} has registers of another width"
            spilled = [line for line in body if SPILL.search(line)]
            assert not spilled, f"{where} is spilled in its inner loop: {spilled}"


@pytest.mark.parametrize("name", WIDTHS)
def test_the_largest_product_takes_the_largest_tile(name, monkeypatch):
    """What is taken for large sizes has nearly as many sums as fit: a price must not shun it."""
    for module in (host, direct, direct_product):
        monkeypatch.setattr(module, "registers", lambda: WIDTHS[name].registers)
    most = max(rows * vectors for rows, vectors in direct.tiles())
    rows, vectors = direct_product.choose_tile(3 * 5 * 7 * 64, 3 * 5 * 64)
    assert rows * vectors >= 0.8 * most
