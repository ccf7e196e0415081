"""`nbcaffe new-layer` writes a file that works at once, and explains a name that cannot be one."""

import subprocess
import sys

import pytest

from nbcaffe.cli import main
from nbcaffe.layer import REGISTRY


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_is_short_and_passes_every_check_as_it_is(folder, capsys):
    assert main(["new-layer", "MyAct"]) == 0
    said = capsys.readouterr().out
    assert "nbcaffe check my_act.py" in said and "import: [my_act.py]" in said
    assert len((folder / "my_act.py").read_text().splitlines()) <= 13
    command = [sys.executable, "-m", "nbcaffe", "check", "my_act.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0 and "all passed" in done.stdout, done.stdout + done.stderr
    assert "cpu = " in done.stdout and "found 1 at 0" in done.stdout


def test_a_net_uses_the_new_layer_as_the_message_says(folder, capsys):
    main(["new-layer", "MyAct"])
    said = capsys.readouterr().out
    lines = said[said.index("  import:") :].splitlines()
    data = "    - {name: data, type: Input, top: x, shape: [[2, 3]]}"
    (folder / "net.yaml").write_text("\n".join(line[2:] for line in [*lines[:2], data, *lines[2:]]))
    try:
        assert main(["show", "net.yaml"]) == 0
    finally:
        REGISTRY.pop("MyAct", None)


def test_a_file_that_is_there_is_not_touched(folder, capsys):
    (folder / "mine.py").write_text("precious")
    assert main(["new-layer", "MyAct", "--to", "mine.py"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (folder / "mine.py").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("lambda", "a word of Python"),
        ("my act", "try 'myact'"),
        ("3x", "try 'x'"),
        ("-", "try 'MyAct'"),
        ("ReLU", "a layer type of nbcaffe already; try 'MyReLU'"),
        ("Activation", "a name that the file imports"),
    ],
)
def test_a_name_that_cannot_be_one_is_explained(folder, capsys, name, complaint):
    assert main(["new-layer", "--", name]) == 2
    assert complaint in capsys.readouterr().err
    assert not list(folder.iterdir())
