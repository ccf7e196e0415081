"""`nbcaffe check` finds what is wrong, and says where."""

import subprocess
import sys

import pytest

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
        scale[5](bottom[0].data, self.w.data, top[0].data)

    def backward(self, bottom, top):
        scale_gradient[1](bottom[0].data, top[0].diff, self.w.diff)
        if self.propagate_down[0]:
            scale[5](top[0].diff, self.w.data, bottom[0].diff)
"""

FAULTS = {
    "a wrong factor": ("return 2.0 * x", "return 2.1 * x"),
    "a wrong sign": ("return 2.0 * x", "return -2.0 * x"),
    "a derivative in the wrong variable": ("def df(x):\n        return 2.0 * x", "def df(y):\n        return 2.0 * y"),
    "a weight's gradient that is overwritten": ("dw[one] += total", "dw[one] = total"),
    "a sum that misses its last term": ("range(x.shape[0])", "range(x.shape[0] - 1)"),
    "a bottom's gradient that is added to": (
        "scale[5](top[0].diff, self.w.data, bottom[0].diff)",
        "add_scale[5](top[0].diff, self.w.data, bottom[0].diff)",
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
