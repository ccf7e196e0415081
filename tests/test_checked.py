"""Checked mode: NBCAFFE_DEBUG=1 stops a body at the first element that is not its own, not there or not a number."""

import os
import subprocess
import sys

import numpy as np
import pytest
from test_teaching import load

import nbcaffe
import nbcaffe.layers  # defines the built-in types
from nbcaffe.checks.case import Case
from nbcaffe.checks.kinks import Kinks
from nbcaffe.errors import KernelError, NumericError
from nbcaffe.layer import REGISTRY

BODIES = """\
import math
import numpy as np
from nbcaffe.kernel import device, kernel, real, team_range, team_sum

TABLE = np.array([1.0, 2.0, 4.0])

@device
def knot(x):
    k = int(x)
    return TABLE[k]  # knot

@device
def root(x):
    return math.sqrt(x)  # root

@kernel
def beyond(i, x, y):
    y[i] = x[i + 1]  # beyond

@kernel
def copied(i, x, y):
    y[i] = x[i]

@kernel
def before(i, x, y):
    y[i - 1] = x[i]  # before

@kernel
def shared(i, x, y):
    y[i // 2] = x[i]  # shared

@kernel
def added(i, x, y):
    y[0] += x[i]  # added

@kernel
def shifted(i, x, y):
    y[i] = x[i]
    if i > 0:
        y[i] = y[i] + y[i - 1]  # shifted

@kernel
def ahead(i, x, y):
    a = y[i + 1 if i < 2 else i]
    y[i] = a + x[i]  # ahead

@kernel
def halves(i, x, y):
    y[i] = (x[i] - x[i]) / (x[i] - x[i])  # halves

@kernel
def huge(i, x, y):
    y[i] = 1.0 / (x[i] - x[i])  # huge

@kernel
def allowed(i, x, y):
    y[i] = math.inf if x[i] > 2.0 else x[i]

@kernel
def negative(i, x, y):
    y[i] = root(x[i] - 2.0)

@kernel
def spline(i, x, y):
    y[i] = knot(x[i])

@kernel(team=True)
def total(row, x, y):
    t = 0.0
    for i in team_range(x.shape[0]):
        t += x[i]
    y[row] = team_sum(t)

@kernel
def matrix(i, j, x, y):
    y[i, j] = x[i, j]
    y[i, j] += x[j, i]  # matrix
"""


@pytest.fixture(scope="module")
def author(tmp_path_factory):
    return load(tmp_path_factory.mktemp("author") / "author.py", BODIES)


@pytest.fixture(autouse=True)
def debug(monkeypatch):
    monkeypatch.setenv("NBCAFFE_DEBUG", "1")


def line_of(name):
    return next(n for n, line in enumerate(BODIES.splitlines(), 1) if line.endswith(f"# {name}"))


FAULTS = {
    "beyond": (KernelError, "index (2,): x[i + 1] asks for element 3 of axis 0, which has 3"),
    "before": (KernelError, "index (0,): y[i - 1] asks for element -1 of axis 0, which has 3"),
    "shared": (KernelError, "index (1,): y[i // 2] writes element (0,), which index (0,) has written"),
    "added": (KernelError, "index (1,): y[0] reads element (0,), which index (0,) has written"),
    "shifted": (KernelError, "index (1,): y[i - 1] reads element (0,), which index (0,) has written"),
    "ahead": (KernelError, "index (1,): y[i] writes element (1,), which index (0,) has read"),
    "halves": (NumericError, "index (0,): y[i] stores NaN, though all that it read is finite"),
    "huge": (NumericError, "index (0,): y[i] stores an infinity, though all that it read is finite"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_the_line_the_element_and_both_indices(author, name):
    cls, says = FAULTS[name]
    with pytest.raises(cls) as caught:
        getattr(author, name)[3](np.arange(1, 4, dtype=np.float32), np.zeros(3, np.float32))
    assert f"{author.__file__}:{line_of(name)}: kernel {name!r}, {says}" in str(caught.value)


def test_a_nan_names_the_line_of_the_function_that_made_it(author):
    with pytest.raises(NumericError) as caught:
        author.negative[3](np.arange(1, 4, dtype=np.float32), np.zeros(3, np.float32))
    assert f"{author.__file__}:{line_of('root')}: kernel 'negative', index (0,)" in str(caught.value)
    assert "it comes from `return math.sqrt(x)`" in str(caught.value)


def test_a_look_up_beyond_its_table_names_the_line_of_the_function_that_looks(author):
    with pytest.raises(KernelError) as caught:
        author.spline[3](np.arange(1, 4, dtype=np.float32), np.zeros(3, np.float32))
    said = f"{author.__file__}:{line_of('knot')}: kernel 'spline', index (2,): TABLE[k] asks for element 3 of axis 0"
    assert said in str(caught.value)


def test_two_axes_are_watched_as_one(author):
    x, y = np.zeros((2, 3), "f"), np.zeros((2, 3), "f")
    with pytest.raises(KernelError, match=r"index \(0, 2\).*x\[j, i\] asks for element 2 of axis 0, which has 2"):
        author.matrix[2, 3](x, y)
    author.matrix[2, 2](x, y)


def test_memory_that_two_arguments_share_is_watched_as_one(author):
    memory = np.arange(1, 5, dtype=np.float32)
    with pytest.raises(KernelError, match=r"x\[i\] reads element \(1,\), which index \(0,\) has written"):
        author.copied[2](memory[:3][1::-1], memory[:2])
    author.allowed[3](memory[:3], memory[:3])


def test_what_a_body_may_do_passes(author):
    x, y = np.array([1, 2, 3], "f"), np.zeros(3, "f")
    author.allowed[3](x, y)
    np.testing.assert_array_equal(y, [1, 2, np.inf])
    author.total[1](x, y)
    assert y[0] == 6
    author.negative[3](np.full(3, np.nan, "f"), y)  # NaN was in the input
    assert np.isnan(y).all()


def test_it_computes_the_same_as_without():
    x = np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32)
    for kind, params in (("Swish", {}), ("Softmax", {}), ("Pooling", {"kernel_size": 2, "stride": 2})):
        checked = nbcaffe.layer(kind, **params).run(x)
        os.environ["NBCAFFE_DEBUG"] = "0"
        np.testing.assert_allclose(checked, nbcaffe.layer(kind, **params).run(x), rtol=1e-5, atol=1e-6)
        os.environ["NBCAFFE_DEBUG"] = "1"


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_no_layer_of_the_package_is_stopped(kind):
    for example in REGISTRY[kind].examples:
        case = Case(kind, example)
        vars(case)["kinks"] = Kinks()  # the search for kinks asks for log(0), which is rightly stopped
        case.run()


def test_without_the_compiler_a_body_is_plain_python_that_is_watched_too(tmp_path):
    (tmp_path / "author.py").write_text(BODIES)
    program = "import numpy as np, author; author.added[3](np.ones(3, 'f'), np.zeros(3, 'f'))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "NBCAFFE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert "y[0] reads element (0,), which index (0,) has written" in done.stderr.splitlines()[-1]
