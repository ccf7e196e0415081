"""Element-wise layers: what a formula says about its layer, and what is wrong with one."""

import numpy as np
import pytest

from nbcaffe import Activation, Choice, ConfigError, Elementwise, Float, KernelError, Learned, Net, device
from nbcaffe.layer import REGISTRY
from nbcaffe.single import Single


@pytest.fixture(autouse=True)
def forget():
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


NET = """\
layers:
  - {name: x, type: Input, shape: [2, 3, 4, 4]}
  - {name: conv, type: Convolution, num_output: 5, kernel_size: 3, weight_filler: xavier}
  - {name: act, type: PReLU, bottom: conv, top: TOP}
  - {name: swish, type: Swish, bottom: TOP, top: TOP}
  - {name: zero, type: DummyData, shape: [2, 5, 2, 2]}
  - {name: loss, type: EuclideanLoss, bottom: [TOP, zero]}
"""


def test_a_layer_that_needs_its_bottom_may_be_written_in_place_as_in_caffe():
    results = []
    for top in ("conv", "own"):
        net = Net(NET.replace("TOP", top))
        net.blobs["x"].data[...] = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
        net.forward()
        net.backward()
        results.append([net.blobs[top].data.copy(), *(w.diff.copy() for ws in net.params.values() for w in ws)])
    for inplace, apart in zip(*results, strict=True):
        np.testing.assert_array_equal(inplace, apart)


def test_in_place_on_a_blob_that_the_user_fills_it_is_refused():
    with pytest.raises(ConfigError, match="layer 'act': PReLU cannot run in place on blob 'x'; give its top a name"):
        Net("layers: [{name: x, type: Input, shape: [2, 3]}, {name: act, type: PReLU, bottom: x, top: x}]")


def test_a_misspelled_parameter_is_named_with_its_line():
    with pytest.raises(KernelError, match=r"test_elementwise.py:\d+: Bent.f takes 'betta', .* did you mean 'beta'"):

        class Bent(Activation):
            beta = Float(1.0)

            def f(x, betta):
                return betta * x

    assert "Bent" not in REGISTRY


def test_an_activation_of_two_inputs_is_told_what_to_write():
    with pytest.raises(KernelError, match=r"one input.*declare it.*or derive from Elementwise"):

        class Two(Activation):
            def f(x, z):
                return x * z


def test_self_and_words_are_refused():
    with pytest.raises(KernelError, match="takes no self"):

        class Selfish(Activation):
            def f(self, x):
                return x

    with pytest.raises(KernelError, match=r"cannot take 'mode'.*numbers only"):

        class Worded(Activation):
            mode = Choice("a", "b")

            def f(x, mode):
                return x


def test_what_has_no_derivative_is_told_when_the_class_is_made():
    with pytest.raises(
        KernelError, match=r"test_elementwise.py:\d+: f: its derivative by 'x' is 0 everywhere.*surrogate"
    ):

        class Step(Activation):
            def f(x):
                return 1.0 if x > 0.0 else 0.0


def test_given_and_derived_derivatives_mix():
    class Mixed(Elementwise):
        a = Learned(0.5, shape="shared", doc="a factor")
        kinks = ()

        def f(x, z, a):
            return x * z * a

        def df_x(z, a):
            return z * a

    single = Single("Mixed", [(2, 3), (2, 3)])
    assert Mixed.num_bottom == 2 and not Mixed.inplace
    assert Mixed.formula.derived == ("z", "a")
    x, z, dy = np.random.default_rng(0).standard_normal((3, 2, 3)).astype(np.float32)
    single.forward(x, z)
    dx, dz = single.backward(dy)
    np.testing.assert_allclose(dx, dy * z * 0.5, rtol=1e-6)
    np.testing.assert_allclose(dz, dy * x * 0.5, rtol=1e-6)
    np.testing.assert_allclose(single.layer.weights[0].diff, (dy * x * z).sum(), rtol=1e-5)


@pytest.mark.parametrize("name", ["A1", "I0", "N1", "Serial", "Parallel", "Launch", "F"])
def test_a_layer_may_be_called_as_the_generated_code_calls_its_own(name):
    type(name, (Activation,), {"__doc__": "y = 2 x", "__module__": __name__, "f": staticmethod(double), "df": None})
    for target in ("cpu", "cuda"):
        single = Single(name, [(3,)], device=target)
        np.testing.assert_array_equal(single.forward(np.arange(3.0))[0], [0, 2, 4])
        np.testing.assert_array_equal(single.backward(np.ones(3))[0], [2, 2, 2])


@device
def launch(x):
    return 2.0 * x


def double(x):
    return launch(x)
