"""`nbcaffe check` finds what is wrong, and says where."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from nbcaffe.checks.gradient import guess
from nbcaffe.checks.kinks import find_kinks
from nbcaffe.cli import main

RIGHT = """
from nbcaffe import Activation, Float, Layer, kernel


class Square(Activation):
    \"\"\"x times itself.\"\"\"

    @staticmethod
    def f(x):
        return x * x

    @staticmethod
    def df(x):
        return 2.0 * x


@kernel
def scale(i, x, w, y):
    y[i] = w[0] * x[i]


@kernel
def scale_gradient(one, x, dy, dw):
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * dy[i]
    dw[one] += total


class Gain(Layer):
    \"\"\"One learned factor.\"\"\"

    bottom_shapes = ((5,),)

    def setup(self, bottom):
        from nbcaffe.params import FillerSpec

        self.w = self.weight((1,), FillerSpec("constant", value=2.0))
        return [bottom[0].shape]

    def forward(self, bottom, top):
        scale[bottom[0].shape](bottom[0].data, self.w.data, top[0].data)

    def backward(self, bottom, top):
        scale_gradient[1](bottom[0].data, top[0].diff, self.w.diff)
        if self.propagate_down[0]:
            scale[top[0].shape](top[0].diff, self.w.data, bottom[0].diff)
"""

FAULTS = {
    "a wrong factor": ("return 2.0 * x", "return 2.1 * x"),
    "a wrong sign": ("return 2.0 * x", "return -2.0 * x"),
    "a derivative in the wrong variable": ("def df(x):\n        return 2.0 * x", "def df(y):\n        return 2.0 * y"),
    "a weight's gradient that is overwritten": ("dw[one] += total", "dw[one] = total"),
    "a sum that misses its last term": ("range(x.shape[0])", "range(x.shape[0] - 1)"),
    "a bottom's gradient that is added to": (
        "scale[top[0].shape](top[0].diff, self.w.data, bottom[0].diff)",
        "add_scale[top[0].shape](top[0].diff, self.w.data, bottom[0].diff)",
    ),
}
ADD = """

@kernel
def add_scale(i, x, w, y):
    y[i] += w[0] * x[i]
"""


def check(folder, code):
    (folder / "mine.py").write_text(code)
    command = [sys.executable, "-m", "nbcaffe", "check", "--device", "sim", folder / "mine.py"]
    return subprocess.run(command, capture_output=True, text=True)


def test_right_layers_pass(tmp_path):
    done = check(tmp_path, RIGHT)
    assert done.returncode == 0 and "all passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(tmp_path, fault):
    old, new = FAULTS[fault]
    assert old in RIGHT
    done = check(tmp_path, RIGHT.replace(old, new) + ADD)
    assert done.returncode == 1 and "FAILED" in done.stdout, done.stdout + done.stderr


JUMP = """
import math
from nbcaffe import Activation


class Steps(Activation):
    \"\"\"Whole numbers.\"\"\"

    @staticmethod
    def f(x):
        return math.floor(x)

    @staticmethod
    def df(x):
        return 0.0 * x
"""


OVERFLOW = """
from math import exp
from nbcaffe import Activation


class Naive(Activation):
    \"\"\"Its derivative is inf / inf far below 0.\"\"\"

    def f(x):
        return x / (1.0 + exp(-x))
"""


def test_a_derivative_that_overflows_where_the_function_does_not_is_found(tmp_path):
    done = check(tmp_path, OVERFLOW)
    assert done.returncode == 1 and "large values: 100 times the example's inputs: gradient of bottom 0" in done.stdout


def test_without_a_gpu_the_simulator_is_taken_by_itself_and_a_jump_is_explained(tmp_path):
    (tmp_path / "mine.py").write_text(JUMP)
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    command = [sys.executable, "-m", "nbcaffe", "check", tmp_path / "mine.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cpu = simulator" in done.stdout or "cpu = GPU" in done.stdout
    assert "its value jumps at -7, -6, -5, ..." in done.stdout and "surrogate=" in done.stdout


def test_a_file_without_layers_says_so(tmp_path, capsys):
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert main(["check", "--device", "cpu", str(tmp_path / "empty.py")]) == 2
    assert "defines no layer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("function", "places", "jumps"),
    [
        (np.tanh, (), ()),
        (lambda x: np.tanh(500 * x), (), ()),
        (lambda x: np.sin(10 * x), (), ()),
        (lambda x: np.abs(x) ** 3, (), ()),
        (lambda x: np.clip(x, -1.5, 2.3), (-1.5, 2.3), ()),
        (lambda x: x + 0.001 * np.abs(x - 1), (1.0,), ()),
        (np.sign, (), (0.0,)),
        (lambda x: np.maximum(x, 0) + (x > 3), (0.0,), (3.0,)),
    ],
)
def test_kinks_are_found_where_they_are_and_nowhere_else(function, places, jumps):
    found = find_kinks(function)
    assert (found.places, found.jumps) == (places, jumps)


@pytest.mark.parametrize(
    ("got", "said"),
    [
        ([-1.0, -2.0, -3.0, -4.0], "a sign"),
        ([0.5, 1.0, 1.5, 2.0], "0.5 times .* a factor"),
        ([0.25, 0.5, 0.75, 1.0], "0.25 times .* axis 0 has 4 elements: a wrong normaliser"),
        ([2.0, 3.0, 4.0, 5.0], "off by 1 everywhere: a missing term"),
        ([4.0, 3.0, 2.0, 1.0], "right numbers at the wrong places"),
        ([1.0, 2.0, 3.0, 5.0], "wrong at 1 of 4 places"),
        ([0.0, 0.0, 0.0, 0.0], "is 0 everywhere"),
        ([1.0, np.nan, 3.0, 4.0], "is NaN at 1 of 4 places"),
    ],
)
def test_a_wrong_gradient_is_described(got, said):
    got, expected = np.array(got), np.array([1.0, 2.0, 3.0, 4.0])
    assert re.search(said, guess(got, expected, got != expected, (4,)))
