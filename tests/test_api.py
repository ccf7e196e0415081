"""pycaffe's names, and one layer at a prompt."""

import numpy as np
import pytest

import nbcaffe

NET = """\
name: tiny
layers:
  - {name: data, type: Input, top: x, shape: [[4, 6]]}
  - {name: ip, type: InnerProduct, num_output: 3, weight_filler: xavier, bias_filler: {type: constant, value: 0.5}}
  - {name: prob, type: Softmax}
"""


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setattr("nbcaffe.mode._chosen", {})


def test_a_net_is_used_as_in_pycaffe():
    net = nbcaffe.Net(NET, nbcaffe.TEST)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype("f")
    net.blobs["x"].data[...] = x
    prob = net.forward()["prob"]
    scores = x @ net.params["ip"][0].data.T + net.params["ip"][1].data
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prob, expected, rtol=1e-5)
    assert net.inputs == ["x"] and net.outputs == ["prob"]
    assert net.layer_dict["ip"].num_output == 3


def test_weights_are_saved_and_loaded_by_name(tmp_path):
    net = nbcaffe.Net(NET, nbcaffe.TEST)
    net.save(tmp_path / "w.h5")
    other = nbcaffe.Net(NET.replace("xavier", "constant"), nbcaffe.TEST, weights=tmp_path / "w.h5")
    np.testing.assert_array_equal(other.params["ip"][0].data, net.params["ip"][0].data)


def test_arrays_feed_a_memory_data_layer():
    layer = "{name: m, type: MemoryData, top: [x, label], batch_size: 2, channels: 3, height: 1, width: 1}"
    net = nbcaffe.Net(f"layers:\n  - {layer}\n  - {{name: ip, type: InnerProduct, bottom: x, num_output: 2}}\n")
    data = np.arange(12, dtype="f").reshape(4, 3, 1, 1)
    net.set_input_arrays(data, np.arange(4))
    for part in (data[:2], data[2:], data[:2]):
        net.forward()
        np.testing.assert_array_equal(net.blobs["x"].data, part)
    with pytest.raises(nbcaffe.NbcaffeError, match="needs a MemoryData layer"):
        nbcaffe.Net(NET, nbcaffe.TEST).set_input_arrays(data, np.arange(4))


def test_the_seed_of_the_process_fills_the_weights():
    first = nbcaffe.Net(NET, nbcaffe.TEST).params["ip"][0].data.copy()
    nbcaffe.set_random_seed(5)
    second = nbcaffe.Net(NET, nbcaffe.TEST).params["ip"][0].data.copy()
    nbcaffe.set_random_seed(1701)
    assert (first != second).any()
    np.testing.assert_array_equal(nbcaffe.Net(NET, nbcaffe.TEST).params["ip"][0].data, first)


def test_the_mode_of_the_process_chooses_the_device():
    nbcaffe.set_mode_gpu()  # in the tests: the simulator
    assert nbcaffe.Net(NET, nbcaffe.TEST).device.name == "cuda"
    nbcaffe.set_mode_cpu()
    assert nbcaffe.Net(NET, nbcaffe.TEST).device.name == "cpu"


def test_a_solver_steps_as_in_pycaffe(root):
    solver = nbcaffe.get_solver(root / "nets/digits/solver.yaml")
    before = solver.net.params["ip2"][0].data.copy()
    solver.step(2)
    assert solver.iter == 2 and solver.test_nets
    assert (solver.net.params["ip2"][0].data != before).any()
    assert solver.net.blobs["conv1"].data.shape == (64, 20, 16, 16)  # readable: nothing is overwritten


def test_every_layer_type_is_listed():
    assert {"Convolution", "InnerProduct", "SoftmaxWithLoss"} <= set(nbcaffe.layer_type_list())


def test_a_layer_runs_alone():
    x = np.array([[-1.0, 0.0, 2.0]], "f")
    leaky = nbcaffe.layer("ReLU", negative_slope=0.5)
    np.testing.assert_array_equal(leaky.run(x), [[-0.5, 0.0, 2.0]])
    np.testing.assert_array_equal(leaky.backward(np.ones_like(x)), [[0.5, 0.5, 1.0]])


def test_a_layer_is_checked_and_timed_alone():
    product = nbcaffe.layer("InnerProduct", num_output=3)
    errors = product.check((2, 5))
    assert set(errors) >= {"gradient", "cpu = cuda", "accumulation"} and max(errors.values()) < 1e-5
    assert set(product.time((2, 5), rounds=3)) == {"forward", "backward"}


def test_a_layer_alone_refuses_what_yaml_would_refuse():
    with pytest.raises(nbcaffe.ConfigError, match="did you mean 'num_output'"):
        nbcaffe.layer("InnerProduct", num_ouput=3)
    with pytest.raises(nbcaffe.ConfigError, match="did you mean 'ReLU'"):
        nbcaffe.layer("Relu")
