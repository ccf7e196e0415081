"""`nbcaffe convert`: what goes there comes back the same."""

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")

from nbcaffe.caffe.fields import own_groups
from nbcaffe.caffe.lmdb_file import Lmdb
from nbcaffe.caffe.schema import message
from nbcaffe.cli import main
from nbcaffe.convert import KINDS, OURS, as_message, solver_as_message
from nbcaffe.data.databases import database_to_hdf5
from nbcaffe.errors import ConfigError, DataError
from nbcaffe.netfile import read_net
from nbcaffe.solver.spec import read_solver
from nbcaffe.solver.states import read_state
from nbcaffe.weight_files import read_weights

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("NBCAFFE_GOLDEN", ROOT / "tests" / "golden"))
TEXTS = sorted(FOLDER.rglob("*.prototxt"))
FILES = sorted((ROOT / "nets").rglob("*.yaml"))
PARTS = {file.parent / name for file in FILES for name in re.findall(r"include: ([^\s{}]+\.yaml)", file.read_text())}
RECIPES = [file for file in FILES if file not in PARTS]
RUN, IMAGES = FOLDER / "files" / "snapshot_shared", FOLDER / "files" / "data_layers"
lmdb_only = pytest.mark.skipif(find_spec("lmdb") is None, reason="writing an LMDB needs the package lmdb")


def convert(source, target):
    assert main(["convert", "--traceback", "--force", str(source), str(target)]) == 0
    return target


@pytest.mark.parametrize("file", TEXTS, ids=lambda f: str(f.relative_to(FOLDER)))
@pytest.mark.parametrize("ending", [".prototxt", ".pb"])
def test_a_prototxt_comes_back_from_yaml_as_it_was(file, ending, tmp_path):
    net = "solver" not in file.name
    name = "net" if net else "solver"
    text = convert(file, tmp_path / f"{name}.yaml")
    back = convert(text, tmp_path / f"{name}{ending}")
    if net:
        assert as_message(back) == as_message(file)
    else:
        assert read_solver(convert(back, tmp_path / "again.yaml")).values == read_solver(text).values
        theirs, ours = solver_as_message(file), solver_as_message(back)
        for key in OURS:  # defaults that are not Caffe's are written out
            if not theirs.HasField(key):
                ours.ClearField(key)
        assert ours == theirs


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_recipe_comes_back_from_prototxt_as_it_was(file, tmp_path):
    if "base_lr" in file.read_text() and "layers" not in file.read_text():
        solver = read_solver(file)
        if "all" in solver.test_iter:
            with pytest.raises(ConfigError, match="test_iter: Caffe has no `all`"):
                convert(file, tmp_path / "solver.prototxt")
        else:
            again = read_solver(convert(file, tmp_path / "solver.prototxt"))
            assert again.values == solver.values
        return
    layers = read_net(file).layers
    ours = [x.name for x in layers if x.block or not all(own_groups(x.type, key) for key in x.given)]
    if ours:
        with pytest.raises(ConfigError, match=f"layer '{ours[0]}'.*prototxt and caffemodel cannot say it"):
            convert(file, tmp_path / "net.prototxt")
    else:
        assert read_net(convert(file, tmp_path / "net.prototxt")) == read_net(file)


def test_templates_and_defaults_are_carried_out(tmp_path):
    (tmp_path / "net.yaml").write_text(
        "defaults: {InnerProduct: {num_output: 3, weight_filler: xavier}}\n"
        "layers:\n"
        "  - {name: data, type: Input, shape: [2, 4]}\n"
        "  - repeat: 2\n    layers: [{name: 'ip${i}', type: InnerProduct}]\n"
    )
    net = as_message(convert(tmp_path / "net.yaml", tmp_path / "net.prototxt"))
    assert [(x.name, list(x.bottom), x.inner_product_param.num_output) for x in net.layer] == [
        ("data", [], 0),
        ("ip0", ["data"], 3),
        ("ip1", ["ip0"], 3),
    ]


@pytest.mark.parametrize(
    "layer, what",
    [
        ("name: a, type: InnerProduct, num_output: 3, engine: PLAIN", "Caffe's InnerProduct has no parameter 'engine'"),
        ("name: a, type: InitialState, shape: [3]", "caffe.proto has no parameters of InitialState, no 'shape'"),
        ("name: a, type: Attention, bottom: [x, x], scale: 0.5", "caffe.proto has no parameters of Attention"),
        ("name: a, type: LSTM, num_output: 3, reverse: true", "Caffe's LSTM has no parameter 'reverse'"),
        ("unroll: {name: a, inputs: {y: x}, outputs: {r: b}, layers: [{name: r, type: ReLU, bottom: y}]}", "an unroll"),
    ],
)
def test_what_caffe_cannot_say_is_named_with_its_line(layer, what, tmp_path):
    (tmp_path / "net.yaml").write_text(f"layers:\n  - {{name: x, type: Input, shape: [2, 4, 4]}}\n  - {{{layer}}}\n")
    with pytest.raises(ConfigError) as caught:
        convert(tmp_path / "net.yaml", tmp_path / "net.prototxt")
    assert str(caught.value).startswith(f"{tmp_path / 'net.yaml'}:3: layer 'a': {what}")
    assert "prototxt and caffemodel cannot say it" in str(caught.value)


def test_layers_that_nobody_here_knows_are_converted_all_the_same(tmp_path):
    text = 'layer { name: "a" type: "Exotic" bottom: "x" bottom: "y" top: "a" loss_param { ignore_label: 3 } }\n'
    (tmp_path / "net.prototxt").write_text(
        f'input: "x" input: "y" input_shape {{ dim: 1 }} input_shape {{ dim: 2 }} {text}'
    )
    back = convert(convert(tmp_path / "net.prototxt", tmp_path / "net.yaml"), tmp_path / "back.prototxt")
    assert as_message(back) == as_message(tmp_path / "net.prototxt")


@pytest.mark.parametrize("ending", [".caffemodel", ".caffemodel.h5"])
def test_weights_go_round_through_every_format(ending, tmp_path):
    source = RUN / f"tiny_iter_10{ending}"
    one = convert(source, tmp_path / "one.h5")
    two = convert(one, tmp_path / "two.caffemodel")
    three = convert(two, tmp_path / "three.caffemodel.h5")
    for file in (one, two, three):
        found, expected = read_weights(file), read_weights(source)
        assert found.keys() == expected.keys()
        for layer, arrays in expected.items():
            for mine, other in zip(found[layer], arrays, strict=True):
                np.testing.assert_array_equal(mine, other)


def test_a_caffemodel_is_upgraded_with_its_net(tmp_path):
    old = tmp_path / "old.caffemodel"
    old.write_bytes(v1_model())
    new = convert(old, tmp_path / "new.caffemodel")
    net = message("NetParameter")
    net.ParseFromString(new.read_bytes())
    assert not net.layers
    assert [(layer.name, layer.type, len(layer.blobs)) for layer in net.layer] == [("ip", "InnerProduct", 1)]
    assert list(net.layer[0].blobs[0].shape.dim) == [1, 2]
    np.testing.assert_array_equal(read_weights(new)["ip"], read_weights(old)["ip"])


def v1_model():
    """A caffemodel of before 2014's `layer`, with shapes of four axes."""
    net = message("NetParameter")
    layer = net.layers.add(name="ip", type="INNER_PRODUCT", top=["ip"], bottom=["x"])
    layer.inner_product_param.num_output = 1
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[3, 4])
    return net.SerializeToString()


@pytest.mark.parametrize("ending, other", [("", ".h5"), (".h5", "")])
def test_states_go_round(ending, other, tmp_path):
    source = RUN / f"tiny_iter_10.solverstate{ending}"
    there = convert(source, tmp_path / f"x.solverstate{other}")
    back = convert(there, tmp_path / f"y.solverstate{ending}")
    first, last = read_state(source), read_state(back)
    assert (first.iteration, first.learned_net, first.current_step) == (
        last.iteration,
        last.learned_net,
        last.current_step,
    )
    for a, b in zip(first.history, last.history, strict=True):
        np.testing.assert_array_equal(a, b)


def test_means_go_round(tmp_path):
    mean = IMAGES / "mean.binaryproto"
    back = convert(convert(mean, tmp_path / "mean.npy"), tmp_path / "mean.binaryproto")
    assert back.read_bytes() == mean.read_bytes()
    assert np.load(tmp_path / "mean.npy").shape == (1, 3, 10, 13)


@pytest.mark.parametrize("name", ["lmdb_raw", "lmdb_encoded", "lmdb_gray", "lmdb_float"])
def test_a_database_becomes_hdf5(name, tmp_path):
    file = convert(IMAGES / name, tmp_path / "samples.h5")
    with h5py.File(file) as ours, h5py.File(IMAGES / "expected.h5") as caffe:
        if f"lmdb/{name}" in caffe:
            np.testing.assert_array_equal(ours["label"], [row[3] for row in caffe[f"lmdb/{name}/meta"][()]])
        if name == "lmdb_float":
            np.testing.assert_array_equal(ours["data"], caffe["float_data"])
        elif name != "lmdb_gray":
            pictures = caffe["images_rgb_hwc_uint8"][()].transpose(0, 3, 1, 2)[:, ::-1]
            np.testing.assert_array_equal(ours["data"], pictures)
            assert ours["data"].dtype == np.uint8


@lmdb_only
@pytest.mark.parametrize("name", ["lmdb_raw", "lmdb_gray", "lmdb_float"])
def test_a_database_comes_back_from_hdf5(name, tmp_path):
    back = convert(convert(IMAGES / name, tmp_path / "samples.h5"), tmp_path / "back_lmdb")
    assert [value for _, value in Lmdb(back)] == [value for _, value in Lmdb(IMAGES / name)]


@lmdb_only
def test_large_databases_are_read_as_lmdb_itself_reads_them(tmp_path):
    import lmdb

    rng = np.random.default_rng(1)
    sizes = rng.integers(0, 9000, 3000)
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 28) as database:
        for at in range(0, 3000, 500):
            with database.begin(write=True) as transaction:
                for i in rng.permutation(np.arange(at, at + 500)):
                    transaction.put(b"%05d" % (i * 7 % 3000), bytes([i % 256]) * int(sizes[i]))
        with database.begin(write=True) as transaction:
            for i in range(0, 3000, 3):
                transaction.delete(b"%05d" % i)
        with database.begin() as transaction:
            expected = list(transaction.cursor())
    assert list(Lmdb(tmp_path / "db")) == expected


def test_a_leveldb_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "CURRENT").touch()
    with pytest.raises(DataError, match="this is a LevelDB; convert it with LMDB or HDF5"):
        database_to_hdf5(tmp_path / "db", tmp_path / "x.h5")


@pytest.mark.parametrize("source", ["mean.binaryproto", "lmdb_raw"])
def test_a_pair_that_makes_no_sense_lists_the_formats(source, tmp_path, capsys):
    assert main(["convert", str(IMAGES / source), str(tmp_path / "mean.yaml")]) == 2
    message = capsys.readouterr().err
    assert all(kind in message for kind in KINDS)


@pytest.mark.parametrize("source, target", [("lmdb_raw", "x_lmdb"), ("a.h5", "x.hdf5")])
def test_samples_of_one_format_are_not_made_into_the_other_under_its_name(source, target, tmp_path, capsys):
    assert main(["convert", str(IMAGES / source), str(tmp_path / target)]) == 2
    assert "both are of one format; copy it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_without_force(tmp_path, capsys):
    (tmp_path / "mean.npy").write_text("mine")
    assert main(["convert", str(IMAGES / "mean.binaryproto"), str(tmp_path / "mean.npy")]) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "mean.npy").read_text() == "mine"


def test_snapshots_that_need_the_extra_are_refused_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(ConfigError, match=r"snapshot_format BINARYPROTO: .*needs `pip install 'nbcaffe"):
        read_solver({"net": "x.yaml", "base_lr": 0.1, "snapshot_format": "BINARYPROTO"})


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch, capsys):
    from nbcaffe.caffe import schema

    schema._classes.cache_clear()
    monkeypatch.setitem(sys.modules, "google.protobuf.descriptor_pb2", None)
    assert main(["show", str(FOLDER / "prototxt" / "lenet_test.prototxt")]) == 2
    assert "needs `pip install 'nbcaffe[caffe]'`" in capsys.readouterr().err
    schema._classes.cache_clear()
