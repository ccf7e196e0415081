"""What a first run says about compiling."""

from importlib import import_module
from io import StringIO

import pytest
from rich.console import Console

from nbcaffe.kernel import notify
from nbcaffe.solver.train import Compiled


@pytest.fixture(autouse=True)
def nobody_else_observes(monkeypatch):
    monkeypatch.setattr(import_module("nbcaffe.kernel"), "_observers", [])


def test_a_first_run_says_that_it_compiles_and_then_how_much():
    text = StringIO()
    compiled = Compiled(Console(file=text))
    with compiled:
        notify("relu", 0.5)
        notify("product", 2.0)
    notify("late", 0.1)  # a progress bar owns the terminal by now
    assert text.getvalue().splitlines() == ["compiling kernels for this machine; later runs find them in the cache"]
    assert compiled.note() == ["compiled 3 kernels in 2.6 s"]


def test_a_warm_run_says_nothing_of_compiling():
    text = StringIO()
    compiled = Compiled(Console(file=text))
    with compiled:
        pass
    assert (text.getvalue(), compiled.note()) == ("", [])
