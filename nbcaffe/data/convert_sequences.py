"""Originals of the sets of sequences, turned into the HDF5 layout that a Sequences layer reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..errors import DataError
from .convert import Datasets

BOUNDARY = "|"  # symbol 0 of the phones: it ends every target, and stands before the first of its inputs


def japanese_vowels(files: Mapping[str, bytes]) -> tuple[Datasets, ...]:
    """The split of its authors: 270 utterances to learn from, 370 to test on; 12 numbers a frame, 9 speakers."""
    return tuple(_utterances(files[f"JapaneseVowels_{part}.ts"].decode("ascii")) for part in ("TRAIN", "TEST"))


def _utterances(text: str) -> Datasets:
    """A file of aeon's: a line has the channels, parted by colons, and the class, which counts from 1."""
    rows = [line.split(":") for line in text.splitlines() if line.strip() and line[0] not in "#@"]
    frames = [np.array([channel.split(",") for channel in channels], np.float32).T for *channels, _ in rows]
    label = np.array([int(name) - 1 for *_, name in rows], np.uint8)
    return {"data": np.concatenate(frames), "offsets": offsets(frames), "label": label}


def cmudict(files: Mapping[str, bytes]) -> tuple[Datasets, ...]:
    """Spelling and phones of the words of letters only, without stress marks, first pronunciations.

    A word is held out by its hash, 5 % to validate and 5 % to test, so that later editions part the same words alike.
    """
    entries = list(_entries(files["cmudict.dict"].decode("utf-8")))
    letters = sorted({letter for word, _ in entries for letter in word})
    phones = [BOUNDARY, *sorted({phone for _, spoken in entries for phone in spoken})]
    parts: list[list] = [[], [], []]
    for word, spoken in entries:
        parts[{0: 1, 1: 2}.get(int(hashlib.sha256(word.encode()).hexdigest(), 16) % 20, 0)].append((word, spoken))
    return tuple(_pairs(part, letters, phones) for part in parts)


def _entries(text: str) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        word, *spoken = line.partition("#")[0].split() or [""]
        if not spoken:
            raise DataError(f"cmudict.dict:{number}: expected a word and its phones, got {line!r:.80}")
        if word.isascii() and word.isalpha():
            yield word, [phone.rstrip("012") for phone in spoken]


def _pairs(entries: Sequence[tuple[str, list[str]]], letters: list[str], phones: list[str]) -> Datasets:
    words = [_numbers(word, letters) for word, _ in entries]
    spoken = [_numbers([*said, BOUNDARY], phones) for _, said in entries]
    return {
        "data": np.concatenate(words),
        "offsets": offsets(words),
        "target": np.concatenate(spoken),
        "target_offsets": offsets(spoken),
        "vocabulary/data": _stored(letters),
        "vocabulary/target": _stored(phones),
    }


def _numbers(symbols: Sequence[str], known: list[str]) -> np.ndarray:
    return np.array([known.index(symbol) for symbol in symbols], np.uint8)


def _stored(symbols: list[str]) -> np.ndarray:
    return np.array([symbol.encode() for symbol in symbols])


def offsets(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Where each sequence begins in all of them put together, and where the last one ends."""
    return np.cumsum([0, *map(len, sequences)])
