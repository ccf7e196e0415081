"""Layers of plain Python behind pycaffe's interface: weights, errors, data, and the same numbers on every target."""

import sys

import numpy as np
import pytest

from nbcaffe.errors import ConfigError, NbcaffeError, ShapeError
from nbcaffe.layer import REGISTRY
from nbcaffe.net import Net
from nbcaffe.single import Single

MODULE = """\
import numpy as np
import nbcaffe as caffe


class Stretch(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(bottom[0].channels)
        self.blobs[0].data[...] = float(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.blobs[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(axis=0)
        if propagate_down[0]:
            bottom[0].diff[...] = top[0].diff * self.blobs[0].data


class Growing:
    size = 1

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        self.size += int(self.param_str)
        top[0].reshape(self.size, 3)

    def forward(self, bottom, top):
        top[0].data[...] = self.size
"""

NET = """\
name: own
layers:
  - {name: data, type: Input, top: [x, y], shape: [[4, 3], [4, 3]]}
  - {name: in, type: InnerProduct, bottom: x, num_output: 3, weight_filler: xavier}
  - {name: own, type: Python, bottom: in, top: own, module: own_layers, layer: Stretch, param_str: "1.5"}
  - {name: loss, type: Python, bottom: [own, y], top: loss, loss_weight: 2,
     module: nbcaffe.layers.python_layer, layer: HalfSquaredDistance}
"""


@pytest.fixture
def folder(tmp_path):
    """A net and its module in one folder, which is not the current one."""
    (tmp_path / "own_layers.py").write_text(MODULE)
    (tmp_path / "net.yaml").write_text(NET)
    yield tmp_path
    sys.modules.pop("own_layers", None)
    REGISTRY.pop("Stretch", None)


@pytest.mark.parametrize("memory", ["keep", "plan"])
def test_a_net_trains_through_python_layers_on_every_target(folder, memory):
    results = []
    for device in ("cpu", "cuda"):
        net = Net(folder / "net.yaml", device=device, memory=memory)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((2, 4, 3)).astype(np.float32)
        net.forward(x=x, y=y)
        net.backward()
        down = net.device.download
        results.append([np.float32(net.loss()), *(down(w.diff) for ws in net.params.values() for w in ws)])
        weights = {name: [down(w.data) for w in ws] for name, ws in net.params.items()}
    np.testing.assert_array_equal(weights["own"][0], 1.5)
    hidden = x @ weights["in"][0].T
    expected = ((1.5 * hidden - y) ** 2).sum()
    for loss, w, _, own in results:
        assert loss == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(own, (2 * (1.5 * hidden - y) * hidden).sum(axis=0), rtol=1e-4)
        np.testing.assert_allclose(w, 2 * 1.5 * (1.5 * hidden - y).T @ x, rtol=1e-4)


GROWING = """\
name: growing
layers:
  - {name: first, type: Python, top: first, module: own_layers, layer: Growing, param_str: "0"}
  - {name: data, type: Python, top: data, module: own_layers, layer: Growing, param_str: "STEP"}
  - {name: ip, type: InnerProduct, bottom: data, num_output: 2, weight_filler: {type: constant, value: 1}}
  - {name: sum, type: Reduction, bottom: ip, axis: 1, loss_weight: 1}
"""


@pytest.mark.parametrize("memory", ["keep", "plan"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("step", [1, -1])
def test_each_pass_may_have_another_batch_size(folder, memory, device, step):
    own = folder / "own_layers.py"
    own.write_text(own.read_text().replace("size = 1", "size = 4" if step < 0 else "size = 1"))
    (folder / "growing.yaml").write_text(GROWING.replace("STEP", str(step)))
    net = Net(folder / "growing.yaml", device=device, memory=memory)
    start = 4 if step < 0 else 1
    for size in (start + step, start + 2 * step, start + 3 * step):
        net.run_forward()
        assert net.blobs["sum"].shape == (size,)
        np.testing.assert_array_equal(net.device.download(net.blobs["sum"].data), np.full(size, 6 * size))
        assert net.loss() == 6 * size**2
        net.clear_param_diffs()
        net.run_backward()
        np.testing.assert_array_equal(net.device.download(net.params["ip"][0].diff), np.full((2, 3), size * size))
    assert (net.device.download(net.blobs["first"].data) == start).all()


def test_a_shape_that_forward_changes_is_refused(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    own = folder / "own_layers.py"
    own.write_text(own.read_text().replace("= self.size", "= self.size; top[0].reshape(7)"))
    layer = Single("Python", [], module="own_layers", layer="Growing", param_str="0", num_top=1)
    with pytest.raises(ShapeError, match=r"forward wants the shape \(7,\) for 'top0', which has \(1, 3\)"):
        layer.forward()


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"module": "no_such_module", "layer": "A"}, "there is none in the net's folder nor on Python's path"),
        ({"module": "nbcaffe.layers.python_layer", "layer": "HalfSquareDistance"}, "did you mean 'HalfSquaredDist"),
        ({"module": "for_caffe", "layer": "A"}, "import nbcaffe as caffe"),
    ],
)
def test_a_missing_module_or_class_is_explained(params, complaint, tmp_path, monkeypatch):
    (tmp_path / "for_caffe.py").write_text("import caffe\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=complaint):
        Single("Python", [(2, 2)], num_top=1, **params)


def test_a_class_without_backward_says_so_when_a_gradient_is_asked_of_it(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    layer = Single("Python", [(2, 3)], module="own_layers", layer="Growing", param_str="0", num_top=1)
    layer.forward(np.ones((2, 3)))
    with pytest.raises(NbcaffeError, match="Growing has no backward"):
        layer.backward(np.ones((1, 3)))
