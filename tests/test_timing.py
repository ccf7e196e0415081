"""What `nbcaffe time` says of a net: work, rows, traces; never how fast this machine is."""

import json
from argparse import Namespace

import numpy as np
import pytest

from nbcaffe import roofline, timing
from nbcaffe.cli import main
from nbcaffe.net import Net
from nbcaffe.roofline import Peaks, Work, backward_work, forward_work, late_work

NET = """\
name: small
layers:
  - {name: data, type: Input, top: [x, label], shape: [[2, 1, 6, 6], [2]]}
  - {name: conv, type: Convolution, bottom: x, num_output: 3, kernel_size: 3}
  - {name: relu, type: ReLU}
  - {name: flat, type: Flatten}
  - {name: ip, type: InnerProduct, num_output: 4}
  - {name: loss, type: SoftmaxWithLoss, bottom: [ip, label]}
"""
WIDE = """\
layers:
  - {name: data, type: Input, top: [x, label], shape: [[2, 256], [2]]}
  - {name: wide, type: InnerProduct, bottom: x, num_output: 256, weight_filler: xavier}
  - {name: ip, type: InnerProduct, num_output: 4}
  - {name: loss, type: SoftmaxWithLoss, bottom: [ip, label]}
"""
ROOF = Peaks(100.0, 10.0)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(roofline, "measure_peaks", lambda: ROOF)
    monkeypatch.setattr(roofline, "folder", lambda: tmp_path)
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return path


@pytest.fixture
def nodes(file):
    return {node.spec.name: node for node in Net(str(file), memory="plan").graph.nodes}


def test_work_forward_is_products_and_each_blob_once(nodes):
    assert forward_work(nodes["conv"]) == Work(2 * 864, 4 * (2 * 36 + 27 + 3 + 2 * 48))
    assert forward_work(nodes["ip"]) == Work(2 * 384, 4 * (2 * 48 + 4 * 48 + 4 + 2 * 4))


def test_work_backward_counts_only_gradients_that_are_wanted(nodes):
    assert backward_work(nodes["conv"]) == Work(2 * 864, 4 * (2 * 48 + 2 * (27 + 3) + 2 * 36))
    both = 4 * (2 * 4 + 2 * (192 + 4) + 2 * 48 + 192 + 4 + 2 * 48)  # tops, weights' diffs, bottom's, weights, bottom
    assert backward_work(nodes["ip"]) == Work(4 * 384, both)


def test_work_of_a_late_gradient_moves_from_the_backward_pass_to_the_update():
    node = Net(WIDE, memory="plan", late_gradients=True).graph.nodes[1]
    assert node.layer.weights[0].late
    assert backward_work(node) == Work(0, 4 * (2 * 256 + 2 * 256))  # the top's diff, and the bias's, added to
    assert late_work(node, 1) == Work(2 * 2 * 256 * 256, 4 * (2 * 256 + 2 * 256 + 4 * 256 * 256))


def test_the_roof_is_the_slower_of_arithmetic_and_memory():
    assert ROOF.least_ms(Work(10**8, 10)) == pytest.approx(1.0)
    assert ROOF.least_ms(Work(10, 10**8)) == pytest.approx(10.0)
    half = timing.Row(2.0, Work(10**8, 10))
    assert half.cells(ROOF) == ["2.000", "50.0", "0.0", "50 %"]
    assert half.cells(None)[3] == "" and timing.Row(0.0, Work(1, 1)).cells(ROOF) == [""] * 4


def test_time_has_a_row_for_each_layer_that_takes_time_and_names_the_dearest(file, capsys):
    assert main(["time", str(file), "--iterations", "2"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.split()}
    assert {"conv", "relu", "ip", "loss", "sum"} <= set(rows)
    assert "flat" not in rows and "data" not in rows  # a view and an input launch nothing
    assert "%" in rows["conv"] and "Convolution (" in rows["conv"]
    dearest = next(line for line in out.splitlines() if "the dearest" in line)
    assert dearest.count("%") == timing.DEAREST
    assert "100 GFLOP/s, 10.0 GB/s" in out


def test_a_trace_holds_each_layer_with_its_launches_inside(file, tmp_path, capsys):
    path = tmp_path / "trace.json"
    assert main(["time", str(file), "--iterations", "3", "--trace", str(path)]) == 0
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == "X"]
    layers = [event for event in events if event["cat"] != "launch"]
    one_pass = [event["name"] for event in layers[: len(layers) // 3]]
    passes = ["conv", "ip", "loss", "loss", "ip", "relu", "conv"]  # conv applies relu
    assert one_pass == ["clear", *passes, "norm", "update"]
    assert [event["name"] for event in layers if event["cat"] == "update"] == ["clear", "norm", "update"] * 3
    assert [event["ts"] for event in layers] == sorted(event["ts"] for event in layers)
    around = None
    for event in events:
        if event["cat"] != "launch":
            around = event
        else:
            assert around["ts"] <= event["ts"]
            assert event["ts"] + event["dur"] <= around["ts"] + around["dur"] + 1e-3  # microseconds, rounded


def test_an_update_that_is_fused_into_a_product_stands_in_the_row_of_its_layer(file, tmp_path, capsys):
    file.write_text(WIDE)
    path = tmp_path / "trace.json"
    assert main(["time", str(file), "--iterations", "2", "--trace", str(path)]) == 0
    told = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("cat") == "update"]
    assert [event["name"] for event in told] == ["clear", "norm", "update", "wide"] * 2
    types = [event["args"]["type"] for event in told]
    assert types[2] == "SGD, all other weights" and "gradient and update in one" in types[3]
    out = capsys.readouterr().out
    filled = {line.split()[0]: line.split().count("%") for line in out.splitlines() if line.split()}  # shares of peak
    assert (filled["wide"], filled["ip"], filled["update"], filled["sum"]) == (3, 2, 1, 3)
    assert "forward, backward and update" in out


@pytest.mark.parametrize("inside", [False, True])
def test_a_solver_says_by_which_rule_weights_are_updated(file, tmp_path, inside, capsys):
    solver = "{type: Adam, base_lr: 0.1, clip_gradients: 1.0}"
    path = tmp_path / "solver.yaml"
    path.write_text(f"solver: {solver}\n{WIDE}" if inside else solver.replace("}", ", net: net.yaml}"))
    file.write_text(WIDE)
    assert main(["time", str(path), "--iterations", "1"]) == 0
    out = capsys.readouterr().out
    assert "Adam, all weights" in out and "in one" not in out  # a norm that is clipped needs every gradient


@pytest.mark.parametrize("solver", ["", "solver: {base_lr: 1.0, lr_policy: cosine, min_lr: 1.0, max_iter: 9}\n"])
def test_weights_are_what_they_were_after_their_update_was_timed(file, solver):
    file.write_text(solver + WIDE)
    net, update = timing.subject(Namespace(net=file, set=[], phase="TRAIN", level=0, stage=[], device="cpu"))
    before = net.param_data.copy()
    assert before.any()
    for _ in range(2):
        net.run_forward()
        net.run_backward()
        update.measure(0)
        timing.measure(timing.parts(net, update), 1)
    np.testing.assert_array_equal(net.param_data, before)


@pytest.mark.parametrize("change", ["phase", "loss"])
def test_a_pass_that_trains_nothing_has_no_update(file, change, capsys):
    file.write_text(NET if change == "phase" else NET[: NET.index("  - {name: loss")])
    assert main(["time", str(file), "--iterations", "1", *["--phase", "TEST"][: 2 * (change == "phase")]]) == 0
    out = capsys.readouterr().out
    assert "update" not in out and "forward and backward" in out


def test_a_file_that_cannot_be_written_is_one_message(file, tmp_path, capsys):
    assert main(["time", str(file), "--iterations", "1", "--trace", str(tmp_path / "no/trace.json")]) != 0
    assert "--trace" in capsys.readouterr().err


def test_plot_draws_the_roof_and_the_layers(file, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    path = tmp_path / "roof.svg"
    assert main(["time", str(file), "--iterations", "1", "--plot", str(path)]) == 0
    assert path.read_text().lstrip().startswith("<?xml")


def test_peaks_are_measured_once_and_remembered(file, monkeypatch):
    assert roofline.peaks() == ROOF
    monkeypatch.setattr(roofline, "measure_peaks", lambda: Peaks(1.0, 1.0))
    assert roofline.peaks() == ROOF
    assert roofline.peaks(again=True) == roofline.peaks() == Peaks(1.0, 1.0)


def test_a_remembered_file_that_makes_no_sense_is_measured_anew(file, tmp_path):
    roofline.peaks()
    (kept,) = tmp_path.glob("peaks-*.json")
    kept.write_text("{")
    assert roofline.peaks() == ROOF


def test_measured_peaks_are_numbers_above_zero(monkeypatch):
    monkeypatch.setattr(roofline, "SECONDS", 0.0)
    monkeypatch.setattr(roofline, "COPIED", 2**16)
    found = roofline.measure_peaks()
    assert 0 < found.gflops < 1e6 and 0 < found.gbytes < 1e6
