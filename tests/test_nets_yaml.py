"""Reading nets: what YAML means."""

import json

import pytest
from stub_layers import DATA, LENET, stub_types  # noqa: F401

from nbcaffe.netfile import read_net
from nbcaffe.params import FillerSpec
from nbcaffe.passes.expand import expand
from nbcaffe.yamlfile import load


def layers(text, **keywords):
    """A net from its list of layers."""
    body = "\n".join("  " + line for line in [DATA, *text.strip("\n").splitlines()])
    return read_net(f"layers:\n{body}\n", **keywords)


def test_a_bottom_defaults_to_the_first_top_before_and_a_top_to_the_layers_name():
    net = read_net(LENET)
    assert net.layer("conv1").bottom == ("data",)
    assert net.layer("pool1").bottom == ("conv1",)
    assert net.layer("ip1").top == ("ip1",)
    assert net.layer("data").bottom == ()


def test_a_layer_without_tops_gets_none():
    assert layers("- {name: quiet, type: Silence, bottom: label}").layer("quiet").top == ()


def test_flat_and_wrapped_parameters_mean_the_same():
    flat = layers("""
- {name: conv, type: Convolution, num_output: 4, kernel_size: [3, 5], weight_filler: {type: gaussian, std: 1e-2}}
- {name: loss, type: SoftmaxWithLoss, bottom: [conv, label], axis: 2, normalization: FULL, ignore_label: 3}""")
    wrapped = layers("""
- name: conv
  type: Convolution
  convolution_param: {num_output: 4, kernel_size: [3, 5], weight_filler: {type: gaussian, std: 1e-2}}
- name: loss
  type: SoftmaxWithLoss
  bottom: [conv, label]
  softmax_param: {axis: 2}
  loss_param: {normalization: FULL, ignore_label: 3}""")
    assert flat == wrapped
    assert flat.layer("conv").params["weight_filler"] == FillerSpec("gaussian", std=0.01)


def test_given_holds_only_what_the_user_wrote_and_params_everything():
    conv = read_net(LENET).layer("conv1")
    assert conv.given == {"num_output": 20, "kernel_size": 5}
    assert conv.params == {
        "num_output": 20,
        "kernel_size": (5,),
        "stride": (1,),
        "bias_term": True,
        "weight_filler": FillerSpec(),
    }


def test_repeated_fields_take_one_value_or_a_list():
    one = layers(
        "- {name: ip, type: InnerProduct, bottom: data, top: ip, num_output: 1, param: {lr_mult: 0}, "
        "loss_weight: 2, propagate_down: true, exclude: {stage: a}}"
    ).layer("ip")
    many = layers(
        "- {name: ip, type: InnerProduct, bottom: [data], top: [ip], num_output: 1, param: [{lr_mult: 0}], "
        "loss_weight: [2], propagate_down: [true], exclude: [{stage: [a]}]}"
    ).layer("ip")
    assert one == many
    assert (one.loss_weight, one.propagate_down, one.param[0].lr_mult) == ((2.0,), (True,), 0.0)


def test_defaults_stand_behind_a_layers_own_keys_and_merge_keys_work():
    net = read_net(f"""
defaults:
  InnerProduct: {{weight_filler: xavier, inner_product_param: {{num_output: 7}}, param: [{{lr_mult: 3}}]}}
layers:
  {DATA}
  - &ip {{name: a, type: InnerProduct}}
  - {{<<: *ip, name: b, num_output: 5}}
  - {{name: c, type: InnerProduct, weight_filler: constant, inner_product_param: {{num_output: 6}}}}
""")
    assert [net.layer(n).params["num_output"] for n in "abc"] == [7, 5, 6]
    assert [net.layer(n).params["weight_filler"].type for n in "abc"] == ["xavier", "xavier", "constant"]
    assert net.layer("a").param[0].lr_mult == 3.0


def test_variables_keep_their_type_as_whole_values_and_can_be_computed_with():
    net = read_net(f"""
vars: {{n: 4, twice: "${{2 * n}}", kernel: [3, 5], tag: x}}
layers:
  {DATA}
  - {{name: conv_$tag, type: Convolution, num_output: $twice, kernel_size: $kernel}}
  - {{name: "${{tag}}_1$$", type: Convolution, num_output: "${{n + 1}}"}}
""")
    assert net.layer("conv_x").params["num_output"] == 8
    assert net.layer("conv_x").params["kernel_size"] == (3, 5)
    assert net.layer("x_1$").params["num_output"] == 5


def test_repeat_makes_layers_for_each_index_or_value():
    net = layers("""
- repeat: 2
  layers:
    - {name: "conv${i + 1}", type: Convolution, num_output: 4}
    - {name: "relu${i + 1}", type: ReLU}
- {repeat: [7, 9], index: width, layers: [{name: ip$width, type: InnerProduct, num_output: $width}]}""")
    assert [layer.name for layer in net.layers[1:]] == ["conv1", "relu1", "conv2", "relu2", "ip7", "ip9"]
    assert net.layer("conv2").bottom == ("relu1",)
    assert net.layer("ip9").params["num_output"] == 9


RESIDUAL = """
- template: residual
  args: {width: 4, from: }
  layers:
    - {name: conv, type: Convolution, bottom: $from, num_output: $width}
    - {name: relu, type: ReLU, bottom: conv, top: conv}
    - {name: sum, type: Eltwise, bottom: [conv, $from]}
"""


def test_a_template_prefixes_what_it_makes_and_leaves_the_callers_blobs_alone():
    net = layers(
        RESIDUAL
        + """
- {use: residual, prefix: a/, from: data}
- {use: residual, prefix: b/, from: a/sum, width: 6}
- {use: residual, prefix: c/, from: b/conv}"""
    )
    assert [layer.name for layer in net.layers[1:4]] == ["a/conv", "a/relu", "a/sum"]
    assert net.layer("a/relu").bottom == net.layer("a/relu").top == ("a/conv",)
    assert net.layer("a/sum").bottom == ("a/conv", "data")
    assert net.layer("b/sum").bottom == ("b/conv", "a/sum")
    assert net.layer("b/conv").params["num_output"] == 6
    assert net.layer("c/sum").bottom == ("c/conv", "b/conv")


def test_templates_use_templates():
    net = layers(
        RESIDUAL
        + """
- template: stage
  args: {input: }
  layers:
    - {name: conv, type: Convolution, bottom: $input, num_output: 4}
    - {use: residual, prefix: r/, from: conv}
    - {use: residual, prefix: s/, from: $input}
- {use: stage, prefix: A/, input: data}"""
    )
    assert net.layer("A/r/sum").bottom == ("A/r/conv", "A/conv")
    assert net.layer("A/s/conv").bottom == ("data",)


def test_included_layers_come_first_or_where_they_are_named(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "data.yaml").write_text(
        f"vars: {{n: 1, m: 2}}\ndefaults: {{InnerProduct: {{num_output: $n}}}}\nlayers:\n  {DATA}\n"
    )
    (tmp_path / "parts" / "head.yaml").write_text(
        "layers:\n  - {name: loss, type: SoftmaxWithLoss, bottom: [$score, label]}\n"
    )
    (tmp_path / "net.yaml").write_text("""
vars: {n: 8, score: ip}
include: parts/data.yaml
layers:
  - {name: ip, type: InnerProduct}
  - {include: parts/head.yaml}
  - {name: after, type: InnerProduct, bottom: data, num_output: $m}
""")
    net = read_net(tmp_path / "net.yaml")
    assert [layer.name for layer in net.layers] == ["data", "ip", "loss", "after"]
    assert net.layer("ip").params["num_output"] == 8  # the including file's variables win
    assert net.layer("after").params["num_output"] == 2
    assert net.layer("loss").bottom == ("ip", "label")
    assert net.layer("loss").where == f"{tmp_path / 'parts' / 'head.yaml'}:2"


def test_imported_files_define_layers_once(tmp_path):
    (tmp_path / "my_layers.py").write_text("""
from nbcaffe.layer import REGISTRY, Layer
from nbcaffe.params import Int
REGISTRY["loads"] = REGISTRY.get("loads", 0) + 1
class OnlyInThisTest(Layer):
    size = Int(ge=1)
""")
    from nbcaffe.layer import REGISTRY

    (tmp_path / "net.yaml").write_text(
        f"import: [my_layers.py]\nlayers:\n  {DATA}\n  - {{name: mine, type: OnlyInThisTest, size: 3}}\n"
    )
    try:
        assert read_net(tmp_path / "net.yaml").layer("mine").params == {"size": 3}
        assert read_net(tmp_path / "net.yaml").imports == (str(tmp_path / "my_layers.py"),)
        assert REGISTRY["loads"] == 1
    finally:
        REGISTRY.pop("loads", None)
        REGISTRY.pop("OnlyInThisTest", None)


def test_overrides_set_flat_wrapped_and_nested_keys_and_variables():
    text = LENET.replace("name: lenet", "name: lenet\nvars: {k: 2}").replace("kernel_size: 2", "kernel_size: $k")
    net = read_net(
        text,
        overrides=[
            "conv1.num_output=64",
            "conv1.convolution_param.kernel_size=[3, 5]",
            "conv1.weight_filler.std=1e-3",
            "conv1.param.1.lr_mult=0",
            "data.batch_size=7",
            "vars.k=3",
            "loss.loss_weight=0.5",
        ],
    )
    conv = net.layer("conv1")
    assert (conv.params["num_output"], conv.params["kernel_size"]) == (64, (3, 5))
    assert conv.params["weight_filler"].std == 0.001
    assert [rule.lr_mult for rule in conv.param] == [1.0, 0.0]
    assert [layer.params["batch_size"] for layer in net.layers[:2]] == [7, 7]
    assert net.layer("pool1").params["kernel_size"] == 3
    assert net.layer("loss").loss_weight == (0.5,)


def test_freeze_stops_every_weight_of_the_named_layers():
    net = read_net("freeze: [conv*]\n" + LENET)
    assert [net.layer("conv1").param_spec(i).lr_mult for i in range(3)] == [0.0, 0.0, 0.0]
    assert net.layer("ip1").param_spec(0).lr_mult == 1.0


def test_a_solver_may_share_the_file():
    inside = "net:\n" + "".join(f"  {line}\n" for line in LENET.splitlines())
    assert (
        read_net(LENET + "solver: {base_lr: 0.1}\n") == read_net(inside + "solver: {base_lr: 0.1}\n") == read_net(LENET)
    )


def test_a_mapping_and_prototxt_names_are_read_like_a_file():
    assert read_net(json.loads(json.dumps(load(LENET)))) == read_net(LENET)
    assert read_net({"layer": load(LENET)["layers"], "name": "lenet"}) == read_net(LENET)


@pytest.mark.parametrize(
    "header",
    [
        "input: data\ninput_dim: [1, 3, 8, 8]\n",
        "input: [data]\ninput_shape: {dim: [1, 3, 8, 8]}\n",
        "input: [data]\ninput_shape: [[1, 3, 8, 8]]\n",
    ],
)
def test_old_input_headers_become_an_input_layer(header):
    net = read_net(header + "layers: [{name: conv, type: Convolution, num_output: 2}]\n")
    assert (net.layers[0].type, net.layers[0].top) == ("Input", ("data",))
    assert net.layers[0].params["shape"] == ((1, 3, 8, 8),)
    assert net.layer("conv").bottom == ("data",)


def test_an_expanded_net_reads_back_equal():
    net = read_net("force_backward: true\nfreeze: [conv1]\n" + LENET, overrides=["conv1.num_output=64"])
    text = expand(net)
    assert read_net(text) == net
    assert len(text.splitlines()) == 11
    assert "  - {name: ip1, type: InnerProduct, bottom: pool1, top: ip1, num_output: 10, weight_filler: xavier}" in (
        f"  {line}" for line in text.splitlines()
    )
