"""``nbcaffe sample``: a language model writes a text, symbol by symbol."""

from __future__ import annotations

import math
import unicodedata
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import rng
from .data.text import WORD
from .data.vocabulary import UNKNOWN, Vocabulary
from .errors import ConfigError, DataError, NumericError, SnapshotError
from .layer import REGISTRY
from .layers.recurrent import Recurrent
from .layers.text import Text
from .net import TEST, Net
from .netfile import read_net
from .params import did_you_mean
from .passes.phase import filter_phase
from .solver.run_folder import weight_files
from .solver.test import sources
from .solver.vocabularies import read_vocabulary
from .spec import LayerSpec, NetSpec, builtin


def run(args: Namespace) -> int:
    """Write the prime and what follows it to stdout, each symbol as soon as it is drawn."""
    if not 0 <= args.temperature < math.inf:
        raise ConfigError(f"--temperature: expected a number >= 0, got {args.temperature:g}")
    if args.length < 0:
        raise ConfigError(f"--length: expected a number of symbols >= 0, got {args.length}")
    files = weight_files(args.weights)
    if not files:
        raise ConfigError("--weights: name the snapshot or run folder of a trained language model")
    source, state, overrides = sources(args)[0]
    spec = filter_phase(read_net(source, overrides), TEST, state.level, state.stage)
    writer = Writer(spec, files, device=args.device)
    prime = symbols_of(args.prime, writer.vocabulary)
    between = ""
    for symbol in (*prime, *writer.write(prime, args.length, args.temperature, args.seed)):
        print(between + symbol, end="", flush=True)
        between = "" if writer.vocabulary.unit == "char" else " "
    print()
    return 0


class Deployed(NamedTuple):
    """A net that reads one symbol a pass, and the names of its blobs; ``cont`` is empty if it reads none."""

    spec: NetSpec
    data: str
    cont: str
    scores: str


def deployed(spec: NetSpec) -> Deployed:
    """What a net that reads a Text layer becomes when it is to write: T = 1 and N = 1.

    The Text layer turns into an Input, the SoftmaxWithLoss that reads its label goes, and so does whatever its scores
    do not depend on.

    Parameters
    ----------
    spec : NetSpec
        Of one phase.

    Raises
    ------
    ConfigError
        If there is no such pair of layers, or the scores need what comes later in the text.
    """
    texts = [layer for layer in spec.layers if issubclass(REGISTRY[layer.type], Text)]
    if len(texts) != 1 or len(texts[0].top) < 2:
        raise ConfigError(f"{place(spec)}: expected one Text layer with a label in phase TEST, got {len(texts)}")
    data, *cont, label = texts[0].top
    losses = [i for i, one in enumerate(spec.layers) if one.type == "SoftmaxWithLoss" and one.bottom[1:2] == (label,)]
    if not losses:
        raise ConfigError(f"{place(spec)}: no SoftmaxWithLoss reads {label!r}, so its scores are not known")
    scores = spec.layers[losses[0]].bottom[0]
    needed: set[str] = {scores}
    kept: list[LayerSpec] = []
    for layer in reversed(spec.layers[: losses[0]]):
        if needed & set(layer.top):
            kept.insert(0, layer)
            needed |= set(layer.bottom)
    if data not in needed:
        raise ConfigError(f"{place(spec)}: {scores!r} does not depend on {data!r}, the symbols so far")
    if label in needed:
        raise ConfigError(f"{place(spec)}: {scores!r} depends on {label!r}, the symbol that is to be drawn")
    for layer in kept:
        if layer.params.get("reverse") or (layer.block and layer.block.reverse):
            raise ConfigError(f"{layer.where}: layer {layer.name!r} goes from the end of a text to its beginning")
    tops = (data, *cont)
    symbol = builtin(LayerSpec(texts[0].name, "Input", top=tops, given={"shape": [[1, 1]]}))
    layers = tuple(symbol if layer is texts[0] else layer for layer in kept)
    return Deployed(replace(spec, layers=layers, freeze=()), data, "".join(cont), scores)


def place(spec: NetSpec) -> str:
    return f"{spec.where or 'the net'}: net {spec.name!r}"


class Writer:
    """A language model that reads and writes one symbol a pass; its states go on from one to the next.

    Parameters
    ----------
    spec : NetSpec
        A net that reads a Text layer, in one phase.
    weights : list of path
        Its weights; the last of them has its solver state, which holds the vocabulary, beside it.
    device : str
        Where to run.
    """

    def __init__(self, spec: NetSpec, weights: list[Path], device: str = "cpu"):
        self.names = deployed(spec)
        self.vocabulary = read_vocabulary(weights[-1], self.names.data)
        self.net = Net(self.names.spec, TEST, device=device)
        report = self.net.copy_from(weights)
        if report.missing:
            raise SnapshotError(f"{weights[-1]}: no weights for {', '.join(report.missing)}\n  {report.lines[-1]}")
        classes = self.net.blobs[self.names.scores].count
        if classes < len(self.vocabulary):
            raise ConfigError(
                f"{place(spec)}: {classes} scores in {self.names.scores!r} for a vocabulary of {len(self.vocabulary)}"
            )
        for layer in self.names.spec.layers:
            recurrent = layer.block is not None or issubclass(REGISTRY[layer.type], Recurrent)
            if recurrent and not any(name.startswith(f"{layer.name}/") for name in self.net.states):
                raise ConfigError(
                    f"{layer.where}: layer {layer.name!r} keeps no state from batch to batch, so it would see one "
                    "symbol only; give it the Text layer's cont, or `init: carry`"
                )

    def write(self, prime: list[str], length: int, temperature: float = 1.0, seed: int = 0) -> Iterator[str]:
        """Symbols that follow the prime; without one, the first is drawn from all of them alike.

        Parameters
        ----------
        prime : list of str
            Symbols to begin with, which are not given back.
        length : int
            How many to write.
        temperature : float
            What scores are divided by before the softmax; 0 takes the best one.
        seed : int
            Of the draws: the same seed, prime and weights write the same text.
        """
        key = rng.key(seed, "sample")
        known = self.vocabulary.encode(prime)
        scores = np.zeros(len(self.vocabulary))
        for time, index in enumerate(known):
            scores = self.read(int(index), goes_on=time > 0)
        for count in range(length):
            drawn = draw(scores, temperature if count or prime else 1.0, rng.uniform(key, 1, hi=count)[0])
            yield self.vocabulary.symbols[drawn]
            if count + 1 < length:
                scores = self.read(drawn, goes_on=bool(count or prime))

    def read(self, index: int, goes_on: bool) -> np.ndarray:
        """Scores (float64) of each symbol to follow this one; unless it goes on, a text begins with it."""
        given: dict[str, Any] = {self.names.data: [[index]]}
        if self.names.cont:
            given[self.names.cont] = [[float(goes_on)]]
        found = self.net.forward([self.names.scores], **given)[self.names.scores]
        scores = found.reshape(-1)[: len(self.vocabulary)].astype(np.float64)
        if not np.isfinite(scores.max()):
            raise NumericError(f"scores after symbol {self.vocabulary.symbols[index]!r} are not finite")
        return scores


def draw(scores: np.ndarray, temperature: float, uniform: float) -> int:
    """Index by the softmax of scores / temperature, where ``uniform`` in [0, 1) falls; at 0 the best, first of equals.

    The best score is taken from all before they are divided, so no temperature is too small.
    """
    if temperature == 0:
        return int(scores.argmax())
    with np.errstate(over="ignore"):  # far below the best: exp gives 0
        ends = np.cumsum(np.exp((scores - scores.max()) / temperature))
    return int(np.searchsorted(ends, uniform * ends[-1], side="right"))


def symbols_of(text: str, vocabulary: Vocabulary) -> list[str]:
    """The symbols of a text, all of them in the vocabulary; where it has ``<unk>``, any may be.

    Raises
    ------
    DataError
        With the first symbol that it lacks and the nearest one that it has.
    """
    symbols = list(text) if vocabulary.unit == "char" else WORD.findall(text)
    if UNKNOWN not in vocabulary.index:
        for number, symbol in enumerate(symbols):
            if symbol not in vocabulary.index:
                plain = unicodedata.normalize("NFKD", symbol)[:1] if vocabulary.unit == "char" else symbol
                near = (
                    f", did you mean {plain!r}?" if plain in vocabulary.index else did_you_mean(plain, vocabulary.index)
                )
                raise DataError(
                    f"--prime: {symbol!r}, its symbol {number}, is not among the {len(vocabulary)} of the text{near}"
                )
    return symbols
