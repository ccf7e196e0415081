"""A net is checked as a whole, and side by side on two targets or with two engines."""

import pytest

import nbcaffe.ops.blas as blas
from nbcaffe.checks.net import check_net
from nbcaffe.checks.pair import pair
from nbcaffe.errors import ConfigError
from nbcaffe.layers.inner_product import InnerProduct
from nbcaffe.layers.pooling import Pooling

NET = """
name: tiny
layers:
  - {name: data, type: Input, top: [data, label], shape: [[4, 2, 6, 6], [4]]}
  - {name: conv, type: Convolution, bottom: data, num_output: 3, kernel_size: 3, weight_filler: xavier}
  - {name: pool, type: Pooling, kernel_size: 2, stride: 2}
  - {name: relu, type: ReLU, top: pool}
  - {name: ip1, type: InnerProduct, num_output: 5, weight_filler: xavier}
  - {name: drop, type: Dropout}
  - {name: ip2, type: InnerProduct, num_output: 3, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [ip2, label]}
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return str(path)


@pytest.mark.parametrize("names", ["cpu,sim", "DIRECT,BLAS", "PLAIN,DIRECT"])
def test_two_of_them_agree(net, names, capsys):
    assert pair(net, names) == []
    assert " conv " in capsys.readouterr().out


def test_the_first_layer_whose_top_differs_is_named(net, monkeypatch):
    forward = blas.BlasProduct.forward

    def wrong(self, x, w, b, y):
        forward(self, x, 1.01 * w, b, y)

    monkeypatch.setattr(blas.BlasProduct, "forward", wrong)
    (fault,) = pair(net, "DIRECT,BLAS")
    assert "differ in iteration 1, first in layer 'ip1' (InnerProduct): data of top 'ip1'[" in fault


def test_a_gradient_that_differs_is_named_with_its_weight(net, monkeypatch):
    backward = blas.BlasProduct.backward_weights
    monkeypatch.setattr(
        blas.BlasProduct, "backward_weights", lambda self, x, dy, dw, db: backward(self, x, dy, dw, None)
    )
    (fault,) = pair(net, "DIRECT,BLAS")
    assert "layer 'ip2' (InnerProduct): diff of weight 'ip2/1'[" in fault


@pytest.mark.parametrize(
    ("names", "complaint"),
    [("cpu", "name two targets"), ("cpu,BLAS", "name two targets"), ("cpu,simm", "did you mean 'sim'")],
)
def test_a_pair_that_is_none_is_explained(net, names, complaint):
    with pytest.raises(ConfigError, match=complaint):
        pair(net, names)


def test_a_right_net_has_no_fault(net, capsys):
    assert check_net(net) == []
    assert "gradient of the loss by 140 weights" in capsys.readouterr().out


def test_a_wrong_layer_is_named_in_its_net_and_by_the_loss(net, monkeypatch):
    backward = InnerProduct.backward

    def wrong(self, bottom, top):
        backward(self, top=top, bottom=bottom)
        self.op.backward_weights(
            bottom[0].data.reshape(self.shape.rows, -1), top[0].diff.reshape(self.shape.rows, -1), self.w.diff, None
        )

    monkeypatch.setattr(InnerProduct, "backward", wrong)
    text = "\n".join(check_net(net))
    assert "layer 'ip1' (InnerProduct): gradient: the gradient of weight 0 is 2 times the finite difference" in text
    assert "net 'tiny': the loss's gradient is wrong by the weights of 'ip1'" in text


def test_a_fault_below_is_not_blamed_on_the_layers_above(net, monkeypatch):
    monkeypatch.setattr(Pooling, "backward", lambda self, bottom, top: None)
    text = "\n".join(check_net(net))
    assert "layer 'pool' (Pooling): gradient" in text and "weights of 'conv'" in text and "'ip2'" not in text
