"""Pictures of nets: the text for Graphviz says what the net says; formats that need Graphviz say so."""

import re
import shutil
from pathlib import Path

import pytest

from nbcaffe import ConfigError, Net
from nbcaffe.cli import main
from nbcaffe.draw import RANKDIRS, dot, draw_net, draw_net_to_file
from nbcaffe.netfile import read_net

NETS = sorted(Path(__file__).resolve().parents[1].glob("nets/*/net.yaml"))
TWINS = """\
name: twins
layers:
  - {name: left, type: Input, shape: [2, 3]}
  - {name: right, type: Input, top: other, shape: [2, 3]}
  - {name: ip1, type: InnerProduct, bottom: left, num_output: 4, param: [{name: w}, {name: b}]}
  - {name: relu, type: ReLU, bottom: ip1, top: ip1}
  - {name: ip2, type: InnerProduct, bottom: other, num_output: 4, param: [{name: w}, {name: b}]}
  - {name: loss, type: EuclideanLoss, bottom: [ip1, ip2]}
  - {name: seen, type: Softmax, bottom: ip1}
"""


def nodes(text):
    """Id and label of each layer's box."""
    return {label.split("\\n")[0]: node for node, label in re.findall(r'^  (n\d+) \[label="([^"]*)"', text, re.M)}


def test_every_blob_leads_from_its_last_writer_to_each_reader():
    text = draw_net(TWINS)
    node = nodes(text)
    assert f"{node['ip1']} -> {node['relu']}\n" in text
    assert f'{node["relu"]} -> {node["loss"]} [label="ip1"]' in text
    assert f'{node["relu"]} -> {node["seen"]} [label="ip1"]' in text
    assert f"{node['ip1']} -> {node['loss']}" not in text
    assert f'{node["right"]} -> {node["ip2"]} [label="other"]' in text
    assert '[label="seen" shape=plaintext' in text and '[label="loss" shape=plaintext' in text


def test_layers_in_place_are_dashed_and_shared_weights_joined():
    text = draw_net(TWINS)
    node = nodes(text)
    (relu,) = (line for line in text.splitlines() if line.strip().startswith(f"{node['relu']} [label"))
    assert "ReLU (in place)" in relu and "dashed" in relu
    assert text.count("dashed") == 1
    assert f'{node["ip1"]} -> {node["ip2"]} [label="w" style=dotted dir=none constraint=false]' in text
    assert text.count("style=dotted") == 2


def test_a_net_in_memory_shows_shapes_and_no_splits():
    text = dot(Net(TWINS))
    node = nodes(text)
    assert "Split" not in text
    assert f'{node["left"]} -> {node["ip1"]} [label="2×3"]' in text
    assert f'{node["relu"]} -> {node["loss"]} [label="ip1 2×4"]' in text
    without = re.sub(r" ?\d×\d", "", text).replace(' [label=""]', "")  # the loss is a number, without a ×
    assert without.replace(' -> o0 [label="1"]', " -> o0") == draw_net(TWINS, "TB")


def test_families_have_colours():
    def colour(name):
        return re.search(rf'label="{name}\\n.*?fillcolor="(#\w+)"', text)[1]

    text = draw_net(TWINS)
    assert colour("left") == colour("right") != colour("ip1") == colour("ip2") != colour("loss")


def test_names_cannot_break_the_text():
    net = {"name": 'a"b\\', "layers": [{"name": 'x"]; y -> z\n', "type": "Input", "shape": [1]}]}
    text = draw_net(net)
    assert 'digraph "a\\"b\\\\" {' in text
    assert 'n0 [label="x\\"]; y -> z\\n\\nInput"' in text


@pytest.mark.parametrize("path", NETS, ids=lambda path: path.parent.name)
def test_every_recipe_can_be_drawn_without_its_data(path):
    text = draw_net(str(path), phase="TRAIN")
    names = {layer.name for layer in read_net(path).layers if layer.included("TRAIN")}
    assert names <= set(nodes(text))
    assert text.count("{") == text.count("}") == 1


def test_the_command_writes_text_to_stdout_or_a_file(tmp_path, capsys):
    (tmp_path / "net.yaml").write_text(TWINS)
    assert main(["draw", str(tmp_path / "net.yaml"), "--rankdir", "LR"]) == 0
    shown = capsys.readouterr().out
    assert shown == draw_net(TWINS, "LR")
    target = str(tmp_path / "net.dot")
    assert main(["draw", str(tmp_path / "net.yaml"), "--shapes", "-o", target]) == 0
    assert "2×4" in Path(target).read_text(encoding="utf-8")


def test_what_cannot_be_drawn_is_said(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"net.gif: expected a name that ends in .dot, .gv, .svg, .png, .pdf"):
        draw_net_to_file(TWINS, tmp_path / "net.gif")
    with pytest.raises(ConfigError, match=f"expected one of {', '.join(RANKDIRS)}, got 'UP'"):
        draw_net(TWINS, "UP")
    with pytest.raises(ConfigError, match=r"net.dot: cannot be written: No such file"):
        draw_net_to_file(TWINS, tmp_path / "nowhere" / "net.dot")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"SVG is drawn by Graphviz's program `dot`, which is not installed here"):
        draw_net_to_file(TWINS, tmp_path / "net.svg")


def test_graphviz_gets_the_text_and_its_complaint_is_passed_on(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\ncat > "$3.text"; echo "$1" > "$3"; [ "$1" = -Tsvg ] || { echo no >&2; exit 1; }\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    draw_net_to_file(TWINS, tmp_path / "net.svg", rankdir="TB")
    assert (tmp_path / "net.svg.text").read_text(encoding="utf-8") == draw_net(TWINS, "TB")
    with pytest.raises(ConfigError, match=r"net.png: .*dot failed: no"):
        draw_net_to_file(TWINS, tmp_path / "net.png")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_graphviz_understands_the_text(tmp_path, ending):
    draw_net_to_file(TWINS, tmp_path / f"net.{ending}")
    assert (tmp_path / f"net.{ending}").stat().st_size > 1000
