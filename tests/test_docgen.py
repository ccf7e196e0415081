"""The reference pages say what the declarations say."""

from argparse import Namespace
from pathlib import Path

import pytest

from nbcaffe import docgen
from nbcaffe.errors import DataError
from nbcaffe.params import Choice, Filler, FillerSpec, Float, Int, Ints, Pair, Str


class Declared:
    """Stands for a layer.

    With a second paragraph on ``top``.
    """

    num_output = Int(ge=1, doc="number of outputs")
    stride = Pair(1, ge=1, doc="step | stride")
    pool = Choice("MAX", "AVE", doc="what is taken of a window", group="pooling_param")
    weight_filler = Filler("constant", doc="first weights")
    axis = Ints((), doc="axes")
    source = Str(None, doc="a file")
    eps = Float(1e-10, gt=0, doc="keeps the root away from 0")

    params = {
        name: param
        for name, param in list(locals().items())
        if isinstance(param, (Int, Pair, Choice, Filler, Ints, Str, Float))
    }
    num_bottom, num_top, inplace, loss = (1, None), (0, 1), True, False
    param_group = "declared_param"
    bottom_shapes = ((2, 3),)
    examples = (
        {"num_output": 3, "bottom": [(4, 5), ()]},
        {"num_output": 3, "weight_filler": FillerSpec("gaussian", std=0.5)},
        {"num_output": 3, "weight_filler": FillerSpec("gaussian", std=0.5)},
    )


@pytest.mark.parametrize(
    "row",
    [
        "| `num_output` | an int and >= 1 | **required** | number of outputs |",
        "| `stride` | an int or [height, width] and >= 1 | `[1, 1]` | step \\| stride |",
        "| `pool` | one of MAX, AVE | `MAX` | what is taken of a window (`pooling_param` in caffe.proto) |",
        "| `weight_filler` | a filler like xavier or {type: gaussian, std: 0.01} | `constant` | first weights |",
        "| `axis` | an int or a list of ints | – | axes |",
        "| `source` | a string | – | a file |",
        "| `eps` | a float and > 0 | `1.0e-10` | keeps the root away from 0 |",
    ],
)
def test_a_parameter_is_one_row(row):
    assert row in docgen.table(Declared.params).splitlines()


def test_a_layer_shows_its_docstring_and_connections():
    section = docgen.layer_section("Declared", Declared)
    assert section.startswith("## Declared\n\nStands for a layer.\n\nWith a second paragraph on `top`.\n")
    assert "1 or more bottoms, 0 to 1 tops; may run in place; `declared_param` in caffe.proto." in section


def test_examples_are_lines_of_yaml_each_once():
    assert docgen.examples("Declared", Declared).splitlines() == [
        "- {name: declared, type: Declared, num_output: 3}  # reads 4×5 and a number",
        "- {name: declared, type: Declared, num_output: 3, weight_filler: {type: gaussian, std: 0.5}}  # reads 2×3",
    ]


@pytest.fixture
def pages(monkeypatch, tmp_path):
    """Two pages, written to a folder that docs/reference stands for."""
    monkeypatch.setattr(docgen, "reference", lambda: {"layers.md": "# Layers\none\n", "solver.md": "# Solver\n"})
    assert docgen.run(Namespace(to=str(tmp_path / "reference"), check=False)) == 0
    return tmp_path / "reference"


def check(folder):
    return docgen.run(Namespace(to=str(folder), check=True))


def test_check_agrees_with_what_was_written(pages):
    assert check(pages) == 0


def test_check_shows_each_page_that_was_edited(pages, capsys):
    (pages / "layers.md").write_text("# Layers\ntwo\n")
    assert check(pages) == 1
    said = capsys.readouterr().err
    assert "run `nbcaffe docs`" in said and "-two\n+one" in said and "solver.md" not in said
    assert (pages / "layers.md").read_text() == "# Layers\ntwo\n", "--check writes nothing"


def test_check_names_a_missing_page(pages):
    (pages / "solver.md").unlink()
    with pytest.raises(DataError, match=r"solver\.md: no such page"):
        check(pages)


def test_the_committed_reference_is_what_the_declarations_say(root):
    committed = {file.name: file.read_text(encoding="utf-8") for file in Path(root, "docs", "reference").glob("*.md")}
    assert committed == docgen.reference(), "run `nbcaffe docs` and commit docs/reference"
