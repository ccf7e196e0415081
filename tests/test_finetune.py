"""Fine-tuning: weights by name, what is started anew, what is frozen, and features of a trained net."""

import numpy as np
import pytest

import nbcaffe
from nbcaffe.errors import ConfigError, DataError, SnapshotError

TRUNK = """
layers:
  - {name: data, type: Input, top: [data, label], shape: [[4, 1, 6, 6], [4]]}
  - {name: conv1, type: Convolution, bottom: data, num_output: 3, kernel_size: 3, weight_filler: xavier}
  - {name: relu1, type: ReLU}
  - {name: conv2, type: Convolution, num_output: 2, kernel_size: 3, weight_filler: xavier}
  - {name: ip1, type: InnerProduct, num_output: 5, weight_filler: xavier}
  - {name: HEAD, type: InnerProduct, num_output: CLASSES, weight_filler: xavier}
  - {name: loss, type: SoftmaxWithLoss, bottom: [HEAD, label]}
"""


def net(head="ip2", classes=3, **options):
    return nbcaffe.Net(TRUNK.replace("HEAD", head).replace("CLASSES", str(classes)), **options)


def values(net):
    return {name: [np.array(w.data) for w in weights] for name, weights in net.params.items()}


def equal(ours, theirs, layers):
    return all((a == b).all() for name in layers for a, b in zip(ours[name], theirs[name], strict=True))


# Weights by name


def test_the_report_says_what_matched_what_is_missing_and_what_was_not_used(tmp_path):
    old, new = net(seed=1), net("ip3", 7, seed=2)
    old.save(tmp_path / "old.h5")
    report = new.copy_from(tmp_path / "old.h5")
    assert report.matched == ["conv1", "conv2", "ip1"]
    assert (report.missing, report.unused, report.reinit, report.misshaped) == (["ip3"], ["ip2"], [], {})
    assert str(report) == (
        "matched: conv1, conv2, ip1; "
        "warning: without weights in the file, so with their initial values: ip3; unused: ip2"
    )
    assert equal(values(new), values(old), report.matched)


def test_weights_of_another_shape_are_an_error_that_copies_nothing_and_says_how_to_go_on(tmp_path):
    old, new = net(seed=1), net(classes=7, seed=2)
    old.save(tmp_path / "old.h5")
    before = values(new)
    with pytest.raises(SnapshotError) as error:
        new.copy_from(tmp_path / "old.h5")
    assert str(error.value) == (
        "weights do not fit, nothing was copied:\n"
        f"  layer 'ip2': 7x5, 7 in the net, 3x5, 3 in {tmp_path / 'old.h5'}\n"
        "  matched: conv1, conv2, ip1\n"
        "to start these layers anew, rename them in the net, or name them: --reinit ip2"
    )
    assert equal(values(new), before, before)


def test_layers_to_start_anew_keep_their_initial_values_and_are_listed(tmp_path):
    old, new = net(seed=1), net(classes=7, seed=2)
    before = values(new)
    report = new.copy_from(old, reinit=["ip*"])
    assert report.matched == ["conv1", "conv2"] and report.reinit == ["ip1", "ip2"]
    assert report.misshaped == {"ip2": "7x5, 7 in the net, 3x5, 3 in net ''"}
    assert "initialised anew: ip1, ip2 (7x5, 7 in the net" in str(report)
    assert equal(values(new), before, report.reinit) and equal(values(new), values(old), report.matched)


def test_a_wrong_name_to_start_anew_is_an_error_with_the_nearest():
    with pytest.raises(ConfigError, match=r"reinit: no layer 'ip3' with weights, did you mean 'ip2'\?"):
        net().copy_from(net(), reinit=["ip3"])
    with pytest.raises(ConfigError, match="no layer 'relu1' with weights"):
        net().copy_from(net(), reinit="relu1")


@pytest.mark.parametrize("listed", [False, True])
def test_of_several_files_the_later_one_wins_layer_by_layer(tmp_path, listed):
    a, b, new = net(seed=1), net("ip3", 7, seed=2), net("ip3", 7, seed=3)
    a.save(tmp_path / "a.h5")
    b.save(tmp_path / "b.h5")
    names = [str(tmp_path / "b.h5"), str(tmp_path / "a.h5")]
    report = new.copy_from(names if listed else ",".join(names))
    assert report.missing == [] and report.unused == ["ip2"]
    assert equal(values(new), values(a), ["conv1", "conv2", "ip1"]) and equal(values(new), values(b), ["ip3"])


def test_a_file_whose_name_holds_a_comma_is_one_file(tmp_path):
    net(seed=1).save(tmp_path / "a,b.h5")
    assert net(seed=2).copy_from(str(tmp_path / "a,b.h5")).missing == []


def test_a_missing_file_is_named_with_the_nearest_beside_it(tmp_path):
    net().save(tmp_path / "lenet.h5")
    with pytest.raises(DataError, match=r"lenett\.h5: no such weight file, did you mean 'lenet\.h5'\?"):
        net().copy_from(tmp_path / "lenett.h5")


@pytest.mark.parametrize("bias", [True, False])
def test_another_number_of_weights_does_not_fit(bias, tmp_path):
    text = "layers:\n  - {name: a, type: Input, shape: [4, 3]}\n  - {name: x, type: InnerProduct, num_output: 2%s}\n"
    both = [nbcaffe.Net(text % "", nbcaffe.TEST), nbcaffe.Net(text % ", bias_term: false", nbcaffe.TEST)]
    source, target = both if bias else reversed(both)
    with pytest.raises(SnapshotError, match=r"layer 'x': 2x3(, 2)? in the net, 2x3(, 2)? in net"):
        target.copy_from(source)


@pytest.mark.parametrize("ending", ["h5", "caffemodel"])
def test_a_layer_that_borrows_its_first_weight_and_owns_its_second_is_saved_and_loaded(ending, tmp_path):
    if ending == "caffemodel":
        pytest.importorskip("google.protobuf", reason="caffemodels need the extra: pip install 'nbcaffe[caffe]'")
    text = (
        "layers:\n  - {name: a, type: Input, shape: [4, 3]}\n"
        "  - {name: x, type: InnerProduct, num_output: 3, weight_filler: xavier, param: [{name: w}, {}]}\n"
        "  - {name: y, type: InnerProduct, num_output: 3, weight_filler: xavier, param: [{name: w}, {}]}\n"
    )
    one, other = nbcaffe.Net(text, nbcaffe.TEST, seed=1), nbcaffe.Net(text, nbcaffe.TEST, seed=2)
    one.params["y"][1].data[...] = [1, 2, 3]
    one.save(tmp_path / f"w.{ending}")
    assert other.copy_from(tmp_path / f"w.{ending}").missing == []
    assert equal(values(other), values(one), ["x", "y"])


def test_a_fully_convolutional_net_takes_the_weights_of_inner_products():
    text = """
layers:
  - {{name: data, type: Input, shape: [1, 2, {size}, {size}]}}
  - {{name: {name}, type: {kind}, num_output: 3, weight_filler: gaussian}}
"""
    plain = nbcaffe.Net(text.format(size=4, name="fc", kind="InnerProduct"), nbcaffe.TEST)
    wide = nbcaffe.Net(text.format(size=7, name="fc-conv", kind="Convolution, kernel_size: 4"), nbcaffe.TEST)
    for mine, theirs in zip(wide.params["fc-conv"], plain.params["fc"], strict=True):
        mine.data.flat = theirs.data.flat
    picture = np.random.default_rng(0).standard_normal((1, 2, 7, 7)).astype(np.float32)
    everywhere = wide.forward(data=picture)["fc-conv"]
    for row, column in np.ndindex(4, 4):
        there = plain.forward(data=picture[:, :, row : row + 4, column : column + 4])["fc"]
        np.testing.assert_allclose(everywhere[:, :, row, column], there, rtol=1e-5, atol=1e-6)
