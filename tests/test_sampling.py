"""A language model writes: the text it was trained to write, the same one from the same seed, or one clear message."""

import re
from pathlib import Path

import numpy as np
import pytest

import nbcaffe
from nbcaffe import rng
from nbcaffe.cli import main
from nbcaffe.data.vocabulary import Vocabulary
from nbcaffe.netfile import read_net
from nbcaffe.passes.phase import filter_phase
from nbcaffe.sampling import Writer, deployed, draw, symbols_of
from nbcaffe.solver.loop import Solver

CYCLE = "abcd. "
NET = """
name: tiny
layers:
  - {{name: text, type: Text, top: [data, cont, label], source: text.txt, batch_size: 4, steps: 6, unit: {unit}}}
  - {{name: embed, type: Embed, bottom: data, input_dim: {symbols}, num_output: 8, weight_filler: xavier}}
  - {{name: lstm, type: {cell}, bottom: [embed, cont], num_output: 12, weight_filler: xavier}}
  - {{name: drop, type: Dropout}}
  - {{name: scores, type: InnerProduct, axis: 2, num_output: {symbols}, weight_filler: xavier}}
  - {{name: loss, type: SoftmaxWithLoss, bottom: [scores, label], axis: 2}}
  - {{name: accuracy, type: Accuracy, bottom: [scores, label], axis: 2}}
"""


def trained(folder, text, iterations, cell="LSTM", unit="char"):
    """A solver file, and weights that a run of it has made."""
    symbols = len(set(text)) if unit == "char" else len(set(text.split()))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    (folder / "net.yaml").write_text(NET.format(symbols=symbols, cell=cell, unit=unit))
    (folder / "solver.yaml").write_text("{net: net.yaml, base_lr: 0.03, type: Adam, momentum: 0.9, max_iter: 1}")
    solver = Solver(folder / "solver.yaml")
    solver.step(iterations)
    return folder / "solver.yaml", str(solver.snapshot()).replace("solverstate", "caffemodel")


@pytest.fixture(scope="module")
def cycle(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("cycle"), CYCLE * 40, 60)


def writer(solver, weights):
    return Writer(filter_phase(read_net(solver.parent / "net.yaml"), "TEST"), [Path(weights)])


def written(capsys, solver, weights, *more):
    assert main(["sample", str(solver), "--weights", str(weights), *more]) == 0
    return capsys.readouterr().out


def complaint(capsys, solver, weights, *more):
    assert main(["sample", str(solver), "--weights", str(weights), *more]) == 2
    out, err = capsys.readouterr()
    assert not out and "Traceback" not in err
    return err


def test_at_temperature_0_it_writes_what_it_has_learned(cycle, capsys):
    assert written(capsys, *cycle, "--prime", "cd", "--length", "20", "--temperature", "0") == f"cd. {CYCLE * 3}\n"


@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU", "PeepholeLSTM"])
def test_scores_of_symbols_one_by_one_are_those_of_the_whole_window(tmp_path, cell):
    solver, weights = trained(tmp_path, "the cat sat on the mat; " * 4, 2, cell)
    whole = nbcaffe.Net(tmp_path / "net.yaml", "TEST", weights)
    whole.forward()
    one = writer(solver, weights)
    for sample in range(4):
        for time in range(6):
            index = int(whole.blobs["data"].data[time, sample])
            expected = whole.blobs["scores"].data[time, sample]
            np.testing.assert_allclose(one.read(index, goes_on=time > 0), expected, rtol=1e-4, atol=1e-6)


def test_the_same_seed_writes_the_same_text_and_another_one_another(cycle, capsys):
    def text(seed):
        return written(capsys, *cycle, "--seed", seed, "--temperature", "3", "--length", "60")

    assert text("1") == text("1") != text("2")
    assert len(text("1")) == 60 + len("\n")


def test_a_longer_text_begins_like_a_shorter_one(cycle):
    short, long = (list(writer(*cycle).write(["a"], n, 2.0, seed=5)) for n in (10, 30))
    assert short == long[:10]


def test_words_are_written_with_spaces_between(tmp_path, capsys):
    solver, weights = trained(tmp_path, "call me home . " * 40, 60, unit="word")
    prime = ("--prime", "me home", "--length", "5", "--temperature", "0")
    assert written(capsys, solver, weights, *prime) == "me home . call me home .\n"
    assert re.search("'cal'.*did you mean 'call'", complaint(capsys, solver, weights, "--prime", "cal me"))


def test_draws_follow_the_softmax_and_sharpen_as_it_gets_colder():
    scores = np.array([0.0, 1.0, 2.0, -np.inf])
    for temperature in (1e-300, 0.5, 1.0, 4.0):
        drawn = [draw(scores, temperature, u) for u in rng.uniform(7, 20000)]
        expected = np.exp((scores - 2) / temperature)
        share = np.bincount(drawn, minlength=4) / len(drawn)
        np.testing.assert_allclose(share, expected / expected.sum(), atol=0.012)
    assert draw(np.array([1.0, 3.0, 3.0]), 0, 0.99) == 1


@pytest.mark.parametrize(
    "more, message",
    [
        (["--prime", "aBc"], r"--prime: 'B', its symbol 1, is not among the 6 of the text, did you mean 'b'\?"),
        (["--prime", "ä"], r"'ä'.*did you mean 'a'\?"),
        (["--temperature", "-0.1"], "--temperature: expected a number >= 0"),
        (["--temperature", "nan"], "--temperature: expected a number >= 0"),
        (["--length", "-1"], "--length: expected a number"),
        (["--set", "lstm.num_output=13"], "layer 'lstm'"),
        (["--set", "loss.bottom=[scores, data]"], "no SoftmaxWithLoss reads 'label'"),
        (["--set", "lstm.bottom=embed"], "layer 'lstm' keeps no state"),
        (["--set", "lstm.reverse=true"], "from the end of a text to its beginning"),
        (["--set", "embed.bottom=label"], "does not depend on 'data'"),
        (["--set", "text.top=[symbols, cont, label]", "--set", "embed.bottom=symbols"], "no vocabulary of blob 'symb"),
    ],
)
def test_what_cannot_be_written_is_told_in_one_message(cycle, capsys, more, message):
    assert re.search(message, complaint(capsys, *cycle, *more), re.S)


def test_layers_without_weights_do_not_write(cycle, capsys, tmp_path):
    net = (cycle[0].parent / "net.yaml").read_text()
    (tmp_path / "net.yaml").write_text(net.replace("name: scores", "name: other").replace("[scores", "[other"))
    assert "no weights for other" in complaint(capsys, tmp_path / "net.yaml", cycle[1])


def test_weights_without_a_vocabulary_and_scores_that_are_not_finite_are_told(cycle, capsys, tmp_path):
    solver, weights = cycle
    (tmp_path / "bare.caffemodel.h5").write_bytes(Path(weights).read_bytes())
    assert "a vocabulary stands in the solver state" in complaint(capsys, solver, tmp_path / "bare.caffemodel.h5")
    assert "--weights: name" in complaint(capsys, solver, "")
    broken = writer(solver, weights)
    broken.net.params["scores"][1].data[2] = np.nan
    with pytest.raises(nbcaffe.NumericError, match="scores after symbol 'a' are not finite"):
        list(broken.write(["a"], 3))


def test_what_the_scores_do_not_depend_on_is_not_deployed(cycle):
    spec = filter_phase(read_net(cycle[0].parent / "net.yaml"), "TEST")
    names = deployed(spec)
    assert [layer.type for layer in names.spec.layers] == ["Input", "Embed", "LSTM", "Dropout", "InnerProduct"]
    assert (names.data, names.cont, names.scores) == ("data", "cont", "scores")


def test_a_prime_may_have_any_word_where_the_vocabulary_has_one_for_the_unknown():
    assert symbols_of("never heard", Vocabulary(["<unk>", "heard"], "word")) == ["never", "heard"]
