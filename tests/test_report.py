"""What `nbcaffe show` and `expand` print about a net."""

import json
import os
import re
import subprocess
import sys

import pytest

from nbcaffe import Net, report
from nbcaffe.cli import main
from nbcaffe.errors import NbcaffeError
from nbcaffe.solver.loop import Solver

NET = """\
name: small
vars: {n: 4}
layers:
  - {name: data, type: Input, top: [x, label], shape: [[2, 1, 6, 6], [2]]}
  - {name: conv, type: Convolution, bottom: x, num_output: 3, kernel_size: 3}
  - {name: relu, type: ReLU}
  - {name: ip, type: InnerProduct, num_output: $n}
  - {name: loss, type: SoftmaxWithLoss, bottom: [ip, label]}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return path


def test_show_counts_shapes_parameters_and_work(file, capsys):
    assert main(["show", str(file)]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.split()}
    assert "2x3x4x4" in rows["conv"] and "3x1x3x3" in rows["conv"]
    assert "864" in rows["conv"]  # 2 images, 16 places, 3 outputs, 9 taps
    assert "384" in rows["ip"]  # 2 rows, 48 inputs, 4 outputs
    assert out.count("in place") == 1
    assert f"parameters       {3 * 9 + 3 + 4 * 48 + 4}" in out
    assert f"multiply-adds    {864 + 384:,} forward" in out


def test_expand_prints_a_flat_net_that_is_the_same_net(file, tmp_path, capsys):
    assert main(["expand", str(file)]) == 0
    flat = capsys.readouterr().out
    assert "$n" not in flat and "num_output: 4" in flat
    (tmp_path / "flat.yaml").write_text(flat)
    main(["expand", str(tmp_path / "flat.yaml")])
    assert capsys.readouterr().out == flat


CASES = [("lenet", "TRAIN", 2000), ("autoencoder", "TRAIN", 5000), ("resnet18", "TEST", 16)]


@pytest.mark.parametrize(("net", "phase", "batch"), CASES)
def test_show_predicts_the_peak_of_a_process_that_trains_or_runs_within_a_tenth(root, net, phase, batch):
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    command = [sys.executable, root / "benchmarks/memory.py", "--run", net, phase, f"vars.batch={batch}"]
    for _ in range(2):  # the first may compile kernels, which takes memory of its own
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["arrays"] > 150 and found["predicted"] == pytest.approx(found["peak"], rel=0.1)


def test_show_tells_the_peak_by_what_it_is_for(file, capsys):
    main(["show", str(file)])
    peak, arrays, rest, kernels = (
        int(number) for number in re.findall(r"\d+", re.search("whole process.*", capsys.readouterr().out)[0])
    )
    assert rest == report.IMPORTED and kernels > 0
    assert abs(peak - arrays - rest - kernels) <= 2  # each is rounded


@pytest.mark.parametrize("loss", [False, True])
def test_a_net_that_is_only_run_holds_two_layers_at_a_time_not_all(loss):
    def planned(depth):
        layers = [{"name": "data", "type": "Input", "top": ["x", "label"], "shape": [[512, 64], [512]]}]
        layers += [{"name": f"ip{i}", "type": "InnerProduct", "num_output": 64} for i in range(depth)]
        layers[1]["bottom"] = "x"
        if loss:
            layers.append({"name": "loss", "type": "SoftmaxWithLoss", "bottom": [f"ip{depth - 1}", "label"]})
        return Net({"layers": layers}, "TEST", memory="plan", backward=not loss).activation_bytes

    assert planned(20) == planned(3)


def test_test_nets_of_a_planned_solver_hold_nothing_for_gradients(file):
    settings = {"base_lr": 0.1, "net": str(file), "test_iter": [1], "test_interval": 1}
    planned, kept = (Solver(settings, memory=memory).test_nets[0] for memory in ("plan", "keep"))
    assert planned.param_diff is None and all(blob._diff is None for blob in planned.blobs.values())
    assert report.predicted_bytes(planned)["weight diffs"] == 0
    buffers = [buffer for node in planned.graph.nodes for buffer in node.layer.buffers]
    assert {buffer.only for buffer in buffers} >= {"forward", "backward"}
    assert all((buffer.data is None) == (buffer.only == "backward") for buffer in buffers)
    with pytest.raises(NbcaffeError, match="built to run only"):
        planned.backward()
    kept.forward()
    kept.backward()  # as pycaffe's can
