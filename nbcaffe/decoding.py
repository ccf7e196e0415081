"""``nbcaffe decode``: the sequences that an encoder and its decoder make of a data set, found by beam search."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from .cache import write_atomically
from .errors import ConfigError, DataError, NumericError
from .net import Net
from .netfile import net_document, read_net
from .params import did_you_mean
from .solver.recipe_data import fetch_missing
from .solver.run_folder import weight_files
from .solver.scoring import Batches, batches
from .solver.test import count, sources
from .solver.vocabularies import vocabularies

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Hypothesis(NamedTuple):
    """Symbols without the one that ends them, and the logarithm of their probability."""

    symbols: list[int]
    score: float


# -- search, which knows nothing of nets ---------------------------------------------------------------------------


def beam_search(
    step: Step, start: int, end: int, width: int, length: int, sequences: int = 1
) -> list[list[Hypothesis]]:
    """The most probable sequences that a stepwise model makes, several at a time.

    Parameters
    ----------
    step : callable
        ``step(rows, symbols)``, both of ``sequences * width`` integers, gives logarithms of probabilities, one row for
        each, one column a symbol: what may follow ``symbols[k]``, where row k goes on from row ``rows[k]`` of the call
        before; the first call has each row go on from itself. Rows ``n * width`` to ``(n + 1) * width`` are those of
        sequence n.
    start, end : int
        The symbol that the model reads first, and the one that ends a sequence.
    width : int
        Hypotheses that are kept; 1 is greedy search.
    length : int
        The most symbols, ``end`` counted; what has not ended by then is given as it is.

    Returns
    -------
    list of list of Hypothesis
        For each sequence up to ``width``, the most probable first; of equals, the one whose symbols come first.

    Raises
    ------
    NumericError
        If the model's numbers are NaN.
    """
    if min(width, length, sequences) < 1:
        raise ConfigError(f"beam search needs a width and a length of at least 1, got {width} and {length}")
    total = np.full((sequences, width), -np.inf)
    total[:, 0] = 0.0  # in the beginning all hypotheses are the same one
    done = np.zeros((sequences, width), bool)
    said = np.full((sequences, width, length), end)
    rows, last = np.arange(sequences * width), np.full(sequences * width, start)
    first_row = np.arange(sequences)[:, None] * width
    for time in range(length):
        more = np.asarray(step(rows, last), np.float64).reshape(sequences, width, -1)
        if np.isnan(more).any():
            raise NumericError(f"beam search: a probability of step {time} is NaN; the weights are no good")
        more = np.where(done[:, :, None], np.where(np.arange(more.shape[2]) == end, 0.0, -np.inf), more)
        every = (total[:, :, None] + more).reshape(sequences, -1)
        best = np.argsort(-every, axis=1, kind="stable")[:, :width]
        parent, symbol = np.divmod(best, more.shape[2])
        total = np.take_along_axis(every, best, 1)
        said = np.take_along_axis(said, parent[:, :, None], 1)
        said[:, :, time] = symbol
        done = np.take_along_axis(done, parent, 1) | (symbol == end)
        if (done | np.isinf(total)).all():
            break
        rows, last = (first_row + parent).ravel(), symbol.ravel()
    return [
        [
            Hypothesis(until(line, end), float(score))
            for line, score in zip(lines, scores, strict=True)
            if score > -np.inf
        ]
        for lines, scores in zip(said, total, strict=True)
    ]


def until(symbols: Sequence[int] | np.ndarray, end: int) -> list[int]:
    """The symbols before the first ``end``."""
    symbols = [int(symbol) for symbol in symbols]
    return symbols[: symbols.index(end)] if end in symbols else symbols


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Insertions, deletions and replacements that turn one sequence into the other (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


# -- nets ------------------------------------------------------------------------------------------------------------


class StepNet:
    """A decoder of one time step, as :func:`beam_search` drives it.

    Its inputs are the first values of states (``init`` of an ``unroll`` block, whose ``last`` gives what the next step
    begins with), the symbol (1, N), and blobs that the ``encoder`` net makes under the same names. Its one other
    output has the scores of all symbols.

    Parameters
    ----------
    source : path, YAML text, mapping or NetSpec
        The net.
    encoder : Net
        What makes the rest; the weights are its own.
    symbol : str
        The input that is the last symbol.
    """

    def __init__(self, source: Any, encoder: Net, symbol: str = "target_input", overrides: Sequence[str] = ()):
        spec = read_net(source, overrides)
        self.net = Net(spec, "TEST", device=encoder.device, share=encoder, dtype=encoder.dtype)
        self.encoder, self.symbol = encoder, symbol
        blocks = [layer.block for layer in spec.layers if layer.block]
        self.states = {
            state.blob: block.last[state.next]
            for block in blocks
            for state in block.state
            if state.blob in self.net.inputs and state.next in block.last
        }
        self.given = [name for name in self.net.inputs if name != symbol]
        scores = [name for name in self.net.outputs if name not in (*self.states.values(), *self.net.inputs)]
        who = f"step net {spec.name!r}"
        if symbol not in self.net.inputs:
            raise ConfigError(f"{who} has no input {symbol!r}{did_you_mean(symbol, self.net.inputs)}")
        if len(scores) != 1:
            raise ConfigError(f"{who}: expected one output beside last states, got {', '.join(scores) or 'none'}")
        for name in self.given:
            if name not in encoder.blobs:
                raise ConfigError(
                    f"{who}: input {name!r} is no blob of net {encoder.name!r}{did_you_mean(name, encoder.blobs)}"
                )
        self.scores = scores[0]
        self.axes = axes_of_samples(encoder, self.given)

    def begin(self, width: int) -> int:
        """Take over what the encoder made of its batch, ``width`` times for each sequence; says how many there are."""
        found = {name: self.encoder.device.download(self.encoder.blobs[name].data) for name in self.given}
        sequences = next(found[name].shape[axis] for name, axis in self.axes.items())
        values = {name: np.repeat(found[name], width, axis=axis) for name, axis in self.axes.items()}
        for name, value in values.items():
            self.net.blobs[name].reshape(*value.shape)
        self.net.blobs[self.symbol].reshape(1, sequences * width)
        self.net.reshape()
        for name, value in values.items():
            self.net.device.upload(self.net.blobs[name].data, value)
        self.fresh = True
        return sequences

    def __call__(self, rows: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        read: dict[str, Any] = {self.symbol: symbols[None]}
        if not self.fresh:
            for first, last in self.states.items():
                read[first] = self.net.device.download(self.net.blobs[last].data)[rows]
        self.fresh = False
        self.net.forward(**read)
        scores = self.net.device.download(self.net.blobs[self.scores].data)[0].astype(np.float64)
        scores = scores - scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def axes_of_samples(net: Net, names: Sequence[str]) -> dict[str, int]:
    """The axis of each blob that counts samples: the one that grows with the batch."""
    batch = next((source.batch_size for source in net.sources.values()), None)
    if batch is None:
        raise ConfigError(f"net {net.name!r}: expected a data layer with a batch_size, found none")
    shapes = []
    for size in (batch + 1, batch):
        net.set_batch(size)
        shapes.append({name: net.blobs[name].shape for name in names})
    more, now = shapes
    found = {name: [i for i, n in enumerate(now[name]) if n != more[name][i]] for name in names}
    for name, axes in found.items():
        if len(axes) != 1:
            raise ConfigError(f"net {net.name!r}: blob {name!r} of shape {now[name]} has no axis of samples")
    return {name: axes[0] for name, axes in found.items()}


def decoded(
    net: Net, step: StepNet, width: int, number: Batches = "all", target: str = "target", end: int = 0
) -> Iterator[tuple[list[int], list[Hypothesis]]]:
    """What each sequence of the net's data should be, and what is found for it, the best first."""
    if target not in net.blobs:
        raise ConfigError(f"net {net.name!r} has no blob {target!r}{did_you_mean(target, net.blobs)}")
    for _ in batches(net, number):
        wanted = net.device.download(net.blobs[target].data)
        sequences = step.begin(width)
        found = beam_search(step, end, end, width, len(wanted), sequences)
        for reference, hypotheses in zip(wanted.T.copy(), found, strict=True):
            yield until(reference[reference >= 0], end), hypotheses


# -- the verb --------------------------------------------------------------------------------------------------------


def run(args: Namespace) -> int:
    """Print the errors of the best sequences found; with ``--to`` write all of them."""
    console = Console(highlight=False, soft_wrap=True)
    if args.beam < 1:
        raise ConfigError(f"--beam: expected at least 1, got {args.beam}")
    if args.to and Path(args.to).exists() and not args.force:
        raise ConfigError(f"{args.to}: is there already; --force replaces it")
    number, files = count(args.iterations), weight_files(args.weights)
    source, state, overrides = sources(args)[0]
    fetch_missing([source], overrides)
    net = Net(source, "TEST", device=args.device, level=state.level, stages=state.stage, overrides=overrides)
    report = net.copy_from(files) if files else None
    if report is None or report.missing:
        console.print(f"warning: {report or 'no --weights: these are sequences of untrained weights'}", markup=False)
    variables = net_document(args.step).get("vars") or {}
    shared = [one for one in overrides if one.partition("=")[0] in {f"vars.{name}" for name in variables}]
    step = StepNet(args.step, net, args.symbol, shared)
    known = vocabularies(net).get(args.target)
    names = known.symbols if known else None
    lines, symbols, errors, wrong, total = [], 0, 0, 0, 0
    for reference, hypotheses in decoded(net, step, args.beam, number, args.target):
        off = edit_distance(reference, hypotheses[0].symbols)
        total, symbols, errors, wrong = total + 1, symbols + len(reference), errors + off, wrong + bool(off)
        texts = [" ".join(names[s] if names else str(s) for s in found) for found in (reference, hypotheses[0].symbols)]
        lines.append("\t".join([*texts, str(off), f"{hypotheses[0].score:.4f}"]))
    if args.to:
        write(Path(args.to), ["wanted\tfound\terrors\tlog probability", *lines])
    console.print(
        f"{total} sequences, beam {args.beam}: symbol error rate {errors / max(symbols, 1):.2%}, "
        f"sequence error rate {wrong / max(total, 1):.2%}",
        markup=False,
    )
    return 0


def write(path: Path, lines: Sequence[str]) -> None:
    try:
        write_atomically(path, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise DataError(f"{path}: could not be written: {error.strerror or error}") from None
