"""What `nbcaffe show` and `expand` print about a net."""

import pytest

from nbcaffe.cli import main

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
