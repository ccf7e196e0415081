"""Caffe's weights, means and solver states: read, written to the same bytes, and trained on."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")

import nbcaffe
from nbcaffe.caffe.blobs import blob_bytes, fill_blob, model_bytes, read_binaryproto, read_model
from nbcaffe.caffe.schema import message
from nbcaffe.caffe.text import read_message
from nbcaffe.errors import DataError, SnapshotError
from nbcaffe.solver.states import read_state, state_content
from nbcaffe.weight_files import read_weights

FOLDER = Path(os.environ.get("NBCAFFE_GOLDEN", Path(__file__).parent / "golden")) / "files"
RUNS = sorted(FOLDER.glob("snapshot_*"))
ENDINGS = ("", ".h5")
MODEL, STATE = "tiny_iter_10.caffemodel", "tiny_iter_10.solverstate"
runs = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
formats = pytest.mark.parametrize("ending", ENDINGS, ids=["protobuf", "hdf5"])


def expected(run, group):
    with h5py.File(run / "expected.h5") as file:
        return {layer: [blobs[str(i)][()] for i in range(len(blobs))] for layer, blobs in file[group].items()}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for layer, arrays in theirs.items():
        assert len(ours[layer]) == len(arrays), layer
        for mine, other in zip(ours[layer], arrays, strict=True):
            np.testing.assert_array_equal(mine, other, err_msg=layer)


@runs
def test_a_caffemodel_holds_the_recorded_weights(run):
    recorded = {layer: arrays for layer, arrays in expected(run, "iter10").items() if arrays}
    same(read_weights(run / MODEL), recorded)
    in_hdf5 = read_weights(run / (MODEL + ".h5"))  # without what a layer borrows
    same(in_hdf5, {layer: recorded[layer] for layer in in_hdf5})


@runs
def test_protobuf_is_written_to_the_same_bytes(run, tmp_path):
    net, _ = read_message(run / MODEL, "NetParameter")
    for layer in net.layer:
        layer.ClearField("blobs")
    assert model_bytes(net, read_model(run / MODEL), "") == (run / MODEL).read_bytes()
    assert state_content(read_state(run / STATE), STATE) == (run / STATE).read_bytes()


@runs
@formats
def test_a_net_takes_weights_and_gives_them_back(run, ending, tmp_path):
    net = nbcaffe.Net(run / "net.prototxt", nbcaffe.TEST, weights=run / (MODEL + ending))
    net.save(tmp_path / (MODEL + ending))
    same(read_weights(tmp_path / (MODEL + ending)), read_weights(run / (MODEL + ending)))
    if not ending:
        theirs, _ = read_message(run / MODEL, "NetParameter")
        ours, _ = read_message(tmp_path / MODEL, "NetParameter")
        assert [(layer.name, layer.type) for layer in ours.layer] == [(x.name, x.type) for x in theirs.layer]


@runs
@formats
def test_a_run_of_caffe_goes_on_to_its_weights(run, ending):
    solver = nbcaffe.get_solver(run / ("solver_h5.prototxt" if ending else "solver.prototxt"))
    solver.restore(run / (STATE + ending))
    assert solver.iter == 10
    solver.step(5)
    for layer, arrays in expected(run, "resumed15").items():
        for weight, values in zip(solver.net.params.get(layer, ()), arrays, strict=True):
            tolerance = 1e-5 * max(1e-3, float(np.abs(values).max()))
            np.testing.assert_allclose(weight.data, values, rtol=0, atol=tolerance, err_msg=layer)


@formats
def test_a_run_resumes_to_the_bit_from_either_format(ending, tmp_path):
    run = FOLDER / "snapshot_sgd_conv"
    name = run / ("solver_h5.prototxt" if ending else "solver.prototxt")
    whole, broken = nbcaffe.get_solver(name), nbcaffe.get_solver(name)
    whole.step(7)
    broken.prefix = str(tmp_path / "tiny")
    broken.step(3)
    state = broken.snapshot()
    assert state.name == "tiny_iter_3.solverstate" + ending
    again = nbcaffe.get_solver(name)
    again.restore(state)
    again.step(4)
    same({k: [w.data for w in v] for k, v in again.net.params.items()},
         {k: [w.data for w in v] for k, v in whole.net.params.items()})  # fmt: skip


def test_a_mean_image_is_read_and_written_as_caffe_does():
    path = FOLDER / "data_layers" / "mean.binaryproto"
    mean = read_binaryproto(path)
    with h5py.File(FOLDER / "data_layers" / "expected.h5") as file:
        np.testing.assert_array_equal(mean.reshape(file["mean"].shape), file["mean"][()])
    assert blob_bytes(mean) == path.read_bytes()


def old_model(kind, path):
    """A file of V1 or V0 with a product of 2 x 3 and its bias."""
    net = message("NetParameter", raw=True)
    layer = net.layers.add()
    if kind == "V0":
        layer.layer.name, layer.layer.type = "ip", "innerproduct"
    else:
        layer.name, layer.type = "ip", 14
    blobs = (layer.layer if kind == "V0" else layer).blobs
    matrix, bias = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), np.array([7, 8], np.float32).reshape(1, 1, 1, 2)
    fill_blob(blobs.add(), matrix, old=True)
    fill_blob(blobs.add(), bias, old=True)
    path.write_bytes(net.SerializePartialToString())
    return matrix[0, 0], bias[0, 0, 0]


@pytest.mark.parametrize("kind", ["V0", "V1"])
def test_old_caffemodels_with_shapes_of_four_axes_fit_their_nets(kind, tmp_path):
    matrix, bias = old_model(kind, tmp_path / "old.caffemodel")
    net = nbcaffe.Net(
        "layers:\n  - {name: data, type: Input, shape: [4, 3]}\n  - {name: ip, type: InnerProduct, num_output: 2}\n",
        nbcaffe.TEST,
        weights=tmp_path / "old.caffemodel",
    )
    np.testing.assert_array_equal(net.params["ip"][0].data, matrix)
    np.testing.assert_array_equal(net.params["ip"][1].data, bias)


def test_doubles_and_unpacked_numbers_are_read(tmp_path):
    net = message("NetParameter")
    blob = net.layer.add(name="ip").blobs.add()
    blob.shape.dim.extend([2, 2])
    blob.double_data.extend([0.5, 1, 2, 3])
    (tmp_path / "double.caffemodel").write_bytes(net.SerializeToString())
    np.testing.assert_array_equal(read_model(tmp_path / "double.caffemodel")["ip"][0], [[0.5, 1], [2, 3]])
    one = b"\x2d" + np.float32(0.5).tobytes()  # field 5, a number by itself
    (tmp_path / "single.binaryproto").write_bytes(b"\x3a\x03\x0a\x01\x02" + one + one)
    np.testing.assert_array_equal(read_binaryproto(tmp_path / "single.binaryproto"), [0.5, 0.5])


@pytest.mark.parametrize("shape", [[2**40], [2**20, 2**20], [3], [-1], [2**62, 2**62], [1] * 40])
def test_a_shape_that_does_not_fit_its_numbers_is_refused(shape, tmp_path):
    blob = message("BlobProto")
    blob.shape.dim.extend(shape)
    blob.data.append(1.0)
    (tmp_path / "bad.binaryproto").write_bytes(blob.SerializeToString())
    with pytest.raises(DataError, match=r"bad\.binaryproto: "):
        read_binaryproto(tmp_path / "bad.binaryproto")


def test_an_hdf5_file_that_claims_terabytes_is_refused(tmp_path):
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("data/ip/0", (1 << 40,), "f4", chunks=(1 << 20,))
        file.create_dataset("history/0", (1 << 40,), "f4", chunks=(1 << 20,))
        file["iter"], file["learned_net"] = np.array([1]), np.bytes_("x")
    with pytest.raises(DataError, match=r"claims 4398046511104 bytes, the file holds 0"):
        read_weights(tmp_path / "bomb.h5")
    with pytest.raises(SnapshotError, match=r"claims 4398046511104 bytes, the file holds 0"):
        read_state(tmp_path / "bomb.h5")


def test_more_than_ten_weights_keep_their_order(tmp_path):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for i in range(12):
            file[f"data/layer/{i}"] = np.array([i])
    assert [int(values[0]) for values in read_weights(tmp_path / "many.h5")["layer"]] == list(range(12))
