"""Live prototyping: a redefined layer takes effect at once, a net is read again, one layer at a prompt."""

import importlib
import linecache
import sys
import textwrap

import h5py
import numpy as np
import pytest

import nbcaffe
import nbcaffe.layers  # defines the built-in types
from nbcaffe.errors import ConfigError, NbcaffeError
from nbcaffe.layer import REGISTRY, Layer
from nbcaffe.spec import LAYER_KEYS

LAYER = """\
from nbcaffe import Activation, Float


class {name}(Activation):
    beta = Float(1.0, doc="factor")

    @staticmethod
    def f(x, beta):
        return {factor} * beta * x
"""


@pytest.fixture(autouse=True)
def registry():
    """Each test leaves the types as they were."""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.fixture
def cell():
    """Run a cell as IPython does: in __main__'s place, under a file name that only linecache knows."""
    shell = {"__name__": "notebook_cells"}
    count = 0

    def run(text):
        nonlocal count
        count += 1
        name = f"<ipython-input-{count}-{abs(hash(text))}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), shell)
        return shell

    return run


ONE = np.ones((2, 3), np.float32)

# A redefined class


def test_a_cell_that_is_run_again_with_an_edit_takes_effect_at_once(cell):
    first = cell(LAYER.format(name="CellAct", factor="2.0"))["CellAct"]
    assert nbcaffe.layer("CellAct").run(ONE)[0, 0] == 2
    second = cell(LAYER.format(name="CellAct", factor="3.0"))["CellAct"]
    assert nbcaffe.layer("CellAct").run(ONE)[0, 0] == 3
    assert nbcaffe.layer(second, beta=2.0).run(ONE)[0, 0] == 6
    assert nbcaffe.layer(first, beta=2.0).run(ONE)[0, 0] == 4, "a class is that class, whatever its name means by now"
    assert nbcaffe.layer(first).check() and nbcaffe.layer(first).time(rounds=2)


def test_a_module_that_is_edited_and_reloaded_takes_effect_at_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "reloaded_layers.py"
    file.write_text(LAYER.format(name="FileAct", factor="2.0"))
    module = importlib.import_module("reloaded_layers")
    assert nbcaffe.layer(module.FileAct).run(ONE)[0, 0] == 2
    file.write_text("# one line more\n" + LAYER.format(name="FileAct", factor="30.0"))
    assert nbcaffe.layer(importlib.reload(module).FileAct).run(ONE)[0, 0] == 30


def test_checking_a_file_twice_takes_its_new_text(tmp_path):
    check = importlib.import_module("nbcaffe.check")
    file = tmp_path / "checked_twice.py"
    for factor in ("2.0", "40.0"):
        file.write_text(LAYER.format(name="TwiceAct", factor=factor))
        check.load_layers(file)
        assert nbcaffe.layer("TwiceAct").run(ONE)[0, 0] == float(factor)


def test_a_class_of_that_name_in_another_file_is_still_refused(cell, tmp_path):
    cell(LAYER.format(name="OnceAct", factor="2.0"))
    (tmp_path / "other_file.py").write_text(LAYER.format(name="OnceAct", factor="2.0"))
    with pytest.raises(TypeError, match="layer type 'OnceAct' is already defined in notebook_cells"):
        importlib.import_module("nbcaffe.check").load_layers(tmp_path / "other_file.py")


# net.reload()


NET = """\
name: live
import: [my_live_layers.py]
layers:
  - {name: data, type: HDF5Data, source: data.h5, batch_size: 2, top: [data, label]}
  - {name: ip1, type: InnerProduct, bottom: data, num_output: {outputs}, weight_filler: xavier}
  - {name: act, type: LiveAct{more}}
  - {name: drop, type: Dropout}
  - {name: ip2, type: InnerProduct, num_output: 3, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [ip2, label]}
"""


@pytest.fixture
def live(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = np.random.default_rng(0).standard_normal((7, 4)).astype("f")
        file["label"] = np.zeros(7, "f")

    def write(outputs=5, more="", factor="2.0", net=NET):
        (tmp_path / "my_live_layers.py").write_text(LAYER.format(name="LiveAct", factor=factor))
        (tmp_path / "net.yaml").write_text(net.replace("{outputs}", str(outputs)).replace("{more}", more))
        return tmp_path / "net.yaml"

    return write


def state(net):
    weights = {name: [w.data.copy() for w in ws] for name, ws in net.params.items()}
    return weights, net.sources["data"].cursor, int(net.clock[0])


def test_reload_keeps_weights_data_position_and_random_numbers(live):
    net = nbcaffe.Net(live())
    twin = nbcaffe.Net(live())
    for each in (net, twin):
        for weight in each.params["ip1"]:
            weight.data[...] += 1.0
        each.forward()
        each.forward()
    weights, cursor, clock = state(net)
    report = net.reload()
    assert report.matched == ["ip1", "ip2"] and not report.missing and not report.unused
    after = state(net)
    assert after[1:] == (cursor, clock) and cursor == (0, 4)
    for name in weights:
        for old, new in zip(weights[name], after[0][name], strict=True):
            np.testing.assert_array_equal(old, new)
    assert net.forward()["loss"] == twin.forward()["loss"], "data, dropout and weights go on as if nothing had been"


def test_reload_takes_the_edited_net_and_the_edited_layers(live):
    net = nbcaffe.Net(live())
    net.forward()
    before = net.blobs["act"].data / net.blobs["ip1"].data
    live(outputs=6, more=", beta: 2.0", factor="5.0")  # in the same second, and of the same size
    report = net.reload()
    assert (report.matched, report.missing) == ([], ["ip1", "ip2"]), "their shapes are others now"
    net.forward()
    np.testing.assert_allclose(before, 2.0, rtol=1e-6)
    np.testing.assert_allclose(net.blobs["act"].data / net.blobs["ip1"].data, 10.0, rtol=1e-6)
    assert net.blobs["ip1"].shape == (2, 6)


@pytest.mark.parametrize(
    "broken", [{"net": "layers: [{name: data, type"}, {"more": ", betta: 1"}, {"factor": "1.0 +* 2"}, {"factor": "[x]"}]
)
def test_an_error_in_an_edited_file_leaves_the_net_as_it_was(live, broken):
    net = nbcaffe.Net(live())
    net.forward()
    weights, cursor, clock = state(net)
    kept = REGISTRY["LiveAct"]
    live(**broken)
    with pytest.raises(NbcaffeError):
        net.reload()
    assert REGISTRY["LiveAct"] is kept
    after = state(net)
    assert after[1:] == (cursor, clock) and (after[0]["ip1"][0] == weights["ip1"][0]).all()
    net.forward()
    live(factor="3.0")
    net.reload()
    net.forward()
    np.testing.assert_allclose(net.blobs["act"].data / net.blobs["ip1"].data, 3.0, rtol=1e-6)


def test_reload_keeps_the_arrays_that_a_user_gave(tmp_path):
    text = (
        "layers: [{name: data, type: MemoryData, batch_size: 2, channels: 1, height: 1, width: 1, top: [data, label]}]"
    )
    net = nbcaffe.Net(text)
    net.set_input_arrays(np.arange(6, dtype="f").reshape(6, 1, 1, 1), np.zeros(6, "f"))
    net.forward()
    net.reload()
    net.forward()
    assert net.blobs["data"].data.ravel().tolist() == [2, 3]


# One layer at a prompt


def test_its_repr_shows_type_parameters_and_the_last_shapes():
    swish = nbcaffe.layer("Swish", beta=2.0)
    assert repr(swish) == "nbcaffe.layer('Swish', beta=2.0)"
    swish.run(np.zeros((2, 3), "f"))
    assert repr(swish) == "nbcaffe.layer('Swish', beta=2.0)  bottom: 2x3  top: 2x3"
    html = swish._repr_html_()
    assert "<b>Swish</b> x * sigmoid(beta * x)" in html and "<td>beta</td><td>2.0</td>" in html and "2x3" in html


def test_plot_draws_f_and_its_gradient():
    pytest.importorskip("matplotlib", reason="plot() needs the extra nbcaffe[plot]")
    figure = nbcaffe.layer("ReLU", negative_slope=0.5).plot(-2, 2)
    f, gradient = figure.axes[0].lines
    np.testing.assert_allclose(np.interp([-2, 0, 2], *f.get_data()), [-1, 0, 2], atol=1e-6)
    np.testing.assert_allclose(np.interp([-2, 2], *gradient.get_data()), [0.5, 1])
    assert len(nbcaffe.layer("Threshold").plot().axes[0].lines) == 1


def test_the_curve_of_a_plot_is_the_function_and_its_gradient():
    curve = importlib.import_module("nbcaffe.plot").curve
    x, y, slope = curve(REGISTRY["PReLU"], {}, -2.0, 2.0)
    np.testing.assert_allclose(y, np.where(x > 0, x, 0.25 * x))
    np.testing.assert_allclose(slope, np.where(x > 0, 1, 0.25))
    for kind in ("Softmax", "Pooling", "EuclideanLoss"):
        with pytest.raises(ConfigError, match=rf"{kind}: plot\(\) draws an element-wise layer of one bottom"):
            curve(REGISTRY[kind], {}, -1.0, 1.0)


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'nbcaffe\[plot\]'"):
        nbcaffe.layer("ReLU").plot()


# Names that are taken


@pytest.mark.parametrize(
    "name", ["name", "type", "bottom", "top", "phase", "weights", "setup", "forward", "key", "real"]
)
def test_a_parameter_with_a_name_that_is_taken_is_refused_at_its_line(name, tmp_path):
    text = f"""\
        from nbcaffe import Float, Layer

        class Shadow(Layer):
            fine = Float(1.0)
            {name} = Float(1.0)
        """
    file = tmp_path / "shadow.py"
    file.write_text(textwrap.dedent(text))
    with pytest.raises(ConfigError, match=rf"shadow\.py:5: Shadow: parameter '{name}' has the name of something"):
        importlib.import_module("nbcaffe.check").load_layers(file)


def test_every_key_of_a_layer_in_yaml_is_taken():
    taken = importlib.import_module("nbcaffe.layer").KEYS | {*vars(Layer), *vars(Layer())}
    assert set(LAYER_KEYS) <= taken
