"""The symbols of a text, and the indices that a net knows them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import write_atomically
from ..errors import DataError

UNKNOWN = "<unk>"  # stands for every symbol that the vocabulary has not
ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t", " ": r"\s"}  # of a vocabulary file
SHOWN = 10  # symbols listed in a message


class Vocabulary:
    """Symbols in the order of their indices.

    Parameters
    ----------
    symbols
        Different strings; ``<unk>``, if it is one of them, stands for all others.
    unit : {"char", "word"}
        Whether symbols follow each other in a text without or with a space between them.
    """

    def __init__(self, symbols: Iterable[str], unit: str = "char"):
        self.symbols, self.unit = tuple(symbols), unit
        self.index = {symbol: index for index, symbol in enumerate(self.symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    @classmethod
    def of(cls, symbols: Iterable[str], unit: str, min_count: int = 1, max_size: int = 0) -> Vocabulary:
        """Of a text: by code points, so that its order does not depend on how often a symbol occurs.

        Those that occur less than ``min_count`` times, and beyond ``max_size`` (0: any number) the rarer ones, become
        ``<unk>``, index 0, which counts as one of ``max_size``.
        """
        counts = Counter(symbols)
        limited = min_count > 1 or 0 < max_size < len(counts)
        kept = sorted((s for s, n in counts.items() if n >= min_count and s != UNKNOWN), key=lambda s: (-counts[s], s))
        kept = kept[: max_size - 1] if limited and max_size else kept
        return cls([*[UNKNOWN] * (limited or UNKNOWN in counts), *sorted(kept)], unit)

    @classmethod
    def load(cls, path: Path, unit: str) -> Vocabulary:
        r"""From a file with one symbol a line; a space is written \s, a newline \n, a backslash \\."""
        codes = {code: symbol for symbol, code in ESCAPES.items()}
        found: dict[str, int] = {}
        for number, line in enumerate(read_text(path).removesuffix("\n").split("\n"), 1):
            symbol = _unescaped(line, codes)
            if not symbol or (unit == "char" and len(symbol) > 1 and symbol != UNKNOWN):
                what = f"one character (or {UNKNOWN})" if unit == "char" else "one word"
                raise DataError(rf"{path}:{number}: expected {what} a line, a space as \s, got {line!r:.80}")
            if symbol in found:
                raise DataError(f"{path}:{number}: {symbol!r} stands in line {found[symbol]} already")
            found[symbol] = number
        return cls(found, unit)

    def save(self, path: Path) -> None:
        """Write the file that :meth:`load` reads."""
        lines = ["".join(ESCAPES.get(letter, letter) for letter in symbol) + "\n" for symbol in self.symbols]
        write_atomically(path, "".join(lines).encode())

    @property
    def notes(self) -> dict[str, Any]:
        """What a snapshot keeps: the arguments that make it again."""
        return {"symbols": list(self.symbols), "unit": self.unit}

    def encode(self, symbols: Sequence[str]) -> np.ndarray:
        """Index (int32) of each symbol; one that is not known needs ``<unk>``."""
        unknown = self.index.get(UNKNOWN, -1)
        indices = np.fromiter((self.index.get(symbol, unknown) for symbol in symbols), np.int32, len(symbols))
        if len(indices) and indices.min() < 0:
            at = int(np.argmin(indices))
            raise DataError(
                f"symbol {at}, {symbols[at]!r}, is not in the vocabulary of {len(self)} symbols, nor is {UNKNOWN}"
            )
        return indices

    def decode(self, indices: Iterable[int]) -> str:
        """The text that the indices stand for."""
        return ("" if self.unit == "char" else " ").join(self.symbols[int(index)] for index in indices)

    def difference(self, other: Vocabulary, mine: str, theirs: str) -> str:
        """How two vocabularies differ, in words; ``mine`` and ``theirs`` say what to call them."""
        sides = ((mine, _missing(self, other)), (theirs, _missing(other, self)))
        words = [f"only in the {name}: {symbols}" for name, symbols in sides if symbols]
        if not words:
            at = next(i for i, (one, two) in enumerate(zip(self.symbols, other.symbols, strict=True)) if one != two)
            words = [
                f"in another order: {at} is {self.symbols[at]!r} in the {mine}, {other.symbols[at]!r} in the {theirs}"
            ]
        return f"{len(self)} in the {mine}, {len(other)} in the {theirs}; {'; '.join(words)}"


def _missing(one: Vocabulary, two: Vocabulary) -> str:
    """Symbols of the one that the other has not."""
    missing = [repr(symbol) for symbol in one.symbols if symbol not in two.index]
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    return ", ".join(missing[:SHOWN]) + more


def _unescaped(line: str, codes: dict[str, str]) -> str:
    letters, out = iter(line), []
    for letter in letters:
        pair = letter + next(letters, "") if letter == "\\" else letter
        out.append(codes.get(pair, pair))
    return "".join(out)


def read_text(path: Path) -> str:
    """A text file in UTF-8, with ``\\n`` at the end of each line, or one message that says where it is not."""
    try:
        raw = path.read_bytes()
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: not UTF-8: byte {error.start} is 0x{raw[error.start]:02x}; convert the file first"
        ) from None
