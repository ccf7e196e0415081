"""Passes over nets, held against what real Caffe does where golden data says so."""

import json
from dataclasses import replace

import h5py
import pytest
from stub_layers import stub, stub_types  # noqa: F401

from nbcaffe.errors import ConfigError
from nbcaffe.layer import REGISTRY, Layer
from nbcaffe.netfile import read_net
from nbcaffe.params import Param
from nbcaffe.passes.expand import expand
from nbcaffe.passes.inplace import plan_inplace
from nbcaffe.passes.phase import filter_phase
from nbcaffe.passes.sharing import shape_conflict, share_params
from nbcaffe.passes.splits import insert_splits
from nbcaffe.spec import ParamSpec


@pytest.fixture
def truth(golden):
    return json.loads((golden / "misc.json").read_text(encoding="utf-8"))


def net(*lines):
    data = "{name: data, type: Input, top: [data, label], shape: [[2, 3], [2]]}"
    return read_net("layers:\n" + "".join(f"  - {line}\n" for line in (data, *lines)))


# -- phases, levels, stages ----------------------------------------------------------------------------------------


def test_the_same_layers_remain_as_in_caffe(truth):
    spec = read_net(truth["net_filter"]["net_json"])
    for case in truth["net_filter"]["cases"]:
        filtered = filter_phase(spec, case["phase"], case["level"], case["stages"])
        assert [layer.name for layer in filtered.layers] == case["layers"], case


def test_a_phase_that_lacks_the_maker_of_a_blob_says_so_when_it_is_chosen():
    spec = net(
        "{name: noise, type: Input, shape: [2, 3], include: {phase: TRAIN}}", "{name: a, type: ReLU, bottom: noise}"
    )
    filter_phase(spec, "TRAIN")
    with pytest.raises(ConfigError, match=r"<text>:4: layer 'a' reads blob 'noise', which no .* in phase TEST"):
        filter_phase(spec, "TEST")


def test_a_net_without_data_in_one_phase_is_a_good_net():
    spec = read_net("""
layers:
  - {name: data, type: Data, include: {phase: TRAIN}}
  - {name: ip, type: InnerProduct, num_output: 1}
  - {name: relu, type: ReLU}
""")
    assert filter_phase(spec, "TRAIN").layer("ip").bottom == ("data",)


def test_a_filtered_net_is_text_that_reads_back_equal():
    spec = net(
        "{name: a, type: InnerProduct, bottom: data, num_output: 2}",
        "{name: aux, type: InnerProduct, bottom: data, num_output: 2, include: {phase: TRAIN}}",
    )
    spec = read_net("freeze: [aux, a]\n" + expand(spec))
    for phase in ("TRAIN", "TEST"):
        filtered = filter_phase(spec, phase)
        assert read_net(expand(filtered)) == filtered


# -- splits --------------------------------------------------------------------------------------------------------


def test_splits_are_the_ones_caffe_inserts(truth):
    case = truth["splits"]
    spec = insert_splits(read_net(case["net_json"]))
    assert [layer.name for layer in spec.layers] == case["layer_names"]
    assert [layer.type for layer in spec.layers] == case["layer_types"]
    assert {layer.name: list(layer.bottom) for layer in spec.layers} == case["bottoms"]
    assert {layer.name: list(layer.top) for layer in spec.layers} == case["tops"]
    weights = {
        blob: weight for layer in spec.layers for blob, weight in zip(layer.top, layer.loss_weights(), strict=True)
    }
    assert weights == pytest.approx(case["loss_weights"])


def test_an_explicit_loss_weight_moves_to_the_first_top_of_the_split():
    spec = insert_splits(
        net("{name: l, type: SoftmaxWithLoss, bottom: [data, label], loss_weight: 0.5}", "{name: more, type: Power}")
    )
    split = spec.layer("l_l_0_split")
    assert split.loss_weights() == (0.5, 0.0)
    assert spec.layer("more").bottom == ("l_l_0_split_1",)
    assert spec.layer("l").loss_weights() == (0.0,)  # Caffe would count it twice here


def test_a_loss_of_default_weight_that_is_read_once_needs_no_split():
    spec = net("{name: l, type: SoftmaxWithLoss, bottom: [data, label]}", "{name: more, type: Power}")
    assert insert_splits(spec) == spec
    assert spec.layer("l").loss_weights() == (1.0,)


def test_only_the_weight_of_the_split_top_moves():
    spec = insert_splits(
        net(
            "{name: l, type: SoftmaxWithLoss, bottom: [data, label], top: [l, prob], loss_weight: [2, 3]}",
            "{name: more, type: Power, bottom: prob}",
        )
    )
    assert spec.layer("l").loss_weights() == (2.0, 0.0)
    assert spec.layer("prob_l_1_split").loss_weights() == (3.0, 0.0)


def test_layers_in_place_read_what_the_last_one_wrote():
    spec = insert_splits(
        net(
            "{name: ip, type: InnerProduct, bottom: data, num_output: 2}",
            "{name: r, type: ReLU, bottom: ip, top: ip}",
            "{name: d, type: Dropout, bottom: ip, top: ip}",
            "{name: a, type: Power, bottom: ip}",
            "{name: b, type: Power, bottom: ip}",
        )
    )
    assert [layer.name for layer in spec.layers] == ["data", "ip", "r", "d", "ip_d_0_split", "a", "b"]
    assert spec.layer("d").bottom == spec.layer("d").top == ("ip",)


def test_splits_run_twice_change_nothing_more(truth):
    once = insert_splits(read_net(truth["splits"]["net_json"]))
    assert insert_splits(once) == once


def test_a_net_with_splits_is_still_text(truth):
    spec = insert_splits(read_net(truth["splits"]["net_json"]))
    assert read_net(expand(spec)) == spec


def any_type(layer):
    """A stub that takes the blobs and parameters of this layer of a golden net."""
    groups = {key: value for key, value in layer.items() if key.endswith("_param")}
    params = {name: Param(None, group=key) for key, value in groups.items() for name in value}
    loss = layer["type"].endswith("Loss")
    return stub(layer["type"], "", (0, None), (0, None), inplace=True, loss=loss, **params)


def test_whole_nets_become_the_layers_that_caffe_runs(golden, monkeypatch):
    if not (golden / "nets.h5").is_file():
        pytest.skip(f"{golden} holds no nets.h5")
    with h5py.File(golden / "nets.h5") as file:
        cases = {name: dict(group.attrs) for name, group in file.items()}
    for case, attrs in cases.items():
        wanted = json.loads(attrs["net_json"])
        for layer in wanted["layer"]:
            known = REGISTRY.get(layer["type"])
            kind = any_type(layer)
            kind.params = {**(known.params if known else {}), **kind.params}
            monkeypatch.setitem(REGISTRY, layer["type"], kind)
        spec = insert_splits(share_params(filter_phase(read_net(wanted), attrs["phase"])))
        assert [layer.name for layer in spec.layers] == json.loads(attrs["layer_names"]), case
        weights = {b: w for layer in spec.layers for b, w in zip(layer.top, layer.loss_weights(), strict=True) if w}
        assert weights == pytest.approx({b: w for b, w in json.loads(attrs["loss_weights"]).items() if w}), case


# -- shared weights ------------------------------------------------------------------------------------------------


def sharers(*rules):
    return share_params(
        net(
            *(
                f"{{name: ip{i}, type: InnerProduct, bottom: data, num_output: 2, param: {rule}}}"
                for i, rule in enumerate(rules)
            )
        )
    )


def test_the_first_layer_with_a_name_owns_the_weight():
    spec = sharers("[{name: w}, {name: b}]", "[{}, {name: w}]")
    assert [rule.owner for rule in spec.layer("ip0").param] == [None, None]
    assert [rule.owner for rule in spec.layer("ip1").param] == [None, ("ip0", 0)]


def test_a_multiplier_that_one_sharer_writes_holds_for_all():
    spec = sharers("{name: w, decay_mult: 3}", "{name: w, lr_mult: 2}", "{name: w}")
    assert {(rule.lr_mult, rule.decay_mult) for layer in spec.layers for rule in layer.param} == {(2.0, 3.0)}


@pytest.mark.parametrize("key", ["lr_mult", "decay_mult"])
def test_two_different_multipliers_conflict_even_if_one_is_the_default(key):
    message = f"<text>:4: layer 'ip1': shared param 'w' has {key} 1 here, but 2 in layer 'ip0'"
    with pytest.raises(ConfigError, match=message):
        sharers(f"{{name: w, {key}: 2}}", f"{{name: w, {key}: 1}}")
    sharers(f"{{name: w, {key}: 2}}", f"{{name: w, {key}: 2.0}}")


def test_all_conflicts_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        sharers("{name: w, lr_mult: 2, decay_mult: 1}", "{name: w, lr_mult: 1, decay_mult: 0}")
    assert len(str(caught.value).splitlines()) == 2


def test_strict_sharing_asks_for_one_shape_and_permissive_for_one_count():
    strict, loose = ParamSpec("w", owner=("ip", 0)), ParamSpec("w", "PERMISSIVE", owner=("ip", 0))
    assert shape_conflict(strict, (2, 3), (2, 3)) is None
    assert shape_conflict(strict, (2, 3), (3, 2)) == (
        "shared param 'w' has another shape here (3, 2) than in layer 'ip' (2, 3)"
    )
    assert shape_conflict(loose, (2, 3), (3, 2)) is None
    assert "another count" in shape_conflict(loose, (2, 3), (3, 3))


def test_a_frozen_sharer_freezes_the_weight():
    spec = net(
        "{name: a, type: InnerProduct, bottom: data, num_output: 2, param: {name: w}}",
        "{name: b, type: InnerProduct, bottom: data, num_output: 2, param: {name: w}}",
    )
    spec = replace(spec, layers=tuple(replace(layer, frozen=layer.name == "b") for layer in spec.layers))
    assert {rule.lr_mult for layer in share_params(spec).layers for rule in layer.param} == {0.0}


# -- in place ------------------------------------------------------------------------------------------------------


IP = "{name: ip, type: InnerProduct, bottom: data, num_output: 2}"


@pytest.mark.parametrize(
    ("why", "expected", "lines"),
    [
        ("nobody else reads the bottom", {"r"}, [IP, "{name: r, type: ReLU}"]),
        ("each of a chain is safe by itself", {"d", "r"}, [IP, "{name: d, type: Dropout}", "{name: r, type: ReLU}"]),
        ("ReLU's backward pass reads its top", {"r"}, [IP, "{name: r, type: ReLU}", "{name: d, type: Dropout}"]),
        ("Swish's backward pass reads its bottom", set(), [IP, "{name: s, type: Swish}"]),
        (
            "another layer reads the bottom",
            set(),
            [IP, "{name: r, type: ReLU}", "{name: q, type: Silence, bottom: ip}"],
        ),
        ("the user fills the bottom", set(), ["{name: r, type: ReLU, bottom: data}"]),
        ("a view's memory is its bottom's", {"r"}, [IP, "{name: f, type: Flatten}", "{name: r, type: ReLU}"]),
        ("a view of an input is an input", set(), ["{name: f, type: Flatten, bottom: data}", "{name: r, type: ReLU}"]),
        (
            "the top of a Split is its siblings'",
            set(),
            [IP, "{name: r, type: ReLU}", "{name: e, type: Eltwise, bottom: [r, ip]}"],
        ),
        ("the type never runs in place", set(), [IP, "{name: e, type: Reduction}"]),
        (
            "the loss needs the bottom",
            set(),
            [IP, "{name: p, type: Reduction, loss_weight: 1}", "{name: r, type: ReLU}"],
        ),
        ("it is in place already", set(), [IP, "{name: r, type: ReLU, bottom: ip, top: ip}"]),
    ],
)
def test_a_layer_runs_in_place_only_if_nobody_needs_its_bottom(why, expected, lines):
    assert plan_inplace(insert_splits(net(*lines))) == expected, why


def test_without_a_backward_pass_only_readers_count():
    spec = insert_splits(net(IP, "{name: s, type: Swish}", "{name: r, type: ReLU}", "{name: d, type: Dropout}"))
    assert plan_inplace(spec, backward=False) == {"s", "r", "d"}


def test_a_blob_to_keep_is_not_overwritten():
    spec = net(IP, "{name: r, type: ReLU}")
    assert plan_inplace(spec, keep=["ip"]) == set()


def test_passes_leave_their_argument_alone(truth):
    spec = read_net(truth["splits"]["net_json"])
    before = expand(spec)
    insert_splits(spec), share_params(spec), plan_inplace(spec), filter_phase(spec, "TRAIN")
    assert expand(spec) == before


def test_the_stubs_declare_nothing_that_real_layers_do_not_have():
    declared = {key for kind in REGISTRY.values() for key in vars(kind) if not key.startswith("__")}
    assert declared and all(hasattr(Layer, key) for key in declared)
