"""Where Caffe fails without a word, nbcaffe says so, or does better: one test a row of the table in
``docs/porting-from-caffe.md`` that no other file tests.
"""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from test_solver import NET, tiny, watch

from nbcaffe import TEST, Net
from nbcaffe.errors import NbcaffeError, NumericError
from nbcaffe.single import Single
from nbcaffe.solver.spec import read_solver

SMALL = "layers: [{name: x, type: Input, shape: [2, 3]}, {name: %s, type: InnerProduct, num_output: 4}]"

__all__ = ["tiny"]  # the fixture; pytest finds it by its name here


def warned(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Accuracy: NaN scores


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("place", [0, 1])
def test_accuracy_of_a_nan_is_nan_for_its_class_only(device, place):
    scores = np.array([[2.0, 1.0], [0.0, 3.0], [4.0, 1.0]])
    scores[1, place] = np.nan
    accuracy, by_class = Single("Accuracy", [(3, 2), (3,)], num_top=2, device=device).forward(scores, [0, 1, 0])
    assert np.isnan(accuracy)
    np.testing.assert_array_equal(by_class, [1.0, np.nan])


def test_accuracy_of_a_nan_that_is_ignored_is_that_of_the_others():
    scores = np.array([[2.0, 1.0], [np.nan, 3.0]])
    (accuracy,) = Single("Accuracy", [(2, 2), (2,)], ignore_label=7).forward(scores, [0, 7])
    assert accuracy == 1.0


# SoftmaxWithLoss: NaN hidden as 87.3365


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_softmax_loss_of_a_nan_is_nan_and_of_a_hopeless_score_large(device):
    loss = Single("SoftmaxWithLoss", [(2, 3), (2,)], device=device)
    scores = np.array([[0.0, 200.0, 0.0], [1.0, 0.0, 0.0]])
    assert 40 < loss.forward(scores, [0, 0])[0] < 44.5
    scores[1, 2] = np.nan
    assert np.isnan(loss.forward(scores, [0, 0])[0])


def test_training_on_a_nan_names_the_first_layer_that_has_it(tiny):
    one = tiny()
    one.net.params["ip"][0].data[0, 2] = np.nan
    with pytest.raises(NumericError, match="first value that is not finite: layer 'ip'"):
        one.step(1)


# Pooling: NaN and -inf


@pytest.mark.parametrize("shape, params", [((1, 1, 4, 4), {"kernel_size": 2, "stride": 2}), ((1, 1, 5, 5), {"pad": 1})])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_pooling_sends_the_gradient_of_such_a_window_into_the_plane(shape, params, value):
    params = {"kernel_size": 3, "stride": 2, **params}
    layer = Single("Pooling", [shape], num_top=2, **params)
    y, place = layer.forward(np.full(shape, value))
    np.testing.assert_array_equal(y, np.full(y.shape, value))
    assert place.min() >= 0 and place.max() < np.prod(shape)
    (dx,) = layer.backward(np.ones(y.shape), np.zeros(y.shape))
    assert dx.sum() == y.size


# Clipping before the division by iter_size


def test_clip_gradients_says_that_it_looks_at_the_sum_of_iter_size_batches():
    assert "iter_size" in read_solver("base_lr: 1\nnet: a").params["clip_gradients"].doc


# The score of a test: mean of batch means, test_iter by hand


def test_a_number_of_batches_that_counts_samples_unevenly_is_remarked(tiny, caplog):
    tiny(test_iter=2, test_interval=5)
    (line,) = warned(caplog)
    assert "2 batches of 10 are 20 samples" in line and "has 25" in line and "`all`" in line


@pytest.mark.parametrize("batches", [5, "all"])
def test_a_number_of_batches_that_counts_all_alike_is_not(tiny, caplog, batches):
    tiny(test_iter=batches, test_interval=5)
    assert warned(caplog) == []


def test_the_test_command_remarks_it_too(tiny, tmp_path):
    command = [sys.executable, "-m", "nbcaffe", "test", str(tmp_path / "net.yaml"), "--iterations", "1"]
    tiny()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "1 batches of 10 are 10 samples" in done.stdout, done.stderr


# SigmoidCrossEntropyLoss: ignore_label against the target's integer part


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_target_of_0_9_is_not_the_ignored_0(device):
    loss = Single("SigmoidCrossEntropyLoss", [(1, 3), (1, 3)], device=device, ignore_label=0, normalization="VALID")
    (value,) = loss.forward(np.zeros((1, 3)), [[0.9, 0.0, 0.0]])
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    dx, *_ = loss.backward(1.0)
    np.testing.assert_allclose(dx, [[0.5 - 0.9, 0, 0]], rtol=1e-6)


def test_a_target_that_is_a_nan_is_not_ignored():
    loss = Single("SigmoidCrossEntropyLoss", [(1, 2), (1, 2)], ignore_label=-2147483648)
    assert np.isnan(loss.forward(np.zeros((1, 2)), [[np.nan, 0.0]])[0])


# Weights by name: a mistyped layer keeps its initial values


def test_a_mistyped_layer_is_remarked_when_a_net_is_made_with_weights(tmp_path, caplog):
    Net(SMALL % "fc8").save(tmp_path / "w.h5")
    Net(SMALL % "fc8", TEST, weights=tmp_path / "w.h5")
    assert warned(caplog) == []
    Net(SMALL % "fc_8", TEST, weights=tmp_path / "w.h5")
    (line,) = warned(caplog)
    assert "initial values: fc_8" in line and "unused: fc8" in line


# CHECK and LOG(FATAL) end the process


@pytest.mark.parametrize(
    "make",
    [
        lambda: Net("layers: [{name: x, type: Inputt}]"),
        lambda: Net("no_such_net.yaml"),
        lambda: Net(SMALL % "ip").forward(x=np.zeros((9, 9))),
        lambda: Net(SMALL % "ip").copy_from("no_such_file.h5"),
        lambda: Single("InnerProduct", [(2, 3)], num_output=0),
        lambda: read_solver("base_lr: 1\nnet: a\nlr_policy: polly"),
    ],
)
def test_what_ends_caffe_s_process_is_an_exception_that_can_be_caught(make):
    with pytest.raises(NbcaffeError):
        make()


# debug_info, and settings without effect


def test_debug_info_records_the_mean_magnitude_of_every_blob_and_gradient(tiny):
    one = tiny(debug_info=True)
    found = watch(one)
    one.step(3)
    entries = [entry for entry in found if entry["phase"] == "DEBUG"]
    assert [entry["iter"] for entry in entries] == [0, 1, 2]
    last = entries[-1]
    assert set(last["blobs"]) == set(one.net.blobs) and set(last["params"]) == {"ip[0]"}
    assert last["blobs"]["ip"]["data"] == pytest.approx(np.abs(one.net.blobs["ip"].data).mean())
    assert last["params"]["ip[0]"]["diff"] == pytest.approx(np.abs(one.net.params["ip"][0].diff).mean())


def test_debug_info_of_a_run_is_in_its_metrics(tiny, tmp_path):
    tiny()
    (tmp_path / "s.yaml").write_text("net: net.yaml\nbase_lr: 0.05\nmax_iter: 2\ndebug_info: true\n")
    command = [sys.executable, "-m", "nbcaffe", "train", str(tmp_path / "s.yaml"), "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.glob("runs/*/metrics.jsonl")
    entries = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [entry["phase"] for entry in entries] == ["DEBUG", "DEBUG"]
    assert list(entries[0]["blobs"])[:2] == ["data", "label"]


def test_a_net_may_ask_for_debug_info_by_itself(tiny, tmp_path):
    tiny()
    (tmp_path / "net.yaml").write_text("debug_info: true\n" + NET)
    one = tiny()
    found = watch(one)
    one.step(1)
    assert [entry["phase"] for entry in found] == ["DEBUG"]


def test_a_setting_that_is_accepted_and_has_no_effect_is_remarked(tiny, caplog):
    tiny(device_id=1, snapshot_diff=True)
    assert [line.split(": ")[1] for line in warned(caplog)] == ["snapshot_diff", "device_id"]
    assert all("no effect" in line or "not written" in line for line in warned(caplog))
