"""Pictures of one or two drawings, and the sentences that say what is in them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..rng import key, uniform
from .convert import Datasets
from .convert_sequences import offsets

DRAWINGS = {  # the name of the emoji's file: what it shows
    "1f34e.png": "apple",
    "1f514.png": "bell",
    "1f6b2.png": "bicycle",
    "26f5.png": "boat",
    "1f697.png": "car",
    "1f431.png": "cat",
    "1f436.png": "dog",
    "1f41f.png": "fish",
    "1f3e0.png": "house",
    "1f511.png": "key",
    "2b50.png": "star",
    "1f332.png": "tree",
}
NOUNS = list(DRAWINGS.values())
COLOURS = {"red": (220, 40, 40), "green": (40, 160, 60), "blue": (50, 80, 220), "yellow": (240, 210, 50)}
SIZES = {"small": (17, 21), "big": (28, 31)}  # pixels a side, first and last
RELATIONS = ("left of", "above")
END = "."  # symbol 0: it ends every sentence, and stands before the first word
WORDS = [END, "a", "of", "left", "above", *SIZES, *COLOURS, *NOUNS]
SIDE = 64
COUNTS = {"train": 16000, "val": 1000, "test": 1000}
SEED = 1701

Thing = tuple[str, str, str]  # size, colour, noun


def held_out(one: int, other: int) -> bool:
    """Whether these two nouns are shown together in the test only: each with two of the other eleven."""
    return abs(one - other) in (5, len(NOUNS) - 5)


def captions(files: Mapping[str, bytes]) -> tuple[Datasets, ...]:
    """16,000 pictures to learn from, 1,000 new ones of the same kind, and 1,000 of pairs that are in neither."""
    drawings = {noun: drawing(files[file]) for file, noun in DRAWINGS.items()}
    return tuple(_part(name, count, drawings) for name, count in COUNTS.items())


def drawing(raw: bytes) -> np.ndarray:
    """Light, 0 to 1, and opacity of a picture (2, height, width)."""
    with Image.open(io.BytesIO(raw)) as picture:
        pixels = np.asarray(picture.convert("RGBA"), np.float64) / 255
    light, opacity = pixels[..., :3] @ (0.299, 0.587, 0.114), pixels[..., 3]
    dark, bright = np.percentile(light[opacity > 0.5], (5, 95))
    return np.stack([np.clip((light - dark) / (bright - dark), 0, 1), opacity])


def _part(name: str, count: int, drawings: Mapping[str, np.ndarray]) -> Datasets:
    pictures, sentences = np.empty((count, 3, SIDE, SIDE), np.uint8), []
    for i in range(count):
        draws = iter(uniform(key(SEED, "captions", name), 32, i))
        things, relation = choose(draws, name == "test")
        pictures[i] = compose(draws, things, relation, drawings)
        sentences.append(np.array([WORDS.index(word) for word in sentence(things, relation)], np.uint8))
    return {
        "data": pictures,
        "offsets": np.arange(count + 1),  # each is a sequence of one picture
        "target": np.concatenate(sentences),
        "target_offsets": offsets(sentences),
        "vocabulary/target": np.array([word.encode() for word in WORDS]),
    }


def _one_of(choices: Sequence[Any], draw: float) -> Any:
    return choices[int(draw * len(choices))]


def choose(draws: Iterator[float], test: bool) -> tuple[list[Thing], str]:
    """What is shown: one thing in every fifth picture that is not for the test, else two and how they lie."""
    first = int(next(draws) * len(NOUNS))
    others = [other for other in range(len(NOUNS)) if other != first and held_out(first, other) == test]
    alone = next(draws) < 0.2 and not test
    nouns = [first] if alone else [first, _one_of(others, next(draws))]
    things = [(_one_of([*SIZES], next(draws)), _one_of([*COLOURS], next(draws)), NOUNS[noun]) for noun in nouns]
    return things, "" if alone else _one_of(RELATIONS, next(draws))


def sentence(things: Sequence[Thing], relation: str) -> list[str]:
    """`a small red apple left of a big blue dog .`, word by word."""
    parts = [f"a {' '.join(thing)}" for thing in things]
    return [*f" {relation} ".join(parts).split(), END]


def compose(
    draws: Iterator[float], things: Sequence[Thing], relation: str, drawings: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The picture (3, 64, 64): a slope of two greys with noise, and on it what the sentence says."""
    along, across = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    grey = 150 + 100 * np.array([next(draws) for _ in range(3)])
    noise = 16 * uniform(int(next(draws) * 2**32), SIDE * SIDE).reshape(SIDE, SIDE) - 8
    picture = np.repeat((grey[0] + (grey[1] - grey[0]) * along + (grey[2] - grey[0]) / 2 * across + noise)[None], 3, 0)
    sides = [SIZES[size][0] + int(next(draws) * (SIZES[size][1] - SIZES[size][0] + 1)) for size, _, _ in things]
    for thing, side, (top, left) in zip(things, sides, places(draws, sides, relation), strict=True):
        light, opacity = (_resized(plane, side) for plane in drawings[thing[2]])
        tint = np.array(COLOURS[thing[1]])[:, None, None] * (0.3 + 0.7 * light)
        under = picture[:, top : top + side, left : left + side]
        under += opacity * (tint - under)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def places(draws: Iterator[float], sides: Sequence[int], relation: str) -> list[tuple[int, int]]:
    """Row and column of each thing: two lie one after the other along one axis, within 8 pixels along the other."""
    if not relation:
        return [(int(next(draws) * (SIDE - sides[0] + 1)), int(next(draws) * (SIDE - sides[0] + 1)))]
    room = SIDE - sum(sides)
    start = int(next(draws) * (room + 1))
    gap = int(next(draws) * (room - start + 1))
    along = [start, start + sides[0] + gap]
    middle = SIDE / 2 + (next(draws) - 0.5) * (SIDE - max(sides) - 8)
    across = [int(middle + (next(draws) - 0.5) * 8 - side / 2) for side in sides]
    return [(a, b) if relation == "above" else (b, a) for a, b in zip(along, across, strict=True)]


def _resized(plane: np.ndarray, side: int) -> np.ndarray:
    picture = Image.fromarray(plane.astype(np.float32))
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), np.float64)
