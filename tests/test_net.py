"""Nets: both targets and both memory plans agree, passes run in part, weights and shapes change hands."""

import json
import tracemalloc
from functools import cache

import h5py
import numpy as np
import pytest
from test_golden import FOLDER, opened

from nbcaffe.errors import LabelError, NbcaffeError, ShapeError, SnapshotError
from nbcaffe.net import Net
from nbcaffe.report import predicted_bytes
from nbcaffe.solver.loop import Solver

NET = """\
name: marks
layers:
  - {name: data, type: Input, top: [x, label], shape: [[4, 6], [4]]}
  - {name: scores, type: InnerProduct, bottom: x, num_output: 3, weight_filler: xavier}
  - {name: accuracy, type: Accuracy, bottom: [scores, label]}
  - {name: wide, type: InnerProduct, bottom: scores, num_output: 64, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [wide, label]}
"""

# Caffe's LeNet with fewer channels, smaller pictures and Dropout
LENET = """\
name: LeNet
layers:
  - {name: data, type: HDF5Data, top: [data, label], source: SOURCE, batch_size: 3, shuffle: true}
  - {name: conv1, type: Convolution, bottom: data, num_output: 2, kernel_size: 5, weight_filler: xavier, param: [{lr_mult: 1}, {lr_mult: 2}]}
  - {name: pool1, type: Pooling, kernel_size: 2, stride: 2}
  - {name: conv2, type: Convolution, num_output: 3, kernel_size: 5, weight_filler: xavier, param: [{lr_mult: 1}, {lr_mult: 2}]}
  - {name: pool2, type: Pooling, kernel_size: 2, stride: 2}
  - {name: ip1, type: InnerProduct, num_output: 8, weight_filler: xavier, param: [{lr_mult: 1}, {lr_mult: 2}]}
  - {name: relu1, type: ReLU}
  - {name: drop1, type: Dropout, top: drop1}
  - {name: ip2, type: InnerProduct, num_output: 4, weight_filler: xavier, param: [{lr_mult: 1}, {lr_mult: 2}]}
  - {name: loss, type: SoftmaxWithLoss, bottom: [ip2, label]}
"""  # noqa: E501

TWO_LOSSES = """\
name: two_losses
layers:
  - {name: data, type: Input, top: [x, label], shape: [[6, 5], [6]]}
  - {name: shared, type: InnerProduct, bottom: x, num_output: 16, weight_filler: xavier}
  - {name: squash, type: TanH, top: shared}
  - {name: left, type: InnerProduct, bottom: shared, num_output: 4, weight_filler: xavier}
  - {name: right, type: InnerProduct, bottom: shared, num_output: 5, weight_filler: xavier}
  - {name: class, type: SoftmaxWithLoss, bottom: [left, label]}
  - {name: same, type: EuclideanLoss, bottom: [right, x], loss_weight: 0.3}
"""

BRANCHES = """\
name: branches
layers:
  - {name: data, type: Input, top: [x, label], shape: [[2, 3, 9, 9], [2]]}
  - {name: a, type: Convolution, bottom: x, num_output: 4, kernel_size: 3, weight_filler: xavier}
  - {name: relu_a, type: ReLU, top: a}
  - {name: b, type: Convolution, bottom: a, num_output: 3, kernel_size: 1, weight_filler: xavier}
  - {name: sig_b, type: Sigmoid, bottom: b, top: sig_b}
  - {name: c, type: Convolution, bottom: a, num_output: 2, kernel_size: 3, pad: 1, weight_filler: xavier}
  - {name: relu_c, type: ReLU, bottom: c, top: relu_c}
  - {name: joined, type: Concat, bottom: [sig_b, relu_c, a]}
  - {name: twice, type: Eltwise, bottom: [joined, joined], coeff: [1, -0.5]}
  - {name: drop, type: Dropout, top: drop}
  - {name: pooled, type: Pooling, bottom: drop, pool: AVE, kernel_size: 3, stride: 2}
  - {name: flat, type: Flatten}
  - {name: scores, type: InnerProduct, num_output: 4, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [scores, label]}
"""

DEEP = "name: deep\nlayers:\n  - {name: data, type: Input, top: [x, label], shape: [[5, 12], [5]]}\n" + "".join(
    f"  - {{name: ip{k}, type: InnerProduct, bottom: {'x' if k == 0 else f'act{k - 1}'}"
    f", num_output: {12 if k < 7 else 4}, weight_filler: xavier}}\n  - {{name: act{k}, type: {kind}, top: act{k}}}\n"
    for k, kind in enumerate(["ReLU", "Sigmoid", "TanH", "ReLU", "ReLU", "TanH", "Sigmoid", "ReLU"])
)
DEEP += "  - {name: loss, type: SoftmaxWithLoss, bottom: [act7, label]}\n"

# No layer here keeps a blob for its own top: only the products' backward passes need them
LINEAR = (
    "name: linear\nlayers:\n  - {name: data, type: Input, top: [x, y], shape: [[7, 12], [7, 12]]}\n"
    + "".join(
        f"  - {{name: ip{k}, type: InnerProduct, bottom: {f'ip{k - 1}' if k else 'x'}, num_output: 12"
        ", weight_filler: xavier}\n"
        for k in range(6)
    )
    + "  - {name: loss, type: EuclideanLoss, bottom: [ip5, y]}\n"
)

GRAPHS = {"linear": LINEAR, "two losses": TWO_LOSSES, "branches": BRANCHES, "deep": DEEP}


def fed(text, seed=0, **options):
    """A net with values in its inputs."""
    net, rng = Net(text, **options), np.random.default_rng(seed)
    for name in net.inputs:
        blob = net.blobs[name]
        blob.data[...] = rng.integers(0, 4, blob.shape) if name == "label" else rng.standard_normal(blob.shape)
    return net


def gradients(net):
    return {f"{name}[{k}]": w.diff.copy() for name, weights in net.params.items() for k, w in enumerate(weights)}


def both_passes(net, times=1):
    """The losses of some passes, and the gradients they add up to."""
    losses = []
    for _ in range(times):
        net.forward()
        losses.append(net.loss())
        net.backward()
    return losses, gradients(net)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# Both targets


def trained(device, source):
    settings = "solver: {base_lr: 0.05, momentum: 0.9, weight_decay: 0.0005, max_iter: 2}\n"
    solver = Solver(settings + LENET.replace("SOURCE", str(source)), device=device)
    seen = {"rows": [], "mask": [], "losses": []}

    def look(loss):
        net = solver.net
        before, after = (net.device.download(net.blobs[name]._data) for name in ("ip1", "drop1"))
        seen["mask"].append((before != 0) & (after == 0))
        seen["rows"].append(net.sources["data"].rows.copy())
        seen["losses"].append(loss)

    solver.add_callback(on_iteration=look)
    solver.step(2)
    host = solver.net.device.download
    weights = {f"{n}[{k}]": host(w.data) for n, ws in solver.net.params.items() for k, w in enumerate(ws)}
    return seen, weights


def test_lenet_trains_alike_on_cpu_and_cuda(tmp_path):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"] = rng.standard_normal((7, 1, 16, 16)).astype("f")
        file["label"] = rng.integers(0, 4, 7).astype("f")
    cpu, cpu_weights = trained("cpu", tmp_path / "train.h5")
    cuda, cuda_weights = trained("cuda", tmp_path / "train.h5")
    np.testing.assert_array_equal(cuda["rows"], cpu["rows"])
    assert (np.ravel(cpu["rows"]) != np.arange(6)).any(), "not shuffled"
    np.testing.assert_array_equal(cuda["mask"], cpu["mask"])
    assert (cpu["mask"][0] != cpu["mask"][1]).any() and np.any(cpu["mask"])
    np.testing.assert_allclose(cuda["losses"], cpu["losses"], rtol=1e-5)
    for name, values in cpu_weights.items():
        np.testing.assert_allclose(cuda_weights[name], values, rtol=0, atol=1e-5 * np.abs(values).max(), err_msg=name)


# Memory


@pytest.mark.parametrize("name", GRAPHS)
def test_planned_memory_gives_the_same_bits_and_takes_less(name):
    keep, plan = (fed(GRAPHS[name], memory=memory) for memory in ("keep", "plan"))
    (losses, diffs), (planned_losses, planned_diffs) = both_passes(keep, 2), both_passes(plan, 2)
    assert planned_losses == losses
    assert all(np.abs(diff).max() > 0 for diff in diffs.values())
    assert_same(planned_diffs, diffs)
    assert plan.activation_bytes < keep.activation_bytes


LARGE = {
    "many activations": BRANCHES.replace("[2, 3, 9, 9], [2]", "[8, 3, 65, 65], [8]").replace("put: 4,", "put: 32,", 1),
    "many weights": DEEP.replace("num_output: 12", "num_output: 400"),
}


@pytest.mark.parametrize("memory", ["keep", "plan"])
@pytest.mark.parametrize("name", LARGE)
def test_the_predicted_bytes_are_those_that_a_net_allocates(name, memory):
    Net(LARGE[name], memory=memory)  # kernels are compiled now, not while their bytes are counted
    tracemalloc.start()
    try:
        net = Net(LARGE[name], memory=memory)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    predicted = sum(predicted_bytes(net).values())
    assert predicted > 4e6
    assert 0.9 * held < predicted < 1.1 * held


@pytest.mark.parametrize("memory", ["keep", "plan"])
def test_the_label_that_is_named_is_the_one_that_was_fed(memory):
    net = Net(NET, "TEST", memory=memory)
    with pytest.raises(LabelError, match="label 7 at item 2 of the batch, expected 0 to 2"):
        net.forward(x=np.ones((4, 6)), label=np.array([0, 1, 7, 2]))


# Whole nets against real Caffe


@cache
def golden_nets():
    path = FOLDER / "nets.h5"
    return sorted(opened(path.name)) if path.is_file() else []


def our_layer(layer):
    """caffe.proto's ``shape: [{dim: [2, 3]}]`` is our ``shape: [[2, 3]]``; the rest is the same."""
    layer = dict(layer)
    if "input_param" in layer:
        layer["input_param"] = {"shape": [shape["dim"] for shape in layer["input_param"]["shape"]]}
    return layer


def close(ours, caffe, what):
    assert ours.shape == caffe.shape, f"{what}: {ours.shape}, Caffe has {caffe.shape}"
    tolerance = 1e-4 * max(1e-3, float(np.abs(caffe).max(initial=0.0)))
    np.testing.assert_allclose(ours, caffe, rtol=0, atol=tolerance, err_msg=what)


# Both branches' gradients cancel 400-fold here: float32's rounding alone is 1.5e-4 of what is left, Caffe's own 0.4e-4
CANCELLING = {("siamese", "conv1", 1), ("siamese", "conv1_p", 1)}


RUNS = [(case, np.float32) for case in golden_nets()]
RUNS += [(case, np.float64) for case in sorted({net for net, _, _ in CANCELLING} & set(golden_nets()))]


@pytest.mark.parametrize(("case", "dtype"), RUNS, ids=[f"{case}-{dtype.__name__}" for case, dtype in RUNS])
def test_a_whole_net_computes_what_caffe_does(case, dtype):
    group = opened("nets.h5")[case]
    document = json.loads(group.attrs["net_json"])
    header = {key: value for key, value in document.items() if key != "layer"}
    net = Net(
        {**header, "layers": [our_layer(layer) for layer in document["layer"]]}, group.attrs["phase"], dtype=dtype
    )
    weights = opened("nets.h5")[group.attrs.get("same_weights_as", case)]["param"]
    for name, values in ((n, weights[n]) for n in net.params):
        for index, weight in enumerate(net.params[name]):
            weight.data[...] = values[str(index)]
    net.forward(**{name: values[()] for name, values in group["input"].items()})
    for name, values in group["blob"].items():
        close(net.blobs[name].data, values[()], f"blob {name}")
    assert net.loss() == pytest.approx(group.attrs["loss"], rel=1e-4)
    if group.attrs["has_backward"]:
        net.backward()
        for name, diffs in group["param_diff"].items():
            for index, values in diffs.items():
                if dtype == np.float32 and (case, name, int(index)) in CANCELLING:
                    continue
                close(net.params[name][int(index)].diff, values[()], f"diff of {name}[{index}]")
        own = {name for name in group.get("diff", ()) if sum(name in tops for tops in net.top_names.values()) == 1}
        for name in own & set(net.blobs):  # with a layer in place, Caffe's diff is that of another moment
            close(net.blobs[name].diff, group["diff"][name][()], f"diff of blob {name}")


# What a user does with a net


def test_a_nan_is_traced_to_the_layer_and_blob_where_it_first_shows():
    net = fed(TWO_LOSSES, memory="plan")
    net.forward()
    assert net.find_non_finite() is None
    net.params["right"][1].data[2] = np.inf
    net.forward()
    assert net.find_non_finite() == ("right", "params['right'][1]")
    net.params["right"][1].data[2] = 0
    net.blobs["x"].data[3, 1] = np.nan
    net.forward()
    assert net.find_non_finite() == ("data", "x")
    net.blobs["x"].data[3, 1] = 1e30
    net.params["right"][0].data[...] = 3e38
    net.params["shared"][0].data[...] = np.abs(net.params["shared"][0].data)
    net.forward()
    layer, blob = net.find_non_finite()
    assert (layer, blob) == ("right", "right")


@pytest.mark.parametrize("memory", ["keep", "plan"])
def test_another_batch_size_gives_the_same_numbers_for_the_same_samples(memory):
    net = fed(BRANCHES, phase="TEST", memory=memory)
    x, label = net.blobs["x"].data.copy(), net.blobs["label"].data.copy()
    two = net.forward(["scores"] if memory == "keep" else [])
    net.blobs["x"].reshape(5, 3, 9, 9)
    net.blobs["label"].reshape(5)
    net.reshape()
    more = np.concatenate([x, x, x])[:5]
    five = net.forward(["scores"] if memory == "keep" else [], x=more, label=np.concatenate([label] * 3)[:5])
    if memory == "keep":
        np.testing.assert_allclose(five["scores"][:2], two["scores"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(five["scores"][2:4], two["scores"], rtol=1e-6, atol=1e-6)
    net.blobs["x"].reshape(2, 3, 9, 9)
    net.blobs["label"].reshape(2)
    again = net.forward()  # forward sees the new shapes by itself
    assert net.blobs["x"].shape == net.blobs["x"].data.shape == (2, 3, 9, 9)
    net.forward(x=x, label=label)
    assert net.loss() == pytest.approx(float(two["loss"]), rel=1e-6)
    assert again["loss"].shape == ()


def test_a_reshaped_input_is_filled_before_the_pass_that_takes_over_its_shape():
    net = fed(BRANCHES, phase="TEST")
    x, label = np.concatenate([net.blobs["x"].data] * 2), np.concatenate([net.blobs["label"].data] * 2)
    two = net.forward(["scores"])
    for name, values in (("x", x), ("label", label)):
        net.blobs[name].reshape(*values.shape)
        net.blobs[name].data[...] = values  # pycaffe's way, without net.reshape()
    four = net.forward(["scores"])
    np.testing.assert_allclose(four["scores"], np.concatenate([two["scores"]] * 2), rtol=1e-6, atol=1e-6)
    for name, values in (("x", x[:2]), ("label", label[:2])):
        net.blobs[name].reshape(*values.shape)
    np.testing.assert_allclose(net.forward(["scores"], x=x[:2], label=label[:2])["scores"], two["scores"], rtol=1e-6)


def test_values_of_another_shape_than_the_blobs_are_refused():
    with pytest.raises(ShapeError, match=r"blob 'x': expected shape \(6, 5\), got \(3, 5\)"):
        Net(TWO_LOSSES).forward(x=np.ones((3, 5)))


def test_a_forward_pass_in_two_parts_is_a_whole_one():
    net = fed(TWO_LOSSES)
    whole = {name: values.copy() for name, values in net.forward(["left", "right"]).items()}
    for name in ("left", "right", "class", "same"):
        net.blobs[name].data[...] = 0
    assert set(net.forward(end="left")) == {"left"}
    np.testing.assert_array_equal(net.blobs["left"].data, whole["left"])
    assert not net.blobs["right"].data.any() and not net.blobs["class"].data.any()
    rest = net.forward(start="right")
    np.testing.assert_array_equal(net.blobs["right"].data, whole["right"])
    np.testing.assert_array_equal(rest["class"], whole["class"])
    with pytest.raises(NbcaffeError, match="no layer 'lefd'; it has data, "):
        net.forward(start="lefd")


def test_random_layers_draw_anew_with_each_pass_from_the_first_layer_on():
    net = fed(BRANCHES)
    net.forward()
    first = net.blobs["drop"].data.copy()
    net.forward(start="joined")
    np.testing.assert_array_equal(net.blobs["drop"].data, first)
    net.forward()
    assert (net.blobs["drop"].data != first).any()


def test_a_backward_pass_in_two_parts_is_a_whole_one():
    net = fed(TWO_LOSSES)
    _, whole = both_passes(net)
    net.clear_param_diffs()
    net.backward(end="right")
    assert np.abs(net.params["right"][0].diff).max() > 0 and not net.params["shared"][0].diff.any()
    net.backward(start="left")
    assert_same(gradients(net), whole)


def test_backward_starts_from_the_gradient_that_is_given():
    net = fed(TWO_LOSSES)
    net.forward()
    below, diff = np.tanh(net.blobs["x"].data @ net.params["shared"][0].data.T), np.ones((6, 4), np.float32)
    net.backward(start="left", end="left", left=diff)
    np.testing.assert_allclose(net.params["left"][0].diff, diff.T @ below, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(net.params["left"][1].diff, [6, 6, 6, 6])
    with pytest.raises(NbcaffeError, match="no blob 'lefd'"):
        net.backward(lefd=diff)


def test_copy_from_says_what_matched_what_is_missing_and_what_was_not_used(tmp_path):
    source = fed(TWO_LOSSES, seed=1)
    source.params["left"][0].data[...] = 7
    source.save(tmp_path / "w.h5")
    renamed = TWO_LOSSES.replace("name: right, type", "name: fresh, type").replace("[right, x]", "[fresh, x]")
    net = Net(renamed)
    before = net.params["fresh"][0].data.copy()
    report = net.copy_from(tmp_path / "w.h5")
    assert (report.matched, report.missing, report.unused) == (["shared", "left"], ["fresh"], ["right"])
    assert "without weights in the file, so with their initial values: fresh; unused: right" in str(report)
    assert (net.params["left"][0].data == 7).all()
    np.testing.assert_array_equal(net.params["fresh"][0].data, before)


def test_copy_from_refuses_other_shapes_unless_the_layer_starts_anew(tmp_path):
    Net(TWO_LOSSES).save(tmp_path / "w.h5")
    net = Net(TWO_LOSSES.replace("num_output: 4", "num_output: 9"))
    with pytest.raises(SnapshotError, match="layer 'left': 9x16, 9 in the net, 4x16, 4 in "):
        net.copy_from(tmp_path / "w.h5")
    before = net.params["left"][0].data.copy()
    net.copy_from(tmp_path / "w.h5", reinit=["left"])
    np.testing.assert_array_equal(net.params["left"][0].data, before)


def test_what_lies_under_frozen_layers_does_no_backward_work():
    whole, frozen = fed(TWO_LOSSES), fed(TWO_LOSSES + "freeze: [shared]\n")
    both_passes(whole)
    both_passes(frozen)
    assert not frozen.params["shared"][0].diff.any() and whole.params["shared"][0].diff.any()
    np.testing.assert_array_equal(frozen.params["left"][0].diff, whole.params["left"][0].diff)
    working = {node.spec.name for node in frozen.graph.nodes if node.backward}
    assert working == {"left", "right", "class", "same"}
    assert len(frozen._backward.steps) < len(whole._backward.steps)


SHARED = """\
name: shared
layers:
  - {name: data, type: Input, top: [x, y], shape: [[4, 5], [4, 5]]}
  - {name: first, type: InnerProduct, bottom: x, num_output: 5, weight_filler: xavier, param: [{name: w}, {name: b}]}
  - {name: second, type: InnerProduct, num_output: 5, weight_filler: xavier, param: [{name: w2}, {name: b2}]}
  - {name: loss, type: EuclideanLoss, bottom: [second, y]}
"""


def test_layers_that_share_weights_add_up_their_gradients():
    apart, together = fed(SHARED), fed(SHARED.replace("name: w2", "name: w").replace("name: b2", "name: b"))
    for index in (0, 1):
        apart.params["second"][index].data[...] = apart.params["first"][index].data
        together.params["first"][index].data[...] = apart.params["first"][index].data
        np.testing.assert_array_equal(together.params["second"][index].data, apart.params["first"][index].data)
    (loss, alone), (shared_loss, summed) = both_passes(apart), both_passes(together)
    assert shared_loss == loss
    for index in (0, 1):
        wanted = alone[f"first[{index}]"] + alone[f"second[{index}]"]
        np.testing.assert_allclose(summed[f"first[{index}]"], wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(summed[f"second[{index}]"], summed[f"first[{index}]"])
    assert len(together.parameters) == 2 and len(apart.parameters) == 4


def test_a_test_net_has_the_weights_of_the_train_net():
    train = fed(TWO_LOSSES)
    test = Net(TWO_LOSSES, "TEST", share=train)
    train.params["left"][0].data[...] = 5
    assert (test.params["left"][0].data == 5).all()
    assert test.parameters == []
