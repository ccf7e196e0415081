"""What `nbcaffe time` says of a net: work, rows, traces; never how fast this machine is."""

import json

import pytest

from nbcaffe import roofline, timing
from nbcaffe.cli import main
from nbcaffe.net import Net
from nbcaffe.roofline import Peaks, Work, backward_work, forward_work

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
    assert one_pass == ["conv", "ip", "loss", "loss", "ip", "relu", "conv"]  # conv applies relu
    assert [event["ts"] for event in layers] == sorted(event["ts"] for event in layers)
    around = None
    for event in events:
        if event["cat"] != "launch":
            around = event
        else:
            assert around["ts"] <= event["ts"]
            assert event["ts"] + event["dur"] <= around["ts"] + around["dur"] + 1e-3  # microseconds, rounded


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
