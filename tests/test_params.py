"""Declared parameters: what they accept, what they refuse and how they say it."""

import math

import pytest

from nbcaffe.params import (
    REQUIRED,
    Bool,
    Choice,
    Filler,
    FillerSpec,
    Float,
    Floats,
    Int,
    Ints,
    Pair,
    Param,
    ParamError,
    Shapes,
    Str,
    Strs,
    bind,
    did_you_mean,
    invalid_values,
)
from nbcaffe.yamlfile import load


class Layer:
    num_output = Int(ge=1, doc="number of filters")
    stride = Pair((1, 1), ge=1)
    pool = Choice("MAX", "AVE")
    weight_filler = Filler("constant")
    axis = Int(None)


DECLARED = {key: param for key, param in vars(Layer).items() if isinstance(param, Param)}
EACH_KIND = [
    Int(0, ge=0),
    Float(0.5, ge=0, le=1),
    Float(0.5, gt=0, lt=1),
    Bool(True),
    Str(""),
    Choice("A", "B"),
    Pair(1, ge=1),
    Ints(1, ge=1),
    Floats(1.0, gt=0),
    Strs(""),
    Shapes(None, ge=0),
    Filler("xavier"),
]


@pytest.mark.parametrize("param", EACH_KIND, ids=lambda p: type(p).__name__)
def test_every_invalid_value_is_refused_with_the_name_and_what_was_expected(param):
    param.name = "some_key"
    assert invalid_values(param)
    for value in invalid_values(param):
        with pytest.raises(ParamError, match="some_key: ") as caught:
            param.check(value)
        assert caught.value.key == "some_key"


@pytest.mark.parametrize(
    ("param", "given", "value"),
    [
        (Float(), 2, 2.0),
        (Pair(), 3, (3, 3)),
        (Pair(), [3, 5], (3, 5)),
        (Pair(), [3], (3, 3)),
        (Ints(), 2, (2,)),
        (Ints(), [2, 3, 4], (2, 3, 4)),
        (Floats(), [1, 0.5], (1.0, 0.5)),
        (Strs(), "a", ("a",)),
        (Shapes(), [2, 3], ((2, 3),)),
        (Shapes(), [[2, 3], [2]], ((2, 3), (2,))),
        (Shapes(), {"dim": [2, 3]}, ((2, 3),)),
        (Shapes(), [{"dim": [2, 3]}, {"dim": 2}], ((2, 3), (2,))),
        (Shapes(), [[]], ((),)),
        (Filler(), "xavier", FillerSpec("xavier")),
        (Filler(), {"type": "gaussian", "std": 0.01}, FillerSpec("gaussian", std=0.01)),
        (Filler(), {"value": 0.2}, FillerSpec("constant", 0.2)),
    ],
)
def test_a_value_is_converted_to_what_layers_use(param, given, value):
    assert param.check(given) == value
    assert type(param.check(given)) is type(value)


def test_on_the_class_a_parameter_is_its_declaration_and_on_an_instance_its_value():
    assert isinstance(Layer.stride, Pair)
    assert Layer().stride == (1, 1)
    layer = Layer()
    layer.stride = (2, 2)
    assert layer.stride == (2, 2)


def test_a_required_parameter_has_no_value_before_it_is_given():
    assert Layer.num_output.default is REQUIRED
    assert not hasattr(Layer(), "num_output")


def test_bind_gives_every_parameter_a_value():
    values, errors = bind(DECLARED, {"num_output": 3, "stride": [1, 2]}, "Layer")
    assert not errors
    assert values == {"num_output": 3, "stride": (1, 2), "pool": "MAX", "weight_filler": FillerSpec(), "axis": None}


def test_bind_finds_all_errors_and_does_not_stop_at_the_first():
    _, errors = bind(DECLARED, {"num_ouput": 3, "stride": 0, "pool": "MAXX"}, "Layer")
    assert [str(error) for error in errors] == [
        "Layer has no parameter 'num_ouput', did you mean 'num_output'?",
        "Layer needs 'num_output': number of filters",
        "stride: expected an int or [height, width] and >= 1, got 0",
        "pool: expected one of MAX, AVE, got 'MAXX', did you mean 'MAX'?",
    ]
    assert [error.key for error in errors] == ["num_ouput", None, "stride", "pool"]


def test_nothing_means_not_given_where_that_is_the_default_and_is_an_error_elsewhere():
    assert bind(DECLARED, {"num_output": 1, "axis": None}, "Layer")[1] == []
    (error,) = bind(DECLARED, {"num_output": 1, "stride": None}, "Layer")[1]
    assert str(error) == "stride: expected an int or [height, width] and >= 1, got nothing"


def test_a_default_that_breaks_its_own_range_is_refused_where_it_is_declared():
    with pytest.raises(ParamError):
        Int(0, ge=1)


def test_all_mistakes_in_a_filler_are_told_with_the_line_of_the_first():
    given = load("weight_filler:\n  type: gausian\n  stdd: 1\n")
    _, (error,) = bind({"weight_filler": Layer.weight_filler}, given, "Layer")
    assert "did you mean 'std'?" in str(error) and "did you mean 'gaussian'?" in str(error)
    assert error.at == "<text>:3"


def test_nan_is_not_a_number_to_set():
    with pytest.raises(ParamError):
        Float().check(math.nan)


def test_the_nearest_name_is_suggested_or_the_few_known_ones_or_nothing():
    assert did_you_mean("kernal_size", ["kernel_size", "stride"]) == ", did you mean 'kernel_size'?"
    assert did_you_mean("xyz", ["b", "a"]) == " (known: a, b)"
    assert did_you_mean("xyz", []) == " (there are none)"
    assert did_you_mean("xyz", map(str, range(100))) == ""
