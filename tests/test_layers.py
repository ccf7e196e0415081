"""What holds for every layer: its examples on every target, in float32 and float64, in place or not."""

import numpy as np
import pytest

import nbcaffe.layers  # noqa: F401  (defines the layers)
from nbcaffe import mode, set_engine
from nbcaffe.checks import CHECKS, Case, examine
from nbcaffe.errors import ConfigError, LabelError, NbcaffeError
from nbcaffe.layer import REGISTRY
from nbcaffe.ops import autotune, choose
from nbcaffe.params import REQUIRED, ParamError, bind, invalid_values
from nbcaffe.single import Single


def examples(chosen=lambda cls: True):
    """Every example of the chosen layers."""
    return [
        pytest.param(kind, example, id=f"{kind}-{number}")
        for kind, cls in sorted(REGISTRY.items())
        if chosen(cls)
        for number, example in enumerate(cls.examples)
    ]


def build(kind, example, **options):
    """The layer and values for its bottoms, the same on every target."""
    case = Case(kind, example)
    return case.single(**options), list(case.values)


def top_diffs(layer, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(top.shape) for top in layer.top]


def get(layer, array):
    return layer.device.download(array).copy()


def backward(layer, diffs):
    """Bottom diffs and weight diffs, the latter from zero."""
    for weight in layer.layer.weights:
        layer.device.upload(weight.diff, 0.0)
    bottoms = layer.backward(*diffs)
    return bottoms, [get(layer, weight.diff) for weight in layer.layer.weights]


def trains(cls):
    return cls.differentiable != ()


@pytest.mark.parametrize(("kind", "example"), examples())
def test_nbcaffe_check_finds_no_fault(kind, example):
    case = Case(kind, example)
    found = {check.name: examine(check, case) for check in CHECKS}
    assert not {name: finding.fault for name, finding in found.items() if finding and not finding.passed}


@pytest.mark.parametrize(("kind", "example"), examples(trains))
def test_a_pass_leaves_its_inputs_and_adds_to_weight_diffs(kind, example):
    layer, values = build(kind, example)
    layer.forward(*values)
    before = [get(layer, b.data) for b in layer.bottom]
    diffs = top_diffs(layer)
    bottoms, once = backward(layer, diffs)
    again = layer.backward(*diffs)
    for blob, old in zip(layer.bottom, before, strict=True):
        np.testing.assert_array_equal(get(layer, blob.data), old)
    if layer.layer.shares != "both":
        for blob, diff in zip(layer.top, diffs, strict=True):
            np.testing.assert_array_equal(get(layer, blob.diff), diff.astype(np.float32))
    for first, second in zip(bottoms, again, strict=True):
        np.testing.assert_array_equal(first, second)
    for weight, one in zip(layer.layer.weights, once, strict=True):
        np.testing.assert_allclose(get(layer, weight.diff), 2 * one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("params", [{"kernel_size": 2, "stride": 2}, {"kernel_size": 3, "stride": 1}])
def test_one_nan_reaches_every_window_that_holds_it(params):
    layer = Single("Pooling", [(1, 1, 4, 4)], **params)
    for place in range(16):
        x = np.arange(16.0).reshape(1, 1, 4, 4)
        x.reshape(-1)[place] = np.nan
        (top,) = layer.forward(x)
        holds = [np.isnan(x[0, 0, i : i + k, j : j + k]).any() for k, i, j in windows(**params)]
        np.testing.assert_array_equal(np.isnan(top).reshape(-1), holds)


def windows(kernel_size, stride):
    """(size, row, column) of each window of a 4 x 4 plane."""
    starts = range(0, 4 - kernel_size + 1, stride)
    return [(kernel_size, i, j) for i in starts for j in starts]


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_each_bad_parameter_is_named(kind):
    params = REGISTRY[kind].params
    good = {name: 1 for name, param in params.items() if param.default is REQUIRED}
    for name, param in params.items():
        for value in invalid_values(param):
            _, errors = bind(params, {**good, name: value}, kind)
            assert any(error.key == name for error in errors), f"{kind}: {name}: {value!r} was accepted"
            assert all(isinstance(error, ParamError) for error in errors)


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_each_layer_and_parameter_says_what_it_is(kind):
    cls = REGISTRY[kind]
    assert cls.__doc__ and all(param.doc for param in cls.params.values())


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "Accuracy", "HingeLoss", "MultinomialLogisticLoss"])
@pytest.mark.parametrize("label", [3, -1, float("nan"), 1e12])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_label_without_class_is_named(kind, label, device):
    layer = Single(kind, [(4, 3), (4,)], device=device)
    with pytest.raises(LabelError, match="item 2 of the batch, expected 0 to 2"):
        layer.forward(np.zeros((4, 3)), np.array([0, 2, label, 1]))


@pytest.mark.parametrize("index", [3, -1, float("nan")])
@pytest.mark.parametrize(
    ("kind", "shapes", "params"),
    [("Embed", [(4,)], {"input_dim": 3, "num_output": 2}), ("BatchReindex", [(3, 2), (4,)], {})],
)
def test_an_index_of_no_row_is_named(kind, shapes, params, index):
    layer = Single(kind, shapes, **params)
    values = [np.zeros(s) for s in shapes[:-1]]
    with pytest.raises(LabelError, match=f"at position 2 of bottom {len(shapes) - 1}, expected 0 to 2"):
        layer.forward(*values, np.array([0, 2, index, 1]))


def test_the_place_of_the_largest_is_nan_only_where_a_nan_is():
    x = np.array([[1, np.inf, 2], [-np.inf, -np.inf, -np.inf], [1, np.nan, 2]])
    (top,) = Single("ArgMax", [x.shape], top_k=2).forward(x)
    np.testing.assert_array_equal(top[:, 0], [[1, 2], [2, 1], [np.nan, np.nan]])


def test_the_prices_of_an_infogain_loss_may_come_from_a_file(tmp_path):
    pytest.importorskip("google.protobuf", reason="the [caffe] extra is not installed")
    from nbcaffe.caffe.blobs import blob_bytes

    rng = np.random.default_rng(0)
    x, labels, prices = rng.standard_normal((4, 3)), np.array([0, 2, 1, 2]), rng.random((1, 1, 3, 3), np.float32)
    (tmp_path / "prices.binaryproto").write_bytes(blob_bytes(prices))
    (given,) = Single("InfogainLoss", [(4, 3), (4,), (1, 1, 3, 3)]).forward(x, labels, prices)
    (read,) = Single("InfogainLoss", [(4, 3), (4,)], source=str(tmp_path / "prices.binaryproto")).forward(x, labels)
    assert given == read


def test_an_ignored_label_may_lie_outside_the_classes():
    layer = Single("SoftmaxWithLoss", [(2, 3), (2,)], ignore_label=255)
    (loss,) = layer.forward(np.zeros((2, 3)), np.array([255, 1]))
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "shapes", "params", "complaint"),
    [
        ("Convolution", [(1, 3, 4, 4)], {"num_output": 4, "kernel_size": 3, "group": 2}, "group 2 must divide 3"),
        ("Convolution", [(1, 3, 4, 4)], {"num_output": 4, "kernel_size": 5}, "larger than the padded input"),
        ("Convolution", [(1, 3, 4, 4)], {"num_output": 4}, "needs kernel_size"),
        ("Convolution", [(1, 3, 4, 4)], {"num_output": 4, "kernel_size": [1, 2, 3]}, "needs 1 or 2 values"),
        ("Convolution", [(1, 3)], {"num_output": 4, "kernel_size": 1}, "spatial axes"),
        ("Convolution", [(1, 3, 4, 4)], {"num_output": 4, "kernel_size": 2, "kernel_h": 3}, "not both"),
        ("InnerProduct", [(2, 3)], {"num_output": 4, "axis": 2}, "axis 2"),
        ("Pooling", [(1, 1, 4, 4)], {}, "needs kernel_size"),
        ("Pooling", [(1, 1, 4, 4)], {"kernel_size": 2, "pad": 2}, "must be smaller"),
        ("Pooling", [(1, 1, 4, 4)], {"global_pooling": True, "kernel_size": 2}, "leave out kernel_size"),
        ("SoftmaxWithLoss", [(2, 3, 4), (2,)], {}, "need 8 labels"),
        ("EuclideanLoss", [(2, 3), (2, 4)], {}, "as many values"),
        ("Accuracy", [(2, 3), (2,)], {"top_k": 4}, "more than the 3 classes"),
        ("Concat", [(2, 3), (3, 3)], {}, "agree in every axis"),
        ("Eltwise", [(2, 3), (3, 3)], {}, "one shape"),
        ("Eltwise", [(2, 3), (2, 3)], {"coeff": [1.0]}, "one for each of the 2"),
        ("Flatten", [(2, 3)], {"axis": 2}, "no range"),
        ("DummyData", [], {}, "needs shape"),
        ("Slice", [(2, 5)], {"num_top": 2}, "no 2 equal parts"),
        ("Slice", [(2, 5)], {"num_top": 3, "slice_point": [2]}, "3 tops need 2 slice points"),
        ("Slice", [(2, 5)], {"num_top": 2, "slice_point": [5]}, "must rise between 0 and 5"),
        ("Tile", [(2, 5)], {"tiles": 2, "axis": 2}, "axis 2 is none of the 2 axes"),
        ("Reshape", [(2, 5)], {"shape": [3, -1]}, "does not fit the 10 values"),
        ("Reshape", [(2, 5)], {"shape": [-1, -1]}, "at most one -1"),
        ("Reshape", [(2, 5)], {"shape": [1, 2, 0]}, "that .2, 5. does not have"),
        ("Crop", [(2, 5), (2, 4)], {"axis": 1, "offset": 2}, "reaches beyond the bottom"),
        ("Scale", [(2, 3, 4), (4,)], {}, "needs the shape .3,. of axes 1 to 1"),
        ("Bias", [(2, 3)], {"num_axes": 2}, "reach beyond the 2 axes"),
        ("LRN", [(2, 3, 4)], {"local_size": 4}, "must be odd"),
        ("MVN", [(2,)], {}, "at least 2 axes"),
        ("Deconvolution", [(1, 1, 2, 2)], {"num_output": 1, "kernel_size": 2, "pad": 2}, "cuts all of the output"),
        ("Deconvolution", [(1, 3, 2, 2)], {"num_output": 4, "kernel_size": 2, "group": 2}, "group 2 must divide 3"),
        ("Im2col", [(1, 3, 4, 4)], {"kernel_size": 5}, "larger than the padded input"),
        ("BatchReindex", [(3, 2), (2, 2)], {}, "one axis of indices"),
        ("ArgMax", [(3, 2)], {"top_k": 3}, "more than the 2 values"),
        ("Reduction", [(3, 2)], {"axis": 2}, "axis 2 is none of the 2 axes"),
        ("Parameter", [], {"shape": [[1], [2]]}, "one list of sizes"),
        ("HingeLoss", [(3, 2), (2,)], {}, "need 3 labels"),
        ("Pooling", [(1, 1, 4, 4)], {"kernel_size": 2, "pad": 1, "pool": "STOCHASTIC"}, "takes no pad"),
        ("SPP", [(1, 1, 2, 2)], {"pyramid_height": 3}, "must be smaller than the window"),
        ("SPP", [(1, 4, 4)], {"pyramid_height": 1}, "four axes"),
        ("InfogainLoss", [(3, 2), (3,)], {}, "needs a third bottom with the prices"),
        ("InfogainLoss", [(3, 2), (3,), (3, 3)], {}, "2 x 2 prices, got 9"),
        ("ContrastiveLoss", [(3, 2), (3, 3), (3,)], {}, "one shape"),
        ("ContrastiveLoss", [(3, 2), (3, 2), (2,)], {}, "3 pairs need as many labels"),
        ("Crop", [(2, 5), (2, 4)], {"axis": 1, "offset": [0, 1]}, "1 or 1 values"),
    ],
)
def test_shapes_that_do_not_fit_are_explained(kind, shapes, params, complaint):
    with pytest.raises(NbcaffeError, match=complaint):
        Single(kind, shapes, **params)


@pytest.mark.parametrize("engine", ["ACCURATE", "AUTOTUNE", "CAFFE", "CUDNN", *choose.CONVOLUTIONS])
def test_a_named_engine_computes_the_same(engine):
    results, group = [], 4 if engine == "DEPTHWISE" else 2
    for name in ("PLAIN", engine):
        example = {"num_output": 4, "kernel_size": 3, "pad": 1, "group": group, "weight_filler": "xavier"}
        layer, values = build("Convolution", example | {"engine": name})
        results.append([*layer.forward(*values), *backward(layer, top_diffs(layer))[1]])
    for plain, other in zip(*results, strict=True):
        np.testing.assert_allclose(plain, other, rtol=0, atol=1e-5 * np.abs(plain).max())


def test_what_autotune_found_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(autotune, "folder", lambda: tmp_path)
    tried = []
    monkeypatch.setattr(autotune, "trial", lambda E, shape, dtype: tried.append(E) or (0 if "Blas" in str(E) else 1))
    example = {"num_output": 4, "kernel_size": 3, "weight_filler": "xavier", "engine": "AUTOTUNE"}
    for _ in range(2):
        assert Single("Convolution", [(2, 4, 6, 6)], **example).layer.engine == "BLAS"
    assert len(tried) == 3  # DIRECT, WINOGRAD, BLAS
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    Single("Convolution", [(2, 4, 6, 6)], **example)
    assert len(tried) == 6


def test_default_takes_winograd_where_it_pays_unless_told(monkeypatch):
    def chosen(**more):
        example = {"num_output": 32, "kernel_size": 3, "weight_filler": "xavier", **more}
        return Single("Convolution", [(8, 32, 10, 10)], **example).layer.engine

    assert chosen() == chosen(engine="CUDNN") == "WINOGRAD"
    assert chosen(engine="ACCURATE") == chosen(num_output=8) == chosen(stride=2) == "DIRECT"
    monkeypatch.setenv("NBCAFFE_ENGINE", "ACCURATE")
    assert chosen() == "DIRECT"
    monkeypatch.setattr(mode, "_chosen", {})
    set_engine("BLAS")
    assert chosen() == "BLAS"
    monkeypatch.setattr(mode, "_chosen", {})
    monkeypatch.setenv("NBCAFFE_ENGINE", "ACURATE")
    with pytest.raises(ConfigError, match="NBCAFFE_ENGINE=ACURATE: expected one of DEFAULT, ACCURATE"):
        chosen()
    with pytest.raises(ConfigError, match="set_engine: expected one of"):
        set_engine("FAST")


def test_an_engine_that_cannot_says_why():
    with pytest.raises(
        ConfigError,
        match=r"layer 'convolution' \(Convolution\): engine DIRECT cannot do this .*no dilation.*BLAS, PLAIN",
    ):
        Single("Convolution", [(1, 2, 5, 5)], num_output=2, kernel_size=2, dilation=2, engine="DIRECT")
    with pytest.raises(ConfigError, match="on cuda"):
        Single("InnerProduct", [(1, 2)], num_output=2, engine="BLAS", device="cuda")


def test_dropout_has_the_same_mask_on_every_target_and_another_in_each_pass():
    masks = []
    for device in ("cpu", "cuda"):
        layer = Single("Dropout", [(40,)], device=device)
        for clock in (0, 1):
            layer.device.upload(layer.layer.clock, clock)
            masks.append(layer.forward(np.ones(40))[0] != 0)
    np.testing.assert_array_equal(masks[0], masks[2])
    np.testing.assert_array_equal(masks[1], masks[3])
    assert (masks[0] != masks[1]).any()


def test_stochastic_pooling_draws_in_proportion_and_tests_with_the_mean():
    x = np.tile(np.array([[1.0, 0.0], [-2.0, 3.0]]), (1, 1, 40, 50))
    params = {"pool": "STOCHASTIC", "kernel_size": 2, "stride": 2}
    layers = {device: Single("Pooling", [x.shape], device=device, **params) for device in ("cpu", "cuda")}
    drawn, same = (layer.forward(x)[0] for layer in layers.values())
    assert set(np.unique(drawn)) == {1.0, 3.0}
    assert abs((drawn == 3.0).mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / drawn.size)
    np.testing.assert_array_equal(drawn, same)
    layers["cpu"].device.upload(layers["cpu"].layer.clock, 1)
    assert (layers["cpu"].forward(x)[0] != drawn).any()
    (mean,) = Single("Pooling", [x.shape], phase="TEST", **params).forward(x)
    np.testing.assert_allclose(mean, (1 + 9) / 4)


def test_dropout_while_testing_is_the_identity():
    layer = Single("Dropout", [(2, 3)], phase="TEST")
    np.testing.assert_array_equal(layer.forward(np.ones((2, 3)))[0], 1.0)


def test_a_second_top_of_softmax_loss_has_the_probabilities():
    layer = Single("SoftmaxWithLoss", [(2, 4), (2,)], num_top=2)
    _, probabilities = layer.forward(np.zeros((2, 4)), np.zeros(2))
    np.testing.assert_allclose(probabilities, 0.25)


def test_random_dummy_data_is_new_in_each_pass_and_the_same_again_with_the_seed():
    drawn = []
    for clock in (0, 1, 0):
        layer = Single("DummyData", [], shape=[5], data_filler="gaussian")
        layer.device.upload(layer.layer.clock, clock)
        drawn.append(layer.forward()[0])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert (drawn[0] != drawn[1]).all()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_hdf5_data_reads_its_batches_in_order(device, tmp_path):
    import h5py

    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = np.arange(10.0).reshape(5, 2), np.arange(5)
    layer = Single("HDF5Data", [], num_top=2, source=str(path), batch_size=2, device=device)
    batches = [layer.forward() for _ in range(3)]
    np.testing.assert_array_equal([label for _, label in batches], [[0, 1], [2, 3], [4, 0]])
    np.testing.assert_array_equal(batches[2][0], [[8, 9], [0, 1]])
    assert layer.layer.source.size == 5 and layer.layer.source.cursor == (1, 1)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_data_reads_what_it_was_given(device):
    layer = Single("MemoryData", [], batch_size=2, channels=1, height=1, width=3, num_top=2, device=device)
    layer.layer.set_arrays(np.arange(12.0).reshape(4, 1, 1, 3), np.arange(4))
    layer.forward()
    data, label = layer.forward()
    np.testing.assert_array_equal(data.reshape(-1), np.arange(6, 12))
    np.testing.assert_array_equal(label, [2, 3])
