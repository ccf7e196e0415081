"""Scripts that were written for pycaffe: pictures, classification, detection, surgery, solvers."""

import io as files
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import nbcaffe as caffe
from nbcaffe import layers as L
from nbcaffe.errors import ConfigError, DataError, DeviceError, NbcaffeError, NumericError, ShapeError


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setattr("nbcaffe.mode._chosen", {})


@pytest.fixture
def protobuf():
    pytest.importorskip("google.protobuf", reason="Caffe's files need the extra: pip install 'nbcaffe[caffe]'")


rng = np.random.default_rng(0)


# caffe.io


def transformer(shape=(10, 3, 2, 2)):
    return caffe.io.Transformer({"data": shape})


def test_a_picture_goes_through_the_steps_in_pycaffes_order():
    t = transformer()
    t.set_transpose("data", (2, 0, 1))
    t.set_channel_swap("data", (2, 1, 0))
    t.set_raw_scale("data", 255)
    t.set_mean("data", np.array([10, 20, 30]))
    t.set_input_scale("data", 0.5)
    picture = np.array([[[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]], [[0.1, 0.3, 0.5], [0.7, 0.9, 0.0]]])
    before = picture.copy()
    out = t.preprocess("data", picture)
    blue, green, red = picture[:, :, 2], picture[:, :, 1], picture[:, :, 0]
    by_hand = [(blue * 255 - 10) / 2, (green * 255 - 20) / 2, (red * 255 - 30) / 2]
    np.testing.assert_allclose(out, by_hand, rtol=1e-6, atol=1e-4)
    assert out.dtype == np.float32 and (picture == before).all()
    np.testing.assert_allclose(t.deprocess("data", out), picture, atol=1e-6)
    np.testing.assert_allclose(t.deprocess("data", out[None]), picture, atol=1e-6)


def test_orders_that_are_not_their_own_inverse_are_undone():
    t = transformer((1, 3, 4, 5))
    t.set_transpose("data", (2, 0, 1))
    t.set_channel_swap("data", (1, 2, 0))
    picture = rng.random((4, 5, 3)).astype("f")
    np.testing.assert_array_equal(t.deprocess("data", t.preprocess("data", picture)), picture)


def test_a_grey_picture_keeps_its_axis():
    t = transformer((1, 1, 2, 3))
    t.set_transpose("data", (2, 0, 1))
    out = t.preprocess("data", np.ones((2, 3, 1)))
    assert out.shape == (1, 2, 3) and t.deprocess("data", out).shape == (2, 3, 1)


def test_a_mean_is_a_picture_or_a_number_a_channel():
    t = transformer()
    t.set_transpose("data", (2, 0, 1))
    mean = rng.random((3, 2, 2))
    t.set_mean("data", mean)
    np.testing.assert_allclose(t.preprocess("data", np.zeros((2, 2, 3))), -mean, rtol=1e-6)
    grey = transformer((1, 1, 2, 2))
    grey.set_mean("data", mean[0])
    np.testing.assert_allclose(grey.preprocess("data", np.zeros((2, 2))), -mean[0], rtol=1e-6)


def test_a_picture_of_another_size_is_resized():
    t = transformer()
    t.set_transpose("data", (2, 0, 1))
    np.testing.assert_allclose(t.preprocess("data", np.full((8, 6, 3), 0.25)), np.full((3, 2, 2), 0.25), rtol=1e-6)


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda t: t.set_mean("dota", np.zeros(3)), ConfigError, "no input 'dota', did you mean 'data'"),
        (lambda t: t.preprocess("dota", 0), ConfigError, "did you mean 'data'"),
        (lambda t: t.set_mean("data", np.zeros(4)), ShapeError, r"expected shape \(3,\) .* or \(3, 2, 2\), got \(4,\)"),
        (lambda t: t.set_mean("data", np.zeros((3, 256, 256))), ShapeError, r"mean.mean\(1\).mean\(1\)"),
        (lambda t: t.set_mean("data", np.full(3, np.nan)), NumericError, "3 values are NaN or infinite"),
        (lambda t: t.set_transpose("data", (2, 0)), ConfigError, r"order of the 3 axes .*, got \(2, 0\)"),
        (lambda t: t.set_channel_swap("data", (2, 1, 1)), ConfigError, "order of the 3 channels, each once"),
        (lambda t: t.set_raw_scale("data", 0), ConfigError, "set_raw_scale.*expected a number that is not 0, got 0"),
        (lambda t: t.set_input_scale("data", "1"), ConfigError, "expected a number that is not 0, got '1'"),
        (lambda t: t.preprocess("data", np.zeros((2, 2, 3))), ShapeError, r"set_transpose\('data', \(2, 0, 1\)\)"),
        (lambda t: t.preprocess("data", "cat.jpg"), ShapeError, "expected an array of numbers"),
        (lambda t: t.preprocess("data", [[np.nan, 1]]), NumericError, r"1 values are NaN .* first at \(0, 0\)"),
        (lambda t: t.deprocess("data", np.zeros((3, 5, 5))), ShapeError, r"expected a sample of shape \(3, 2, 2\)"),
        (lambda t: transformer((2, 3)).preprocess("data", np.zeros((2, 3))), ShapeError, "inputs of four axes"),
    ],
)
def test_what_a_transformer_cannot_use_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call(transformer())


def test_pictures_are_loaded_as_scikit_image_loads_them(tmp_path):
    pixels = rng.integers(0, 256, (4, 5, 4), np.uint8)
    for mode, values in (("RGB", pixels[:, :, :3]), ("RGBA", pixels), ("L", pixels[:, :, 0])):
        Image.fromarray(values).save(tmp_path / f"{mode}.png")
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    rgb = pixels[:, :, :3] / 255
    np.testing.assert_allclose(caffe.io.load_image(tmp_path / "RGB.png"), rgb, rtol=1e-6)
    np.testing.assert_allclose(caffe.io.load_image(tmp_path / "RGBA.png"), rgb, rtol=1e-6)
    grey = caffe.io.load_image(str(tmp_path / "L.png"), color=False)
    assert grey.shape == (4, 5, 1) and grey.dtype == np.float32
    np.testing.assert_allclose(caffe.io.load_image(tmp_path / "L.png"), np.repeat(grey, 3, axis=2))
    np.testing.assert_allclose(caffe.io.load_image(tmp_path / "deep.png", False), grey, rtol=1e-6)
    luminance = rgb @ [0.2125, 0.7154, 0.0721]
    np.testing.assert_allclose(caffe.io.load_image(tmp_path / "RGB.png", False)[:, :, 0], luminance, rtol=1e-5)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"not a cat")
    for name, message in (("cat.jpg", "not a picture, or damaged"), ("dog.jpg", "no such file")):
        with pytest.raises(DataError, match=rf"{name}: {message}"):
            caffe.io.load_image(tmp_path / name)


def test_resizing_is_linear_between_pixel_centres():
    ramp = np.array([[0.0, 1.0]])[:, :, None]
    np.testing.assert_allclose(caffe.io.resize_image(ramp, (1, 4))[0, :, 0], [0, 0.25, 0.75, 1], atol=1e-6)
    five = rng.random((3, 4, 5))
    assert caffe.io.resize_image(five, (6, 2)).shape == (6, 2, 5)
    np.testing.assert_allclose(caffe.io.resize_image(five, (3, 4)), five, rtol=1e-6)
    np.testing.assert_array_equal(caffe.io.resize_image(ramp, (2, 4), interp_order=0)[:, :, 0], [[0, 0, 1, 1]] * 2)
    with pytest.raises(ShapeError, match="sizes >= 1"):
        caffe.io.resize_image(five, (0, 2))
    with pytest.raises(ConfigError, match="interp_order: expected 0, 1 or 3, got 2"):
        caffe.io.resize_image(five, (2, 2), interp_order=2)


def test_ten_crops_are_corners_middle_and_their_mirror_images():
    pictures = [rng.random((5, 6, 3)), rng.random((5, 6, 3))]
    crops = caffe.io.oversample(pictures, (3, 4))
    assert crops.shape == (20, 3, 4, 3) and crops.dtype == np.float32
    starts = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    for i, picture in enumerate(pictures):
        five = [picture[y : y + 3, x : x + 4] for y, x in starts]
        np.testing.assert_allclose(crops[10 * i : 10 * i + 10], five + [crop[:, ::-1] for crop in five], rtol=1e-6)
    with pytest.raises(ShapeError, match="crops of 6 x 4 do not fit into pictures of 5 x 6"):
        caffe.io.oversample(pictures, (6, 4))
    with pytest.raises(ShapeError, match="of one size"):
        caffe.io.oversample([pictures[0], pictures[1][:4]], (3, 4))


def test_arrays_become_messages_and_come_back(protobuf, tmp_path):
    from nbcaffe.proto import caffe_pb2

    values = rng.random((2, 3, 4, 5)).astype("f")
    blob = caffe.io.array_to_blobproto(values, -values)
    assert isinstance(blob, caffe_pb2.BlobProto)
    read = caffe_pb2.BlobProto()
    read.ParseFromString(blob.SerializeToString())
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(read), values)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(read, return_diff=True), -values)
    old = caffe_pb2.BlobProto(num=1, channels=3, height=1, width=2, data=range(6))
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(old), np.arange(6).reshape(1, 3, 1, 2))
    old.data.append(6)
    with pytest.raises(DataError, match=r"7 numbers of data do not fill the shape \(1, 3, 1, 2\)"):
        caffe.io.blobproto_to_array(old)
    with pytest.raises(ShapeError, match="the data has shape"):
        caffe.io.array_to_blobproto(values, values[0])


def test_datums_hold_bytes_floats_or_an_encoded_picture(protobuf):
    from nbcaffe.proto import caffe_pb2

    pixels = rng.integers(0, 256, (3, 4, 5), np.uint8)
    datum = caffe.io.array_to_datum(pixels, 7)
    assert datum.label == 7 and datum.data == pixels.tobytes()
    np.testing.assert_array_equal(caffe.io.datum_to_array(datum), pixels)
    floats = pixels.astype("f") / 3
    np.testing.assert_array_equal(caffe.io.datum_to_array(caffe.io.array_to_datum(floats)), floats)
    file = files.BytesIO()
    Image.fromarray(pixels[::-1].transpose(1, 2, 0).copy()).save(file, "PNG")
    encoded = caffe_pb2.Datum(encoded=True, data=file.getvalue())
    np.testing.assert_array_equal(caffe.io.datum_to_array(encoded), pixels)
    with pytest.raises(ShapeError, match="channels, height, width"):
        caffe.io.array_to_datum(pixels[0])


# Classifier and Detector


def picture_net(batch=4, size=4):
    """Channel means, so that what comes out can be computed by hand."""
    n = caffe.NetSpec()
    n.data = L.Input(shape=[[batch, 3, size, size]])
    n.pool = L.Pooling(n.data, pool="AVE", global_pooling=True)
    n.prob = L.Reshape(n.pool, shape=dict(dim=[0, 3]))  # noqa: C408
    return n


def test_a_classifier_averages_ten_crops_or_takes_the_middle():
    pictures = [rng.random((6, 8, 3)).astype("f") for _ in range(3)]
    classifier = caffe.Classifier(
        picture_net(), None, image_dims=(6, 8), mean=np.array([1, 2, 3]), raw_scale=2, channel_swap=(2, 1, 0)
    )
    crops = caffe.io.oversample(pictures, (4, 4)).reshape(3, 10, 4, 4, 3)
    by_hand = (crops.mean(axis=(1, 2, 3)) * 2)[:, ::-1] - [1, 2, 3]
    np.testing.assert_allclose(classifier.predict(pictures), by_hand, rtol=1e-5, atol=1e-6)
    middle = np.stack([p[1:5, 2:6].mean(axis=(0, 1)) for p in pictures])
    found = classifier.predict(pictures, oversample=False)
    np.testing.assert_allclose(found, middle[:, ::-1] * 2 - [1, 2, 3], rtol=1e-5, atol=1e-6)


def test_a_classifier_says_what_it_cannot_use():
    with pytest.raises(ConfigError, match=r"image_dims: expected .* at least \(4, 4\).* got \(2, 2\)"):
        caffe.Classifier(picture_net(), image_dims=(2, 2))
    with pytest.raises(ShapeError, match="set_mean"):
        caffe.Classifier(picture_net(), mean=np.zeros(4))
    classifier = caffe.Classifier(picture_net())
    with pytest.raises(NumericError, match="predict: picture 1: 1 values are NaN"):
        classifier.predict([np.zeros((5, 5, 3)), np.where(np.arange(75).reshape(5, 5, 3) == 7, np.nan, 0)])
    with pytest.raises(ShapeError, match=r"picture 0: expected \(H, W, K\)"):
        classifier.predict([np.zeros((5, 5))])
    with pytest.raises(ShapeError, match="got none"):
        classifier.predict([])
    n = caffe.NetSpec()
    n.x = L.Input(shape=[[2, 3]])
    n.y = L.ReLU(n.x)
    with pytest.raises(ConfigError, match="for pictures, got"):
        caffe.Classifier(n)


def test_a_detector_scores_windows(tmp_path):
    pixels = rng.integers(0, 256, (10, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "street.png")
    windows = [(0, 0, 4, 4), (3, 2, 7, 6), (6, 8, 10, 12), np.array([2, 2, 6, 6]), (5, 1, 9, 5)]
    found = caffe.Detector(picture_net()).detect_windows([(tmp_path / "street.png", windows)])
    for one, (y0, x0, y1, x1) in zip(found, windows, strict=True):
        np.testing.assert_allclose(one["prediction"], pixels[y0:y1, x0:x1].mean(axis=(0, 1)) / 255, rtol=1e-5)
    assert found[1]["window"] == (3, 2, 7, 6) and found[0]["filename"] == tmp_path / "street.png"
    assert caffe.Detector(picture_net()).detect_windows([]) == []


def test_context_outside_of_the_picture_is_the_mean():
    detector = caffe.Detector(
        picture_net(size=8), mean=np.array([25.5, 51, 76.5]), raw_scale=255, channel_swap=(2, 1, 0), context_pad=2
    )
    picture = np.ones((20, 20, 3), "f")
    corner = detector.crop(picture, (0, 0, 4, 4))
    assert corner.shape == (8, 8, 3)
    np.testing.assert_allclose(corner[0, 0], [0.3, 0.2, 0.1], rtol=1e-5)  # RGB, where the net has BGR
    np.testing.assert_allclose(corner[4:, 4:], 1, rtol=1e-5)
    np.testing.assert_allclose(detector.crop(picture, (8, 8, 12, 12)), 1, rtol=1e-5)


def test_what_a_detector_cannot_do_is_said(tmp_path):
    detector = caffe.Detector(picture_net())
    with pytest.raises(NbcaffeError, match=r"MATLAB.*detect_windows"):
        detector.detect_selective_search(["a.jpg"])
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png: window \[0, 0, 11, 4\]: expected .* inside of 10 x 12"):
        detector.detect_windows([(tmp_path / "a.png", [(0, 0, 11, 4)])])
    with pytest.raises(DataError, match="expected four numbers"):
        detector.detect_windows([(tmp_path / "a.png", [(0, 0, 4)])])
    with pytest.raises(ConfigError, match=r"context_pad: expected an int .* less than half of 4, got 2"):
        caffe.Detector(picture_net(), context_pad=2)


# Net


def small(batch=3, width=4):
    n = caffe.NetSpec()
    n.data = L.Input(shape=[[batch, width]])
    n.ip = L.InnerProduct(n.data, num_output=2, weight_filler={"type": "xavier"})
    n.tanh = L.TanH(n.ip)
    n.prob = L.Softmax(n.tanh)
    return n


def test_any_number_of_samples_runs_in_batches():
    net = caffe.Net(small(), caffe.TEST)
    x = rng.standard_normal((7, 4)).astype("f")
    out = net.forward_all(blobs=["ip"], data=x)
    for i, sample in enumerate(x):
        single = net.forward(["ip"], data=np.stack([sample] * 3))
        for name in ("ip", "prob"):
            np.testing.assert_allclose(out[name][i], single[name][0], rtol=1e-6)
    assert set(out) == {"ip", "prob"} and out["prob"].shape == (7, 2)
    with pytest.raises(NbcaffeError, match="no input 'date', did you mean 'data'"):
        net.forward_all(date=x)
    with pytest.raises(ShapeError, match="expected samples, as many in each array, got none"):
        net.forward_all()


def test_samples_of_two_inputs_are_as_many_and_a_loss_is_no_row():
    n = caffe.NetSpec()
    n.a, n.b = L.Input(shape=[[2, 3]], ntop=2)
    n.loss = L.EuclideanLoss(n.a, n.b)
    net = caffe.Net(n, caffe.TEST)
    with pytest.raises(ShapeError, match="a: 3, b: 4"):
        net.forward_all(a=np.zeros((3, 3)), b=np.zeros((4, 3)))
    with pytest.raises(ShapeError, match=r"blob 'loss' of shape \(\) has no row for each of the 2 samples"):
        net.forward_all(a=np.zeros((4, 3)), b=np.zeros((4, 3)))


def test_gradients_of_any_number_of_samples():
    document = {"force_backward": True, **small().document()}
    net = caffe.Net(document, caffe.TRAIN)
    x, top = rng.standard_normal((5, 4)).astype("f"), rng.standard_normal((5, 2)).astype("f")
    outs, diffs = net.forward_backward_all(blobs=["ip"], diffs=["ip"], data=x, prob=top)
    assert outs["ip"].shape == (5, 2) and diffs["data"].shape == (5, 4) and diffs["ip"].shape == (5, 2)
    np.testing.assert_allclose(diffs["data"], diffs["ip"] @ net.params["ip"][0].data, rtol=1e-5, atol=1e-7)
    p, y = outs["prob"], np.tanh(outs["ip"])
    by_hand = (p * (top - (p * top).sum(axis=1, keepdims=True))) * (1 - y**2)
    np.testing.assert_allclose(diffs["ip"], by_hand, rtol=1e-4, atol=1e-6)


def test_a_net_shares_anothers_weights():
    one, other = caffe.Net(small(), caffe.TEST, seed=1), caffe.Net(small(batch=2), caffe.TEST, seed=2)
    x = rng.standard_normal((3, 4)).astype("f")
    assert (one.params["ip"][0].data != other.params["ip"][0].data).any()
    one.share_with(other)
    other.params["ip"][0].data[...] = 0
    other.params["ip"][1].data[...] = [0, np.log(3)]
    np.testing.assert_allclose(one.forward(["ip"], data=x)["ip"], [[0, np.log(3)]] * 3, rtol=1e-6)
    one.blobs["data"].reshape(2, 4)
    one.reshape()
    np.testing.assert_allclose(one.forward(["ip"], data=x[:2])["ip"], [[0, np.log(3)]] * 2, rtol=1e-6)
    with pytest.raises(ShapeError, match="layer 'ip': weights of shapes"):
        one.share_with(caffe.Net(small(width=5), caffe.TEST))


def test_weights_in_hdf5_under_pycaffes_names(tmp_path):
    net, other = caffe.Net(small(), caffe.TEST, seed=1), caffe.Net(small(), caffe.TEST, seed=2)
    net.save_hdf5(tmp_path / "w.h5")
    other.load_hdf5(str(tmp_path / "w.h5"))
    np.testing.assert_array_equal(net.params["ip"][0].data, other.params["ip"][0].data)
    with pytest.raises(ConfigError, match=r"save_hdf5: .*expected a name that ends in .h5"):
        net.save_hdf5(tmp_path / "w.caffemodel")
    # pycaffe's older order of arguments
    old = caffe.Net(small(), str(tmp_path / "w.h5"), caffe.TEST)
    np.testing.assert_array_equal(old.params["ip"][0].data, net.params["ip"][0].data)


def test_callbacks_are_called_around_each_layer():
    net, seen = caffe.Net({"force_backward": True, **small().document()}), []
    for when in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, when)(lambda index, when=when: seen.append((when, index)))
    values = []
    net.after_forward(lambda index: values.append(net.blobs["ip"].data.copy()) if index == 1 else None)
    x = rng.standard_normal((3, 4)).astype("f")
    net.forward(data=x)
    assert seen == [(when, i) for i in range(4) for when in ("before_forward", "after_forward")]
    np.testing.assert_array_equal(values[0], net.blobs["ip"].data)
    seen.clear()
    net.backward()
    assert seen == [(when, i) for i in (3, 2, 1, 0) for when in ("before_backward", "after_backward")]
    seen.clear()
    net.blobs["data"].reshape(2, 4)
    net.forward(start="ip", end="tanh")  # after another binding, and a part only
    assert [index for when, index in seen if when == "before_forward"] == [1, 2]
    with pytest.raises(ConfigError, match="before_forward: expected a function"):
        net.before_forward("print")


def test_layers_and_blobs_have_pycaffes_attributes():
    net = caffe.Net(small(), caffe.TEST)
    assert [layer.type for layer in net.layers] == ["Input", "InnerProduct", "TanH", "Softmax"]
    assert net.layers[1].blobs == net.params["ip"] and list(net._layer_names) == ["data", "ip", "tanh", "prob"]
    net.blobs["data"].reshape(5, 4, 1, 1)
    blob = net.blobs["data"]
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (5, 4, 1, 1, 20)
    assert net.top_names["ip"] == ["ip"] and net.bottom_names["prob"] == ["tanh"]


# The process, and solvers


def test_the_processs_switches():
    caffe.set_device(0)
    caffe.set_multiprocess(False)
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES=1"):
        caffe.set_device(1)
    with pytest.raises(ConfigError, match="set_device: expected an int"):
        caffe.set_device("0")
    with pytest.raises(ConfigError, match="one process trains on one device"):
        caffe.set_multiprocess(True)
    timer = caffe.Timer()
    with pytest.raises(NbcaffeError, match=r"start\(\) comes before stop\(\)"):
        timer.stop()
    timer.start()
    timer.stop()
    assert timer.ms > 0


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_a_named_solver_has_its_rule(kind, root, tmp_path):
    solver = getattr(caffe, f"{kind}Solver")(str(root / "nets/digits/solver.yaml"), overrides=["momentum=0"])
    calls = []
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients"))
    before = solver.net.params["ip2"][0].data.copy()
    solver.step(1)
    assert solver.type == kind and calls == ["start", "gradients"] and solver.iter == 1 and solver.lr > 0
    assert (solver.net.params["ip2"][0].data != before).any()
    solver.apply_update()


# A whole notebook

DEPLOY = """
name: "Tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 10 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""

NOTEBOOK = """
import tempfile
import numpy as np
import nbcaffe as caffe
from nbcaffe import layers as L, params as P
from nbcaffe.proto import caffe_pb2

caffe.set_device(0)
caffe.set_mode_cpu()

# 00-classification
net = caffe.Net("deploy.prototxt", "tiny.caffemodel", caffe.TEST)
transformer = caffe.io.Transformer({'data': net.blobs['data'].data.shape})
transformer.set_transpose('data', (2,0,1))
transformer.set_mean('data', np.array([104, 117, 123]))
transformer.set_raw_scale('data', 255)
transformer.set_channel_swap('data', (2,1,0))
net.blobs['data'].reshape(50, 3, 12, 12)
image = caffe.io.load_image("cat.png")
transformed_image = transformer.preprocess('data', image)
net.blobs['data'].data[...] = transformed_image
output = net.forward()
output_prob = output['prob'][0]
assert output_prob.shape == (5,) and abs(output_prob.sum() - 1) < 1e-5
top_inds = output_prob.argsort()[::-1][:5]
assert np.ptp(output['prob'], axis=0).max() < 1e-6  # the same picture 50 times
for layer_name, blob in net.blobs.items():
    assert blob.data.shape == blob.shape
filters = net.params['conv1'][0].data
feat = net.blobs['conv1'].data[0, :4]
assert filters.transpose(0, 2, 3, 1).shape == (4, 3, 3, 3) and feat.min() >= 0
shown = transformer.deprocess('data', net.blobs['data'].data[0])
assert np.abs(shown - caffe.io.resize_image(image, (12, 12))).max() < 1e-4

# net surgery: the fc layer as a convolution
text = open("deploy.prototxt").read().replace('type: "InnerProduct"', 'type: "Convolution"')
text = text.replace('inner_product_param { num_output: 5', 'convolution_param { num_output: 5 kernel_size: 5')
text = text.replace('"fc"', '"fc-conv"')
open("full_conv.prototxt", "w").write(text)
net_full_conv = caffe.Net("full_conv.prototxt", "tiny.caffemodel", caffe.TEST)
net_full_conv.params['fc-conv'][0].data.flat = net.params['fc'][0].data.flat
net_full_conv.params['fc-conv'][1].data[...] = net.params['fc'][1].data
full = net_full_conv.forward_all(data=np.asarray([transformed_image]))['prob']
assert full.shape == (1, 5, 1, 1) and np.abs(full.ravel() - output_prob).max() < 1e-5
net_full_conv.save("surgery.caffemodel")

# 01-learning-lenet
n = caffe.NetSpec()
n.data, n.label = L.DummyData(shape=[dict(dim=[8, 1, 12, 12]), dict(dim=[8])], ntop=2,
                              data_filler=[dict(type='gaussian'), dict(type='constant', value=1)])
n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=4, weight_filler=dict(type='xavier'))
n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
n.fc1 = L.InnerProduct(n.pool1, num_output=16, weight_filler=dict(type='xavier'))
n.relu1 = L.ReLU(n.fc1, in_place=True)
n.score = L.InnerProduct(n.relu1, num_output=3, weight_filler=dict(type='xavier'))
n.loss = L.SoftmaxWithLoss(n.score, n.label)
with tempfile.NamedTemporaryFile(mode="w", delete=False, dir=".") as f:
    f.write(str(n.to_proto()))
s = caffe_pb2.SolverParameter()
s.train_net = f.name
s.base_lr, s.momentum, s.lr_policy, s.gamma, s.power = 0.05, 0.9, 'inv', 0.0001, 0.75
s.display, s.snapshot, s.snapshot_prefix = 0, 0, "lenet"
s.solver_mode = caffe_pb2.SolverParameter().solver_mode * 0
with tempfile.NamedTemporaryFile(mode="w", delete=False, dir=".") as f:
    f.write(str(s))
solver = caffe.get_solver(f.name)
solver.net.forward()
first = float(solver.net.blobs['loss'].data)
for it in range(10):
    solver.step(1)
assert solver.iter == 10 and float(solver.net.blobs['loss'].data) < first / 2
solver.net.forward(start='conv1')
assert solver.net.blobs['score'].data.argmax(1).shape == (8,)
print("done")
"""


def test_a_notebook_of_pycaffes_runs_with_another_import(protobuf, tmp_path):
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST).save(tmp_path / "tiny.caffemodel")
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(tmp_path / "cat.png")
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    done = subprocess.run([sys.executable, "notebook.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr
