"""Caffe's nets and solvers in text: read with their lines, upgraded, and converted to YAML and back."""

import json
import os
from pathlib import Path

import h5py
import pytest

pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")

from nbcaffe.caffe.document import load_net, load_solver
from nbcaffe.caffe.fields import own_groups
from nbcaffe.caffe.schema import message
from nbcaffe.caffe.text import parse_text, read_message, write_text
from nbcaffe.caffe.upgrade import upgrade_net, upgrade_solver
from nbcaffe.errors import ConfigError
from nbcaffe.layer import REGISTRY
from nbcaffe.netfile import read_net
from nbcaffe.solver.spec import read_solver

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("NBCAFFE_GOLDEN", ROOT / "tests" / "golden"))
TEXTS = sorted(FOLDER.rglob("*.prototxt"))
NETS = [file for file in TEXTS if "solver" not in file.name]
SOLVERS = [file for file in TEXTS if "solver" in file.name]
UPGRADED = [file for file in TEXTS if file.name.endswith(".upgraded.prototxt")]


def case(file):
    return str(file.relative_to(FOLDER))


def kind(file):
    return "SolverParameter" if "solver" in file.name else "NetParameter"


@pytest.mark.parametrize("file", UPGRADED, ids=case)
def test_old_files_become_what_caffe_makes_of_them(file):
    old, lines = read_message(file.with_name(file.name.replace(".upgraded", "")), kind(file))
    expected, _ = read_message(file, kind(file))
    upgraded = upgrade_solver(old, lines, "") if "solver" in file.name else upgrade_net(old, lines, "")[0]
    assert upgraded == expected


def test_every_layer_of_the_golden_data_fits_the_schema():
    json_format = pytest.importorskip("google.protobuf.json_format")
    for entry in json.loads((FOLDER / "MANIFEST.json").read_text()):
        if entry["file"].startswith("layers_"):
            with h5py.File(FOLDER / entry["file"]) as file:
                layer = json.loads(file[entry["case"]].attrs["layer_json"])
            json_format.ParseDict(layer, message("LayerParameter"))


@pytest.mark.parametrize("file", NETS, ids=case)
def test_every_layer_knows_the_line_where_it_starts(file):
    text = file.read_text().splitlines()
    layers = load_net(file)["layers"]
    assert layers
    for layer in layers:
        line = text[int(layer.where().rpartition(":")[2]) - 1]
        assert "layer" in line or "input" in line, (layer["name"], line)


def test_an_error_in_a_prototxt_names_file_line_and_the_nearest_name(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        'name: "n"\nlayer {\n  name: "ip"\n  type: "InnerProduct"\n  inner_product_param { num_ouput: 3 }\n}\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_net(file)
    assert str(caught.value) == f"{file}:5: InnerProductParameter has no field 'num_ouput', did you mean 'num_output'?"


def test_what_protobuf_accepts_and_a_layer_does_not_is_found_at_its_line(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        'layer { name: "data" type: "Input" top: "data"\n  input_param { shape { dim: 2 dim: 3 } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "dota" top: "ip"\n'
        "  inner_product_param {\n    num_output: 0\n  }\n}\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_net(file)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [f"{file}:3", f"{file}:5"]


def test_a_layer_without_bottoms_does_not_take_the_one_before_as_yaml_does(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        'input: "data" input_shape { dim: 2 dim: 3 }\n'
        'layer { name: "ip" type: "InnerProduct" top: "ip" inner_product_param { num_output: 2 } }\n'
    )
    with pytest.raises(ConfigError, match=r"net.prototxt:2: layer 'ip': InnerProduct takes 1 bottom, got none"):
        read_net(file)


@pytest.mark.parametrize("file", SOLVERS, ids=case)
def test_a_solver_in_text_gives_every_setting(file):
    solver, lines = read_message(file, "SolverParameter")
    document = load_solver(file)
    given = {field.name for field, _ in upgrade_solver(solver, lines, "").ListFields()}
    assert set(document) == given
    assert document["base_lr"] == float(f"{solver.base_lr:.7g}")


def test_binary_is_read_as_text_is(tmp_path):
    net, _ = read_message(FOLDER / "prototxt" / "lenet_train.prototxt", "NetParameter")
    (tmp_path / "net.pb").write_bytes(net.SerializeToString())
    assert read_net(tmp_path / "net.pb") == read_net(FOLDER / "prototxt" / "lenet_train.prototxt")
    assert parse_text(write_text(net), "NetParameter", "") == net


def test_any_layer_may_name_an_engine_of_caffe(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        'input: "d" input_shape { dim: 2 dim: 3 }\n'
        'layer { name: "r" type: "ReLU" bottom: "d" top: "r" relu_param { engine: CAFFE } }\n'
        'layer { name: "s" type: "Sigmoid" bottom: "r" top: "s" sigmoid_param { engine: CUDNN } }\n'
    )
    assert [layer.type for layer in read_net(file).layers] == ["Input", "ReLU", "Sigmoid"]


# Parameters of Caffe's layer types that Caffe does not have
OURS_ALONE = {("InnerProduct", "engine"), ("LSTM", "reverse"), ("RNN", "reverse")}


def test_every_parameter_of_a_layer_of_caffe_stands_in_its_group():
    manifest = json.loads((FOLDER / "MANIFEST.json").read_text())
    of_caffe = {entry["type"] for entry in manifest} | {"Data", "ImageData", "WindowData", "HDF5Data", "HDF5Output"}
    wrong = [
        (name, parameter, param.group or kind.param_group)
        for name, kind in REGISTRY.items()
        for parameter, param in kind.params.items()
        if name in of_caffe and own_groups(name, parameter)[:1] != (param.group or kind.param_group,)
    ]
    assert {(name, parameter) for name, parameter, _ in wrong} <= OURS_ALONE, wrong


def test_a_net_whose_path_starts_at_the_working_directory_is_found_as_by_caffe(tmp_path, monkeypatch):
    folder = tmp_path / "examples" / "mnist"
    folder.mkdir(parents=True)
    (folder / "net.prototxt").write_text("")
    (folder / "solver.prototxt").write_text('net: "examples/mnist/net.prototxt" base_lr: 0.1 lr_policy: "fixed"')
    monkeypatch.chdir(tmp_path)
    assert read_solver("examples/mnist/solver.prototxt").train_source == str(folder / "net.prototxt")
    (folder / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed"')
    assert Path(read_solver("examples/mnist/solver.prototxt").train_source) == Path("examples/mnist/net.prototxt")


@pytest.mark.parametrize(
    "text, message",
    [
        (
            'layers { name: "a" } layer { name: "b" }',
            "1: expected old layers (`layers`) or new ones (`layer`), got both",
        ),
        ('layers { name: "a" }', "1: layer 'a' needs a type"),
        ('\nlayers { layer { name: "a" type: "nope" } }', "2: layer 'a': no layer type 'nope' in files of V0"),
        ('layers { layer { name: "a" type: "relu" stride: 2 } }', "1: layer 'a': a 'relu' layer of V0 has no 'stride'"),
        ('input: "a"\ninput_dim: 3', "2: input_dim: expected 4 numbers for each of 1 inputs, got 1"),
        ('input: "a" input_shape { dim: 1 }\ninput_dim: 3', "2: expected input_shape or input_dim, got both"),
        ("\ninput_shape { dim: 1 }", "2: input_shape and input_dim belong to an `input`, and there is none"),
        ('\nstate { stage: "deploy" }', "2: state: level and stages are not read from a net file"),
        (
            'layers { layer { name: "p" type: "padding" pad: 1 } bottom: "x" top: "p" }\n'
            'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }',
            "2: layer 'r': only a conv or a pool of one bottom can follow a padding layer",
        ),
    ],
)
def test_what_cannot_be_upgraded_is_said_with_its_line(text, message, tmp_path):
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_net(tmp_path / "net.prototxt")
    assert str(caught.value).startswith(f"{tmp_path / 'net.prototxt'}:{message}")
