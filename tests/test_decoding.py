"""Beam search against all sequences there are, and nets of one step against nets of many."""

from itertools import product

import h5py
import numpy as np
import pytest
from stand_ins import sequences

from nbcaffe.cli import main
from nbcaffe.decoding import StepNet, beam_search, decoded, edit_distance
from nbcaffe.errors import ConfigError, NumericError
from nbcaffe.net import Net

SYMBOLS, END = 4, 0


class Model:
    """Probabilities that follow from all symbols so far; each row's are its state, moved as the search says."""

    def __init__(self, rows, seed=0):
        self.so_far, self.seed = [()] * rows, seed

    def after(self, symbols):
        logits = np.random.default_rng([self.seed, len(symbols), *symbols]).standard_normal(SYMBOLS) * 2
        return logits - np.log(np.exp(logits).sum())

    def __call__(self, rows, symbols):
        self.so_far = [(*self.so_far[row], int(symbol)) for row, symbol in zip(rows, symbols, strict=True)]
        return np.array([self.after(line) for line in self.so_far])

    def score(self, symbols, length):
        """Of a whole sequence, with its end if there is room for it."""
        whole = (*symbols, END)[:length]
        return sum(self.after((1, *whole[:i]))[symbol] for i, symbol in enumerate(whole))


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_as_wide_as_all_sequences_finds_the_best_ones_in_order(seed):
    length, width = 3, 60
    found = beam_search(Model(width, seed), 1, END, width, length)[0]
    every = {s for n in range(length) for s in product(range(1, SYMBOLS), repeat=n)}
    every |= set(product(range(1, SYMBOLS), repeat=length))
    expected = sorted(every, key=lambda s: -Model(1, seed).score(s, length))
    assert [tuple(h.symbols) for h in found] == expected
    assert [h.score for h in found] == pytest.approx([Model(1, seed).score(s, length) for s in expected])


def test_width_1_takes_the_likeliest_symbol_each_time():
    model, symbols = Model(1), (1,)
    while len(symbols) < 7 and (symbols[-1] != END or len(symbols) == 1):
        symbols = (*symbols, int(model.after(symbols).argmax()))
    (found,) = beam_search(Model(1), 1, END, 1, 6)[0]
    assert found.symbols == [s for s in symbols[1:] if s != END]


def test_sequences_beside_each_other_do_not_touch():
    class Two(Model):
        def __call__(self, rows, symbols):
            assert all(row // 3 == k // 3 for k, row in enumerate(rows))
            return super().__call__(rows, symbols)

    both = beam_search(Two(6), 1, END, 3, 5, sequences=2)
    assert both[0] == both[1] == beam_search(Model(3), 1, END, 3, 5)[0]


def test_nan_and_widths_that_hold_nothing_are_errors():
    with pytest.raises(NumericError, match="step 0 is NaN"):
        beam_search(lambda rows, symbols: np.full((1, 3), np.nan), 0, 0, 1, 4)
    with pytest.raises(ConfigError, match="at least 1, got 0 and 4"):
        beam_search(Model(1), 0, 0, 0, 4)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("flaw", "lawn", 2)],
)
def test_edit_distance(a, b, distance):
    assert edit_distance(a, b) == edit_distance(b, a) == distance


DECODER = """
layers:
  - {name: phones, type: Embed, bottom: target_input, input_dim: 4, num_output: 3, weight_filler: xavier}
  - unroll:
      name: decoder
      inputs: {y: phones}
      state: {h: {next: h_new, init: h_0}}
      outputs: {h_new: said}
      last: {h_new: h_T}
      layers:
        - {name: look, type: Attention, bottom: [h, memory, lengths]}
        - {name: both, type: Concat, bottom: [y, h, look]}
        - {name: sum, type: InnerProduct, num_output: 5, weight_filler: {type: gaussian, std: 0.7}}
        - {name: h_new, type: TanH}
  - {name: scores, type: InnerProduct, bottom: said, axis: 2, num_output: 4, weight_filler: {type: gaussian, std: 2}}
"""
NET = """
name: pair
layers:
  - {name: words, type: Sequences, top: [data, lengths, target, target_input], source: words.h5, batch_size: 4,
     steps: 6, target_steps: 7}
  - {name: memory, type: Embed, bottom: data, input_dim: 5, num_output: 5, weight_filler: {type: gaussian}}
  - unroll:
      {name: encoder, inputs: {x: memory}, state: {h: {next: h_new, num_output: 5}}, lengths: lengths,
       last: {h_new: h_0}, layers: [{name: sum, type: Eltwise, bottom: [x, h]}, {name: h_new, type: TanH}]}
  - include: decoder.yaml
  - {name: loss, type: SoftmaxWithLoss, bottom: [scores, target], axis: 2,
     loss_param: {ignore_label: -1, normalization: NONE}}
  - {name: silence, type: Silence, bottom: h_T}
"""
STEP = """
name: step
layers:
  - {name: begin, type: Input, top: [target_input, lengths, h_0, memory], shape: [[1, 1], [1], [1, 5], [6, 1, 5]]}
  - include: decoder.yaml
"""


@pytest.fixture
def folder(tmp_path):
    for name, text in (("net", NET), ("step", STEP), ("decoder", DECODER)):
        (tmp_path / f"{name}.yaml").write_text(text)
    rng = np.random.default_rng(3)
    data = [rng.integers(0, 5, n) for n in (6, 2, 4, 1, 3, 5)]
    sequences(tmp_path / "words.h5", data, [[*rng.integers(1, 4, n), 0] for n in (1, 6, 3, 2, 4, 5)])
    return tmp_path


def test_one_step_at_a_time_scores_as_all_steps_at_once(folder):
    """What the search says of its best sequences, the net with these as targets says, too."""
    net = Net(folder / "net.yaml", "TEST", seed=9)
    pairs = list(decoded(net, StepNet(folder / "step.yaml", net), 3))
    assert [len(reference) for reference, _ in pairs] == [1, 6, 3, 2, 4, 5]
    best = [hypotheses[0] for _, hypotheses in pairs]
    with h5py.File(folder / "words.h5") as file:
        data = np.split(file["data"][:], file["offsets"][1:-1])
    sequences(folder / "words.h5", data, [[*h.symbols, 0][:7] for h in best])
    again = Net(folder / "net.yaml", "TEST", seed=9)
    again.set_batch(1)
    losses = [float(again.forward()["loss"]) for _ in best]
    assert losses == pytest.approx([-h.score for h in best], rel=1e-4)
    assert len({tuple(h.symbols) for h in best}) > 3


def test_what_a_step_net_lacks_is_named(folder):
    net = Net(folder / "net.yaml", "TEST", seed=9)
    with pytest.raises(ConfigError, match="no input 'target_inputs', did you mean 'target_input'"):
        StepNet(folder / "step.yaml", net, "target_inputs")
    (folder / "decoder.yaml").write_text(DECODER.replace("h_0", "h_1"))
    (folder / "step.yaml").write_text(STEP.replace("h_0", "h_1"))
    with pytest.raises(ConfigError, match="input 'h_1' is no blob of net 'pair'"):
        StepNet(folder / "step.yaml", net)
    (folder / "step.yaml").write_text(STEP.replace("h_0", "h_1") + "  - {name: more, type: TanH, bottom: h_1}\n")
    with pytest.raises(ConfigError, match="expected one output beside last states, got scores, more"):
        StepNet(folder / "step.yaml", net)


def test_the_verb_prints_rates_and_writes_what_it_found(folder, capsys):
    code = main(
        ["decode", str(folder / "net.yaml"), str(folder / "step.yaml"), "--beam", "2", "--to", str(folder / "o")]
    )
    out = capsys.readouterr().out
    assert code == 0 and "6 sequences, beam 2: symbol error rate" in out and "untrained weights" in out
    head, *lines = (folder / "o").read_text().splitlines()
    assert head.split("\t") == ["wanted", "found", "errors", "log probability"] and len(lines) == 6
    assert main(["decode", str(folder / "net.yaml"), str(folder / "step.yaml"), "--target", "targets"]) == 2
    assert "no blob 'targets', did you mean 'target'" in capsys.readouterr().err


def test_files_are_neither_replaced_nor_written_where_there_is_no_folder(folder, capsys):
    verb = ["decode", str(folder / "net.yaml"), str(folder / "step.yaml"), "--beam", "1", "--to"]
    assert main([*verb, str(folder / "none" / "o")]) == 2
    assert "could not be written: No such file or directory" in capsys.readouterr().err
    assert main([*verb, str(folder / "words.h5")]) == 2
    assert "is there already; --force replaces it" in capsys.readouterr().err
    assert main([*verb, str(folder / "o"), "--beam", "0"]) == 2
    assert "--beam: expected at least 1, got 0" in capsys.readouterr().err
    assert not (folder / "o").exists()
