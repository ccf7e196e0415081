"""Kernels: one body for every target, errors at the author's line, a disk cache that is never stale."""

import importlib
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import traceback

import numba
import numpy as np
import pytest

from nbcaffe import kmath
from nbcaffe.device import get_device
from nbcaffe.errors import KernelError
from nbcaffe.kernel import kernel, real, team_max, team_range, team_sum

engine = importlib.import_module("nbcaffe.kernel")  # the package's attribute of that name is the decorator
TARGETS = ["cpu", "cuda"]
TABLE = np.array([1.0, 2.5, -4.0])
STEPS = np.array([2, 0, 1])
PAIR = (3, 0.5)
SCALE = 0.1


@kernel
def axpy(i, x, y, a):
    """Element form."""
    y[i] = a * x[i] + 0.5 * y[i]


@kernel
def outer(i, j, x, y, out):
    """Element form with two indices."""
    out[i, j] = x[i] * y[j] - 1.5


@kernel
def row_softmax(row, x, y):
    """Row form: the body loops inside its row, with sums that an optimiser likes to reorder."""
    largest = x[row, 0]
    for c in range(x.shape[1]):
        largest = max(largest, x[row, c])
    total = 0.0
    for c in range(x.shape[1]):
        total += math.exp(x[row, c] - largest)
    for c in range(x.shape[1]):
        y[row, c] = math.exp(x[row, c] - largest) / total


@kernel(team=True)
def team_statistics(row, x, means, largest):
    """Team form: a row shared by lanes."""
    total, top = 0.0, x[row, 0]
    for c in team_range(x.shape[1]):
        total += x[row, c]
        top = max(top, x[row, c])
    total, top = team_sum(total), team_max(top)
    means[row] = total / real(x.shape[1])
    largest[row] = top


@kernel
def literals(i, x, y):
    """Every way to write a number that could drag a double in."""
    value = 0.1 * x[i] + math.pi - np.pi + SCALE
    value = value if value < math.inf else 1e-3
    value += real(i) / real(x.shape[0]) + math.exp(-value) + math.tanh(value) + math.log(abs(value) + 1.0)
    y[i] = max(value, 0.0) ** 0.5 + math.sqrt(abs(value)) + TABLE[i % 3] * PAIR[1]


@kernel
def from_globals(i, y):
    y[i] = TABLE[STEPS[i % 3]] * SCALE + real(PAIR[0]) + PAIR[1]


@kernel
def normalise(i, x, y):
    """Element form: vector loops and their remainders could divide and take roots in different ways."""
    y[i] = x[i] / math.sqrt(abs(x[i]) + 0.3) + x[i] * x[i] * 0.7


wide = np.zeros(5000)  # a name that a body below uses for something else, as in a notebook


@kernel
def hides(i, wide, y):
    y[i] = wide[i] + real(wide.shape[0])


@kernel
def mathematics(i, x, e, l, t):
    e[i], l[i], t[i] = math.exp(x[i]), math.log(x[i]), math.tanh(x[i])


def on(target, *arrays):
    device = get_device(target)
    placed = [device.zeros(a.shape, a.dtype) for a in arrays]
    for to, values in zip(placed, arrays, strict=True):
        device.upload(to, values)
    return placed, device.download


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


# One body, every target


@pytest.mark.parametrize("target", TARGETS)
def test_an_element_body_computes_what_numpy_does(target):
    x, y = normal(11), normal(11) + 1
    (dx, dy), host = on(target, x, y)
    axpy[11](dx, dy, 3.0)
    np.testing.assert_allclose(host(dy), 3 * x + np.float32(0.5) * y, rtol=1e-6, atol=1e-6)
    u, v = normal(5), normal(7)
    (du, dv, out), host = on(target, u, v, np.zeros((5, 7), "f"))
    outer[5, 7](du, dv, out)
    np.testing.assert_allclose(host(out), np.outer(u, v) - 1.5, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_a_row_body_computes_what_numpy_does(target):
    x = normal(5, 9)
    (dx, y), host = on(target, x, np.zeros_like(x))
    row_softmax[5](dx, y)
    wanted = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(host(y), wanted, rtol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_a_team_body_computes_what_numpy_does(target):
    x = normal(5, 9)
    (dx, means, largest), host = on(target, x, np.zeros(5, "f"), np.zeros(5, "f"))
    team_statistics[5](dx, means, largest)
    np.testing.assert_allclose(host(means), x.mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(host(largest), x.max(axis=1))


@pytest.mark.parametrize("target", TARGETS)
def test_numbers_tuples_and_small_arrays_of_the_module_are_constants(target):
    (y,), host = on(target, np.zeros(4, "f"))
    from_globals[4](y)
    np.testing.assert_allclose(host(y), TABLE[STEPS[[0, 1, 2, 0]]] * 0.1 + 3.5, rtol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_an_argument_hides_what_the_module_has_under_its_name(target):
    (x, y), host = on(target, np.ones(3, "f"), np.zeros(3, "f"))
    hides[3](x, y)
    np.testing.assert_array_equal(host(y), [4, 4, 4])


# The same bits


BODIES = [(row_softmax, (65,), (65, 131)), (normalise, (20_011,), (20_011,))]
every_body = pytest.mark.parametrize(("body", "index", "shape"), BODIES, ids=["row", "element"])


def run_on_cpu(body, index, shape):
    x = normal(*shape)
    y = np.zeros_like(x)
    body[index](x, y)
    return y


@every_body
def test_serial_and_parallel_loops_give_the_same_bits(body, index, shape, monkeypatch):
    forms, on_cpu = [], engine.Kernel.on_cpu
    monkeypatch.setattr(engine.Kernel, "on_cpu", lambda self, form, *a: forms.append(form) or on_cpu(self, form, *a))
    monkeypatch.setattr(engine, "SERIAL_BELOW", 10**9)
    serial = run_on_cpu(body, index, shape)
    monkeypatch.setattr(engine, "SERIAL_BELOW", 0)
    np.testing.assert_array_equal(run_on_cpu(body, index, shape), serial)
    assert forms == ["serial", "parallel"]


@every_body
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_one_thread_and_two_give_the_same_bits(body, index, shape, monkeypatch):
    monkeypatch.setattr(engine, "SERIAL_BELOW", 0)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = run_on_cpu(body, index, shape)
        numba.set_num_threads(2)
        np.testing.assert_array_equal(run_on_cpu(body, index, shape), one)
    finally:
        numba.set_num_threads(before)


# Types


def llvm_of(body, *args):
    """The optimised code of a kernel, without the wrappers through which Python calls it."""
    launcher, *_ = body.bind((4,), *args)
    ((text,),) = [launcher.inspect_llvm().values()]
    functions = re.findall(r"^define .*?^}", text, re.M | re.S)
    own = [f for f in functions if "cpython" not in f.split("\n")[0] and "cfunc" not in f.split("\n")[0]]
    assert own
    return "\n".join(own)


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path):
    """Code that comes from the disk has no LLVM to look at."""
    monkeypatch.setattr("nbcaffe.cache.folder", lambda: tmp_path)
    for body in (literals, axpy):
        monkeypatch.setattr(body, "_modules", {})
        monkeypatch.setattr(body, "_compiled", {})


def test_no_float_literal_or_constant_makes_a_float32_kernel_compute_in_double(fresh_cache):
    x = normal(4)
    for body, args in ((literals, (x, x.copy())), (axpy, (x, x.copy(), 3.0))):
        code = llvm_of(body, *args)
        assert "float" in code and "double" not in code


def test_a_float64_kernel_computes_in_double():
    x, y = np.array([1 / 3]), np.zeros(1)
    axpy[1](x, y, 0.1)
    assert y[0] == 0.1 * x[0]
    x, results = np.array([0.3, -2.0]), np.zeros((3, 2))
    mathematics[2](x, *results)
    np.testing.assert_allclose(results[0], np.exp(x), rtol=1e-15)
    np.testing.assert_allclose(results[2], np.tanh(x), rtol=1e-15)


# exp, log, tanh


def claimed(name):
    return float(re.search(r" to (\d\.\d+e-\d+)", getattr(kmath, name).__doc__)[1])


def test_exp_log_and_tanh_are_as_exact_as_their_docstrings_say():
    x = np.arange(0, 2**32, 4093, dtype=np.uint32).view(np.float32)  # a million values of every magnitude
    x = x[np.isfinite(x)]
    x = np.concatenate([x, np.linspace(-90, 90, 200_001, dtype="f"), np.linspace(0.5, 2, 100_001, dtype="f")])
    e, l, t = (np.zeros_like(x) for _ in range(3))
    mathematics[x.size](x, e, l, t)
    exactly, tiny = x.astype(np.float64), np.finfo(np.float32).tiny
    ranges = {"exp": (x > -87.3) & (x < 88.7), "log": x >= tiny, "tanh": x != 0}
    for name, ours in (("exp", e), ("log", l), ("tanh", t)):
        inside = ranges[name]
        exact = getattr(np, name)(exactly[inside])
        error = np.abs(ours[inside] - exact) / np.maximum(np.abs(exact), tiny)
        assert error.max() <= claimed(name), f"{name} at {x[inside][error.argmax()]!r}: {error.max():.3e}"
    assert (e[x < -87.3] == 0).all() and np.isposinf(e[x > 88.7]).all()
    assert np.isnan(l[x < 0]).all() and np.isneginf(l[(x >= 0) & (x < tiny)]).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the simulator computes branches that are then not taken
def test_exp_log_and_tanh_keep_nan_and_know_infinity_and_zero(target):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0, 200.0, -200.0], "f")
    (dx, e, l, t), host = on(target, x, *np.zeros((3, 7), "f"))
    mathematics[7](dx, e, l, t)
    nan, inf, once = np.nan, np.inf, np.exp(-1.0)
    np.testing.assert_allclose(host(e), [nan, inf, 0, 1, once, inf, 0], rtol=2e-7)
    np.testing.assert_allclose(host(l), [nan, inf, nan, -inf, nan, np.log(200), nan], rtol=2e-7)
    np.testing.assert_allclose(host(t), [nan, 1, -1, 0, np.tanh(-1), 1, -1], rtol=3e-7)


# Errors


AUTHOR = """\
import math
import numpy as np
from nbcaffe.kernel import device, kernel

names = ["a"]

@device
def pair(x):
    y = x * 2.0
    return y + (1, 2)  # typed_in_helper

@kernel
def negative(i, x, y):
    a = x[i]
    y[i] = a + x[-1]  # negative

@kernel
def forbidden(i, x, y):
    a = x[i]
    y[i] = a + len(names)  # forbidden

@kernel
def unknown(i, x, y):
    a = x[i]
    y[i] = a + nowhere  # unknown

@kernel
def typed(i, x, y):
    a = x[i]
    y[i] = a + (1, 2)  # typed

@kernel
def typed_in_helper(i, x, y):
    y[i] = pair(x[i])

@kernel
def raises(i, x, y):
    a = x[i]
    if a == 0.0:
        raise ValueError("a zero")  # raises
    y[i] = a
"""


def load(path, text):
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def author(tmp_path_factory):
    return load(tmp_path_factory.mktemp("author") / "author.py", AUTHOR)


def line_of(name):
    return next(n for n, line in enumerate(AUTHOR.splitlines(), 1) if line.endswith(f"# {name}"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("negative", "kernel 'negative': index -1 counts from the end"),
        ("forbidden", "kernel 'forbidden': 'names' is a list; make it np.array"),
        ("unknown", "kernel 'unknown': name 'nowhere' is not defined"),
        ("typed", "kernel 'typed' does not compile: add.float32, .*Tuple.* is not known; both must be numbers"),
        (
            "typed_in_helper",
            "kernel 'typed_in_helper' does not compile: add.float32, .*Tuple.*; both must be numbers",
        ),
    ],
)
def test_an_error_in_a_body_names_the_authors_file_and_line(author, name, says):
    x = np.ones(4, np.float32)
    with pytest.raises(KernelError, match=re.escape(f"{author.__file__}:{line_of(name)}: ") + says):
        getattr(author, name)[4](x, x.copy())


@pytest.mark.parametrize("name", ["negative", "forbidden", "unknown"])
def test_the_simulator_refuses_the_same_bodies_at_the_same_lines(author, name):
    (x, y), _ = on("cuda", np.ones(4, np.float32), np.ones(4, np.float32))
    with pytest.raises(KernelError, match=re.escape(f"{author.__file__}:{line_of(name)}: ")):
        getattr(author, name)[4](x, y)


def test_a_traceback_from_the_simulator_shows_the_authors_line(author):
    (x, y), _ = on("cuda", np.zeros(4, np.float32), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="a zero") as caught:
        author.raises[4](x, y)
    last = traceback.extract_tb(caught.tb)[-1]
    assert (last.filename, last.lineno, last.name) == (author.__file__, line_of("raises"), "raises")


def test_a_traceback_without_the_compiler_shows_the_authors_line(author, tmp_path):
    program = "import numpy as np, author; author.raises[4](np.zeros(4, 'f'), np.zeros(4, 'f'))"
    folder = os.path.dirname(author.__file__)
    done = child(program, folder, NUMBA_DISABLE_JIT="1", NBCAFFE_CACHE=str(tmp_path))
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()
    assert said[-1] == "ValueError: a zero"
    last = [line.strip() for line in said if line.startswith("  File ")][-1]
    assert last == f'File "{author.__file__}", line {line_of("raises")}, in raises'


def test_a_wrong_number_of_arguments_names_the_kernel_and_its_parameters():
    x = np.ones(4, np.float32)
    takes = r"test_kernel.py:\d+: kernel 'axpy' takes 3 arguments after its 1 indices \(x, y, a\), got "
    with pytest.raises(KernelError, match=takes + "2"):
        axpy[4](x, x)
    with pytest.raises(KernelError, match=takes + "4"):
        axpy[4](x, x, 1.0, 2.0)


# Helpers and the disk cache


SAME_NAMES = """\
from nbcaffe.kernel import device
FACTOR = {factor}

@device
def scale(x):
    return FACTOR * x

@device
def {name}(x):
    return scale(x) + 1.0
"""

TWO_OF_A_NAME = """\
from nbcaffe.kernel import kernel
from {one} import first, scale
from {two} import second

@kernel
def both(i, x, y, z):
    y[i] = first(x[i]) + scale(x[i])
    z[i] = second(x[i])
"""


@pytest.mark.parametrize("target", TARGETS)
def test_helpers_and_constants_of_one_name_in_two_files_stay_apart(target, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    one, two = f"one_{target}", f"two_{target}"
    (tmp_path / f"{one}.py").write_text(SAME_NAMES.format(factor=2.0, name="first"))
    (tmp_path / f"{two}.py").write_text(SAME_NAMES.format(factor=10.0, name="second"))
    both = load(tmp_path / "both.py", TWO_OF_A_NAME.format(one=one, two=two)).both
    (x, y, z), host = on(target, np.array([1, 3], "f"), np.zeros(2, "f"), np.zeros(2, "f"))
    both[2](x, y, z)
    np.testing.assert_array_equal(host(y), [5, 13])
    np.testing.assert_array_equal(host(z), [11, 31])


PROGRAM = """\
import json
import math
import numpy as np
from nbcaffe.kernel import kernel, on_compile
from middle import twice

compiled = []
on_compile(lambda name, seconds: compiled.append(name))

@kernel
def work(i, x, y):
    y[i] = twice(x[i])

@kernel
def sums(row, x, y):
    total = 0.0
    for c in range(x.shape[1]):
        total += math.exp(x[row, c])
    y[row] = total

x = np.arange(3, dtype=np.float32)
y = np.zeros(3, np.float32)
work[3](x, y)
many = np.random.default_rng(0).random((200, 131), np.float32)
bits = np.zeros(200, np.float32)
sums[200](many, bits)
print(json.dumps([y.tolist(), compiled, bits.tobytes().hex()]))
"""

MIDDLE = """\
from nbcaffe.kernel import device
from deep import shift, OFFSET

@device
def twice(x):
    return 2.0 * shift(x) + OFFSET
"""

DEEP = """\
from nbcaffe.kernel import device
OFFSET = {offset}

@device
def shift(x):
    return x + {by}
"""


def child(program, folder, **environment):
    path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path, **environment}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


def test_the_disk_cache_spares_the_next_process_the_compiler_and_is_never_stale(tmp_path):
    """Both edits are in a file that the kernel's file does not even import, and leave its size as it was."""

    def run():
        command = [sys.executable, str(tmp_path / "program.py")]
        environment = {**os.environ, "NBCAFFE_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "middle.py").write_text(MIDDLE)
    (tmp_path / "deep.py").write_text(DEEP.format(offset="0.5", by="1.0"))
    first, second = run(), run()
    assert first[:2] == [[2.5, 4.5, 6.5], ["work", "sums"]]
    assert second[:2] == [[2.5, 4.5, 6.5], []]
    assert second[2] == first[2], "code from the cache gives other bits than code that was just compiled"
    (tmp_path / "deep.py").write_text(DEEP.format(offset="0.5", by="3.0"))
    assert run()[:2] == [[6.5, 8.5, 10.5], ["work"]]
    (tmp_path / "deep.py").write_text(DEEP.format(offset="0.0", by="3.0"))
    assert run()[:2] == [[6.0, 8.0, 10.0], ["work"]]
