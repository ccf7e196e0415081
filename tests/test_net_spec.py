"""Nets written in Python as pycaffe's users write them: NetSpec, L, P and coord_map."""

# ruff: noqa: C408 (dict() is how pycaffe's users write these)

import copy
import inspect

import numpy as np
import pytest

import nbcaffe as caffe
from nbcaffe import coord_map, layers as L, params as P
from nbcaffe.coord_map import coord_map_from_to, crop
from nbcaffe.errors import ConfigError
from nbcaffe.netfile import read_net


@pytest.fixture
def parse():
    pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")
    from nbcaffe.caffe.text import parse_text

    return lambda text: parse_text(text, "NetParameter", "net.prototxt")


def lenet(batch):
    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(shape=[dict(dim=[batch, 1, 28, 28]), dict(dim=[batch])], ntop=2)
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(
        n.pool1, num_output=500, weight_filler=dict(type="xavier"), param=[dict(lr_mult=1), dict(lr_mult=2)]
    )
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, inner_product_param=dict(num_output=10, weight_filler=dict(type="xavier")))
    n.accuracy = L.Accuracy(n.ip2, n.label, include=dict(phase=caffe.TEST))
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label, loss_weight=2)
    return n


LENET = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 3 dim: 1 dim: 28 dim: 28 } shape { dim: 3 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1"
  param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 500 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" loss_weight: 2 }
"""


def test_lenet_is_the_prototxt_that_one_would_write_by_hand(parse, tmp_path):
    net = lenet(3).to_proto()
    assert net == parse(LENET)
    (tmp_path / "net").write_text(str(net))  # as tempfile names it: without an ending
    assert set(caffe.Net(str(tmp_path / "net"), caffe.TRAIN).forward()) == {"loss"}


def conv_relu(bottom, ks, nout, stride=1, pad=0, group=1):
    conv = L.Convolution(bottom, kernel_size=ks, stride=stride, num_output=nout, pad=pad, group=group)
    return conv, L.ReLU(conv, in_place=True)


def caffenet(train):
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 227, 227]))
    n.conv1, n.relu1 = conv_relu(n.data, 11, 96, stride=4)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    n.norm1 = L.LRN(n.pool1, local_size=5, alpha=1e-4, beta=0.75)
    n.conv2, n.relu2 = conv_relu(n.norm1, 5, 256, pad=2, group=2)
    n.pool5 = L.Pooling(n.relu2, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    n.fc6 = L.InnerProduct(n.pool5, num_output=4096)
    n.relu6 = L.ReLU(n.fc6, in_place=True)
    fc7input = n.relu6
    if train:
        n.drop6 = fc7input = L.Dropout(n.relu6, in_place=True)
    fc8 = L.InnerProduct(fc7input, num_output=1000, name="fc8_flickr")
    n.__setattr__("fc8", fc8)
    n.prob = L.Softmax(n.fc8)
    return n


CAFFENET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 227 dim: 227 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 96 pad: 0 kernel_size: 11 group: 1 stride: 4 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "norm1" type: "LRN" bottom: "pool1" top: "norm1"
  lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 } }
layer { name: "conv2" type: "Convolution" bottom: "norm1" top: "conv2"
  convolution_param { num_output: 256 pad: 2 kernel_size: 5 group: 2 stride: 1 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "pool5" type: "Pooling" bottom: "conv2" top: "pool5"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "fc6" type: "InnerProduct" bottom: "pool5" top: "fc6" inner_product_param { num_output: 4096 } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }
layer { name: "fc8_flickr" type: "InnerProduct" bottom: "fc6" top: "fc8" inner_product_param { num_output: 1000 } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""


def test_caffenet_written_with_functions_is_its_prototxt(parse):
    assert caffenet(train=True).to_proto() == parse(CAFFENET)
    assert [layer.name for layer in caffenet(train=False).to_proto().layer].count("drop6") == 0


def fcn8():
    """The part of FCN-8s that decides its crops: VGG-16's windows, three score layers, three deconvolutions."""
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 64, 64]))
    top = n.data
    for block, convolutions in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, convolutions + 1):
            first = block == 1 and i == 1
            top = n[f"conv{block}_{i}"] = L.Convolution(top, kernel_size=3, num_output=1, pad=100 if first else 1)
            n[f"relu{block}_{i}"] = L.ReLU(top, in_place=True)
        top = n[f"pool{block}"] = L.Pooling(top, kernel_size=2, stride=2)
    n.fc6 = L.Convolution(top, kernel_size=7, num_output=1)
    n.score_fr = L.Convolution(n.fc6, kernel_size=1, num_output=2)

    def up(bottom, ks, stride):
        wanted = dict(num_output=2, kernel_size=ks, stride=stride, bias_term=False)
        return L.Deconvolution(bottom, convolution_param=wanted, param=[dict(lr_mult=0)])

    n.upscore2 = up(n.score_fr, 4, 2)
    n.score_pool4 = L.Convolution(n.pool4, num_output=2, kernel_size=1)
    n.score_pool4c = crop(n.score_pool4, n.upscore2)
    n.fuse_pool4 = L.Eltwise(n.upscore2, n.score_pool4c, operation=P.Eltwise.SUM)
    n.upscore_pool4 = up(n.fuse_pool4, 4, 2)
    n.score_pool3 = L.Convolution(n.pool3, num_output=2, kernel_size=1)
    n.score_pool3c = crop(n.score_pool3, n.upscore_pool4)
    n.fuse_pool3 = L.Eltwise(n.upscore_pool4, n.score_pool3c, operation=P.Eltwise.SUM)
    n.upscore8 = up(n.fuse_pool3, 16, 8)
    n.score = crop(n.upscore8, n.data)
    return n, up


def test_the_crops_of_fcn_are_the_published_ones():
    n, up = fcn8()
    assert [n[name].fn.params["offset"] for name in ("score_pool4c", "score_pool3c", "score")] == [[5], [9], [31]]
    assert crop(up(n.score_fr, 64, 32), n.data).fn.params == {"axis": 2, "offset": [19]}  # FCN-32s
    assert crop(up(n.fuse_pool4, 32, 16), n.data).fn.params == {"axis": 2, "offset": [27]}  # FCN-16s


def test_a_fully_convolutional_net_ends_with_a_score_for_each_pixel():
    n, _ = fcn8()
    assert caffe.Net(n, caffe.TEST).forward()["score"].shape == (1, 2, 64, 64)


def pyramid(ks=3, stride=1, pad=0, pool=2, dstride=2, dpad=0):
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[2, 1, 100, 100]))
    n.conv = L.Convolution(n.data, num_output=10, kernel_size=ks, stride=stride, pad=pad)
    n.pool = L.Pooling(n.conv, kernel_size=pool, stride=pool)
    deconv = [2 * s for s in dstride] if isinstance(dstride, list) else 2 * dstride
    n.deconv = L.Deconvolution(n.pool, num_output=10, kernel_size=deconv, stride=dstride, pad=dpad)
    return n


@pytest.mark.parametrize(
    "keywords, scale, shift",
    [
        ({}, 1, 0),
        ({"pool": 4, "dstride": 4}, 1, -1),
        ({"pad": 3}, 1, -3),
        ({"dpad": 3}, 1, 3),
        ({"pad": 7, "dpad": 7}, 1, 0),
        ({"ks": [3, 5], "stride": [1, 2], "pad": [0, 10]}, [1, 2], [0, -9]),
    ],
)
def test_maps_through_convolution_pooling_and_deconvolution(keywords, scale, shift):
    n = pyramid(**keywords)
    axis, a, b = coord_map_from_to(n.deconv, n.data)
    assert axis == 1
    if "ks" in keywords:  # each axis as if it were alone
        parts = [coord_map_from_to(m.deconv, m.data) for m in (pyramid(), pyramid(ks=5, stride=2, pad=10))]
        scale, shift = (np.concatenate([np.atleast_1d(part[i]) for part in parts]) for i in (1, 2))
    np.testing.assert_array_equal(a, np.broadcast_to(scale, np.shape(a)))
    np.testing.assert_array_equal(b, np.broadcast_to(shift, np.shape(b)))


def test_a_layer_that_changes_values_only_does_not_move_them():
    n = pyramid(pad=2)
    n.relu = L.ReLU(n.deconv)
    n.cut = L.Crop(n.relu, n.data, axis=2, offset=3)
    assert coord_map_from_to(n.relu, n.data) == coord_map_from_to(n.deconv, n.data)
    assert coord_map_from_to(n.cut, n.data)[2] == coord_map_from_to(n.deconv, n.data)[2] + 3
    n.same = crop(L.ReLU(n.data), n.data)
    assert n.same.fn.params == {"axis": 2, "offset": [0]}
    assert coord_map.compose(coord_map.inverse((1, 2, 3)), (1, 2, 3)) == (1, 1, 0)


def test_a_map_that_makes_no_crop_is_refused():
    n = pyramid(pool=3)
    with pytest.raises(ConfigError, match="expected equal scales"):
        crop(n.deconv, n.data)
    n = pyramid(dpad=10)
    with pytest.raises(ConfigError, match="expected to cut something off"):
        crop(n.deconv, n.data)
    with pytest.raises(ConfigError, match="expected whole pixels"):
        crop(L.Convolution(n.data, num_output=1, kernel_size=2, pad=1), n.data)
    n.ip = L.InnerProduct(n.deconv, num_output=10)
    with pytest.raises(ConfigError, match="no blob in common"):
        coord_map_from_to(n.ip, n.data)
    with pytest.raises(ConfigError, match="expected a top"):
        crop(n.deconv, "data")
    with pytest.raises(coord_map.AxisMismatchException, match="behind 2 and behind 1"):
        coord_map_from_to(L.Convolution(n.conv, num_output=1, kernel_size=3, axis=2), n.data)


def test_names_are_made_for_what_has_none(parse):
    data, label = L.DummyData(shape=dict(dim=[3, 4]), ntop=2)
    ip = L.InnerProduct(L.InnerProduct(data, num_output=5), num_output=3)
    net = L.SoftmaxWithLoss(L.ReLU(ip, in_place=True), label).to_proto()
    assert [layer.name for layer in net.layer] == [
        "DummyData1",
        "InnerProduct1",
        "InnerProduct2",
        "ReLU1",
        "SoftmaxWithLoss1",
    ]
    assert list(net.layer[0].top) == ["DummyData1", "DummyData2"]
    assert net.layer[3].top == net.layer[3].bottom == ["InnerProduct2"]
    assert caffe.to_proto(ip, data) == ip.to_proto()


def test_a_made_name_never_meets_a_given_one():
    n = caffe.NetSpec()
    n.InnerProduct1 = L.Input(shape=[[2, 3]])
    n.ip = L.InnerProduct(L.InnerProduct(n.InnerProduct1, num_output=2), num_output=1)
    assert [layer["name"] for layer in n.document()["layers"]] == ["InnerProduct1", "InnerProduct2", "ip"]


def test_layers_without_tops_have_their_name():
    n = caffe.NetSpec()
    n.data, n.data2 = L.DummyData(shape=dict(dim=3), ntop=2)
    n.silence_data = L.Silence(n.data, ntop=0)
    n.silence_data2 = L.Silence(n.data2, ntop=0)
    net = caffe.Net(n, caffe.TEST)
    assert net.forward() == {} and net._layer_names[-2:] == ["silence_data", "silence_data2"]


def test_yaml_and_message_are_the_same_net(parse):
    n = lenet(3)
    assert read_net(n.to_yaml()).layers == read_net(n.to_proto()).layers == read_net(n).layers
    assert caffe.draw.draw_net(n) == caffe.draw.draw_net(n.to_yaml())


def test_without_protobuf_the_spec_is_a_net_all_the_same(monkeypatch):
    def need(module):
        raise caffe.NbcaffeError("Caffe's files: needs `pip install 'nbcaffe[caffe]'`")

    monkeypatch.setattr("nbcaffe.caffe.fields.message", need)
    with pytest.raises(caffe.NbcaffeError, match="needs `pip install"):
        lenet(2).to_proto()
    assert caffe.Net(lenet(2), caffe.TRAIN).blobs["conv1"].data.shape == (2, 20, 24, 24)


def test_a_spec_is_read_and_changed_like_pycaffes():
    n = lenet(2)
    assert n.keys()[:3] == ["data", "label", "conv1"] and n.vals()[2] is n.conv1 is n["conv1"] is n.tops["conv1"]
    n.update("conv1", dict(num_output=7))
    assert n.conv1.fn.params["num_output"] == 7 and n.conv1.fn.type_name == "Convolution"
    assert n.conv1.fn.inputs == (n.data,) and n.conv1.fn.tops == (n.conv1,) and n.relu1.fn.in_place
    with pytest.raises(ConfigError, match="did you mean 'num_output'"):
        n.update("conv1", dict(num_ouput=7))
    del n.accuracy, n["loss"]
    assert "accuracy" not in n and "ip2" in n and not hasattr(n, "loss")
    assert copy.copy(n).keys() == n.keys()
    assert copy.deepcopy(n).to_yaml() == n.to_yaml()


def test_numbers_of_numpy_are_numbers():
    n = caffe.NetSpec()
    n.data = L.Input(shape=np.array([[2, 1, 8, 8]]))
    n.conv = L.Convolution(n.data, num_output=np.int64(3), kernel_size=np.array([3, 2]), pad=(1, 0))
    assert caffe.Net(n, caffe.TEST).blobs["conv"].shape == (2, 3, 8, 7)


def test_a_thousand_layers_are_no_recursion():
    top = L.Input(shape=[[1, 2]])
    for _ in range(3000):
        top = L.Power(top)
    n = caffe.NetSpec()
    n.end = top
    assert len(n.document()["layers"]) == 3001


def test_a_users_layer_is_there_at_once():
    class Halve(caffe.Activation):
        """x / 2."""

        @staticmethod
        def f(x):
            return 0.5 * x

        @staticmethod
        def df(x):
            return 0.5

    n = caffe.NetSpec()
    n.x = L.Input(shape=[[2]])
    n.y = L.Halve(n.x)
    np.testing.assert_array_equal(caffe.Net(n, caffe.TEST).forward(x=np.array([2, 4]))["y"], [1, 2])


def test_params_are_pycaffes_words_and_the_declarations():
    words = (P.Pooling.AVE, P.Eltwise.PROD, P.Data.LMDB, P.Loss.VALID, P.LRN.WITHIN_CHANNEL)
    assert words == ("AVE", "PROD", "LMDB", "VALID", "WITHIN_CHANNEL")
    assert P.Int is caffe.Int and "MAX" in dir(P.Pooling) and "Pooling" in dir(P)
    assert not hasattr(P.Pooling, "MIN") and not hasattr(P, "NoSuchLayer")
    assert caffe.layers is L and caffe.params is P and L.__name__ == "nbcaffe.layers"
    assert "Convolution" in dir(L) and "Correlation" in inspect.getdoc(L.Convolution)


@pytest.mark.parametrize(
    "line, message",
    [
        ("L.Convlution(n.data)", "no layer type 'Convlution', did you mean 'Convolution'"),
        ("L.Convolution(n.data, kernel_size=3, num_ouput=1)", "no parameter 'num_ouput', did you mean 'num_output'"),
        ("L.Convolution(n.data, kernel_size=3)", "Convolution needs 'num_output'"),
        ("L.Convolution(n.data, num_output='three')", "num_output: expected an int and >= 1, got 'three'"),
        ("L.Convolution(n.data, convolution_param=dict(num_outptu=1))", "convolution_param has no field 'num_outptu'"),
        ("L.ReLU()", "L.ReLU: expected 1 bottom, got 0"),
        ("L.ReLU(n.data, n.label)", "L.ReLU: expected 1 bottom, got 2"),
        ("L.ReLU(n.data, ntop=2)", "L.ReLU: expected 1 top, got 2"),
        ("L.ReLU(n.data, ntop='two')", "expected an int >= 0 for ntop"),
        ("L.ReLU('data')", "input 0 is not a Top, but str 'data'"),
        ("L.Silence((n.data, n.label), ntop=0)", "input 0 is not a Top, but tuple .*pass its elements"),
        ("L.Convolution(n.data, num_output=1, kernel_size=1, in_place=True)", "cannot run in place"),
        ("L.ReLU(n.data, top='x')", "top is no parameter here"),
        ("L.Accuracy(n.data, n.label, include=dict(phse='TEST'))", "did you mean 'phase'"),
        ("n.dota", "no top 'dota', did you mean 'data'"),
        ("n['dota']", "no top 'dota', did you mean 'data'"),
        ("n.__setattr__('x', 3)", "n.x: expected what a layer gives"),
        ("n.__setattr__('x', L.DummyData(shape=[[1]], ntop=2))", "2 tops need as many names"),
        ("n.__setattr__('x', n.data)", "is called n.data already"),
        ("n.__setattr__('update', L.ReLU(n.data))", "NetSpec has something of this name"),
        ("P.Pooling.MXA", "P.Pooling has no 'MXA', did you mean 'MAX'"),
        ("P.Poling.MAX", "no layer type 'Poling', did you mean 'Pooling'"),
    ],
)
def test_a_mistake_is_said_in_one_line_where_it_is_made(line, message):
    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(shape=[[2, 3]], ntop=2)
    with pytest.raises(ConfigError, match=message) as caught:
        exec(compile(line, "spec.py", "exec"), {"n": n, "L": L, "P": P})
    assert "\n" not in str(caught.value)
    if line.startswith("L.") and "Convlution" not in line:
        assert str(caught.value).startswith("spec.py:1: ")


def test_what_only_the_net_can_see_names_the_line_of_the_script():
    n = caffe.NetSpec()
    n.data = L.Input(shape=[[2, 3]])
    n.pool = L.Pooling(n.data, kernel_size=9)
    line = inspect.currentframe().f_lineno - 1
    with pytest.raises(caffe.NbcaffeError, match=rf"test_net_spec.py:{line}: layer 'pool' \(Pooling\)"):
        caffe.Net(n, caffe.TEST)


def test_a_message_that_is_no_net_is_refused():
    pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")
    from nbcaffe.proto import caffe_pb2

    with pytest.raises(ConfigError, match="expected a NetParameter, got a SolverParameter"):
        caffe.Net(caffe_pb2.SolverParameter())
    with pytest.raises(ConfigError, match="did you mean 'NetParameter'"):
        _ = caffe_pb2.NetParametr
    assert (caffe_pb2.TRAIN, caffe_pb2.TEST) == (0, 1) and caffe_pb2.Datum(label=3).label == 3
