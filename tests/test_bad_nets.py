"""Nets with mistakes: every one is told at once, with its line and what would be right."""

import pytest
from stub_layers import DATA, LENET, stub_types  # noqa: F401

from nbcaffe.errors import ConfigError
from nbcaffe.netfile import read_net


def errors(source, **keywords):
    with pytest.raises(ConfigError) as caught:
        read_net(source, **keywords)
    return str(caught.value).splitlines()


def test_all_errors_of_a_file_come_at_once_sorted_by_line(tmp_path):
    (tmp_path / "net.yaml").write_text(f"""\
nmae: typo
defaults: {{InnerProduct: {{weight_filer: xavier}}}}
layers:
  {DATA}
  - {{name: conv, type: Convolutoin, num_output: 4}}
  - {{name: ip1, type: InnerProduct, num_ouput: 500}}
  - {{name: ip2, type: InnerProduct, num_output: 0}}
  - {{name: ip2, type: InnerProduct, num_output: 1}}
  - {{name: ip3, type: InnerProduct, inner_product_param: {{num_out: 1}}, param: {{lr_mul: 0}}}}
  - name: loss
    type: SoftmaxWithLoss
    bottom: [ip3, lable]
    normalization: ALL
  - {{name: more, type: InnerProduct, num_output: 1, bottom: [ip1, ip2], top: ip3, include: {{phase: TRIAN}}}}
""")
    path = tmp_path / "net.yaml"
    assert errors(path) == [
        f"{path}:{line}"
        for line in (
            "1: a net file has no key 'nmae', did you mean 'name'?",
            "2: defaults: InnerProduct: InnerProduct has no parameter 'weight_filer', did you mean 'weight_filler'?",
            "5: layer 'conv': no layer type 'Convolutoin', did you mean 'Convolution'?",
            "6: layer 'ip1': InnerProduct has no parameter 'num_ouput', did you mean 'num_output'?",
            "7: layer 'ip2': num_output: expected an int and >= 1, got 0",
            f"8: layer 'ip2' is already defined at {path}:7",
            "9: layer 'ip3': inner_product_param has no field 'num_out', did you mean 'num_output'?",
            "9: layer 'ip3': param: it has no parameter 'lr_mul', did you mean 'lr_mult'?",
            "12: layer 'loss' reads blob 'lable', which no earlier layer makes, did you mean 'label'?",
            "13: layer 'loss': normalization: expected one of VALID, FULL, BATCH_SIZE, NONE, got 'ALL'",
            "14: layer 'more': include: phase: expected one of TRAIN, TEST, got 'TRIAN', did you mean 'TRAIN'?",
            "14: layer 'more': InnerProduct takes 1 bottom, got 2 (ip1, ip2)",
            f"14: layer 'more': blob 'ip3' is already made by layer 'ip3' at {path}:9",
        )
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "{name: a, type: ReLU, bottom: b}\n- {name: b, type: ReLU}",
            "blob 'b', which no earlier layer makes: layer 'b' makes it later",
        ),
        ("{name: a, type: ReLU, bottom: a}", "reads blob 'a', which no earlier layer makes: it is the layer's own top"),
        ("{name: a, type: SoftmaxWithLoss}", "layer 'a': SoftmaxWithLoss takes 2 to 3 bottoms, got none"),
        ("{name: a, type: Silence, bottom: label, top: x}", "layer 'a': Silence takes no tops, got 1 (x)"),
        ("{name: a, type: ReLU, top: [x, y]}", "layer 'a': ReLU takes 1 top, got 2 (x, y)"),
        (
            "{name: a, type: Convolution, num_output: 1, bottom: data, top: data}",
            "layer 'a': Convolution cannot run in place on blob 'data'",
        ),
        (
            "{name: q, type: Silence, bottom: data}\n- {name: a, type: ReLU, bottom: data, top: data}",
            "layer 'a' overwrites blob 'data', which layer 'q' needs too",
        ),
        (
            "{name: a, type: ReLU, loss_weight: [1, 2]}",
            "layer 'a': loss_weight: expected 1 value, one for each top, got 2",
        ),
        (
            "{name: a, type: ReLU, propagate_down: [true, true]}",
            "propagate_down: expected 1 value, one for each bottom",
        ),
        ("{name: a, type: ReLU, propagate_down: 1}", "propagate_down: expected true, false or a list of them, got 1"),
        (
            "{name: a, type: ReLU, include: {phase: TEST}, exclude: {stage: x}}",
            "expected include or exclude rules, got both",
        ),
        (
            "{name: a, type: ReLU, include: TEST}",
            "include: expected a rule like {phase: TRAIN}, or a list of rules, got 'TEST'",
        ),
        (
            "{name: a, type: ReLU, negativ_slope: 1}",
            "layer 'a': ReLU has no parameter 'negativ_slope', did you mean 'negative_slope'?",
        ),
        ("{name: a, type: ReLU, relu_parm: {x: 1}}", "ReLU has no parameter 'relu_parm', did you mean 'relu_param'?"),
        ("{name: a, type: ReLU, relu_param: 1}", "layer 'a': relu_param: expected a mapping, got 1"),
        (
            "{name: a, type: ReLU, negative_slope: 1, relu_param: {negative_slope: 1}}",
            "'negative_slope' is already set at",
        ),
        ("{name: a}", "layer 'a' needs a type"),
        ("{type: ReLU}", "a layer of type ReLU needs a name"),
        ("{name: 1, type: ReLU}", "name: expected a string, got 1"),
        ("{name: a, type: 3}", "layer 'a': type: expected a string, got 3"),
        ("just words", "expected a layer like {name: conv1, type: Convolution}, got 'just words'"),
        ("{repeat: -1, layers: []}", "repeat: expected a number or a list of values, got -1"),
        ("{repeat: 2, layers: [], indx: j}", "repeat: no key 'indx', did you mean 'index'?"),
        ("{repeat: 2, layers: {name: a}}", "layers: expected a list of layers"),
        ("{use: nothing}", "use: no template 'nothing' (there are none)"),
        ("{template: t, args: {w: }, layers: []}\n- {use: t}", "template 't' needs 'w'"),
        (
            "{template: t, args: {w: 1}, layers: []}\n- {use: t, ww: 2}",
            "template 't' has no argument 'ww', did you mean 'w'?",
        ),
        ("{template: t, layers: [{use: t}]}\n- {use: t}", "template 't' uses itself"),
        ("{include: nothing.yaml}", "include: nothing.yaml: no such file"),
        ("{name: $x, type: ReLU}", "no variable 'x' in $x (there are none) ($$ stands for a dollar sign)"),
        ("{name: 'r${1 / 0}', type: ReLU}", "cannot compute ${1 / 0}: division by zero"),
        ("{name: 'r${f(1)}', type: ReLU}", "cannot compute ${f(1)}: expected a name or arithmetic"),
    ],
)
def test_a_mistake_is_named_with_its_line(line, message):
    found = errors(f"layers:\n{DATA}\n- {line}\n")
    assert any(message in error for error in found), found
    assert all(error.startswith("<text>:") for error in found)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("conv1.num_ouput=1", "layer 'conv1': Convolution has no parameter 'num_ouput', did you mean 'num_output'?"),
        ("conv1.num_output=0", "layer 'conv1': num_output: expected an int and >= 1, got 0"),
        ("conv2.num_output=1", "no layer 'conv2', did you mean 'conv1'?"),
        ("conv1=1", "expected layer.key=value, as in conv1.num_output=64"),
        ("conv1.num_output", "expected layer.key=value"),
        ("conv1.num_output=[1", "not YAML"),
        ("conv1.type=ReLU", "the type of a layer cannot be set"),
        ("ip1.weight_filler.std=1", "weight_filler: has no 'std' to set, it is 'xavier'"),
        ("vars.x=1", "the file has no variable 'x'"),
    ],
)
def test_a_wrong_override_is_named_as_it_was_typed(override, message):
    (error,) = errors(LENET, overrides=[override])
    assert error.startswith(f"--set {override}") and message in error


def test_freezing_an_unknown_layer_is_an_error():
    assert errors("freeze: [conv]\n" + LENET) == ["<text>:1: freeze: no layer 'conv', did you mean 'conv1'?"]


def test_an_import_that_fails_says_where_and_does_not_blame_the_layers(tmp_path):
    (tmp_path / "bad.py").write_text("x = 1\ny = undefined\n")
    (tmp_path / "net.yaml").write_text(
        f"import: [bad.py, none.py]\nlayers:\n  {DATA}\n  - {{name: mine, type: Mine, size: 3}}\n"
    )
    first, second = errors(tmp_path / "net.yaml")
    assert first == f"{tmp_path}/net.yaml:1: import: {tmp_path}/bad.py:2: NameError: name 'undefined' is not defined"
    assert second == f"{tmp_path}/net.yaml:1: import: {tmp_path}/none.py: no such file"


def test_a_file_that_includes_itself_is_an_error(tmp_path):
    (tmp_path / "a.yaml").write_text("include: b.yaml\n")
    (tmp_path / "b.yaml").write_text("include: a.yaml\n")
    assert any("a.yaml includes itself" in error for error in errors(tmp_path / "a.yaml"))


def test_a_solver_file_says_where_its_net_is():
    assert errors("net: nets/lenet.yaml\nbase_lr: 0.1\n") == [
        "<text>:1: this is a solver file; its net is nets/lenet.yaml"
    ]


def test_a_default_bottom_that_depends_on_the_phase_must_be_written():
    (error,) = errors(LENET.replace("  - {name: loss", "  - {name: relu, type: ReLU}\n  - {name: loss"))
    assert error == (
        "<text>:9: layer 'relu': the layer before it depends on the phase: name its bottom, "
        "'ip1' (of layer 'ip1') or 'accuracy' (of layer 'accuracy')"
    )
