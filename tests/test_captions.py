"""Pictures and their sentences: what is said is what is shown, and test pairs are shown nowhere else."""

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from nbcaffe.data import convert_captions as captions


@pytest.fixture(scope="module")
def parts():
    """Few pictures, with squares for drawings: light above and dark below."""
    raw = io.BytesIO()
    plane = np.zeros((8, 8, 4), np.uint8)
    plane[:, :, 3], plane[:4, :, :3] = 255, 255
    Image.fromarray(plane).save(raw, "PNG")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captions, "COUNTS", {"train": 120, "val": 40, "test": 60})
        return captions.captions(dict.fromkeys(captions.DRAWINGS, raw.getvalue()))


def sentences(part):
    words = [word.decode() for word in part["vocabulary/target"]]
    return [[words[i] for i in line] for line in np.split(part["target"], part["target_offsets"][1:-1])]


def nouns(line):
    return tuple(sorted(word for word in line if word in captions.NOUNS))


def test_the_first_thing_lies_left_or_above(parts):
    seen = 0
    for picture, line in zip(parts[0]["data"], sentences(parts[0]), strict=True):
        colours = [word for word in line if word in captions.COLOURS]
        if len(set(colours)) < 2:
            continue
        centres = []
        for colour in colours:
            hue = np.array(captions.COLOURS[colour])[:, None, None] / 255
            distance = abs(picture / 255.0 - hue).sum(axis=0)  # the light half of a drawing has its colour
            assert (distance < 0.1).sum() > 50
            centres.append(np.argwhere(distance < 0.1).mean(axis=0))
        axis = 1 if "left" in line else 0
        assert centres[0][axis] + 8 < centres[1][axis]
        seen += 1
    assert seen > 50


def test_small_and_big_things_take_as_much_room(parts):
    for picture, line in zip(parts[0]["data"], sentences(parts[0]), strict=True):
        first, last = (captions.SIZES[line[1]][i] for i in (0, 1))
        if len(line) == 5:
            spread = picture.max(axis=0).astype(int) - picture.min(axis=0)  # greys have none
            rows, columns = (np.flatnonzero((spread > 20).any(axis=axis)) for axis in (1, 0))
            for found in (rows, columns):
                assert first <= found[-1] - found[0] + 1 <= last


def test_pairs_of_the_test_are_shown_nowhere_else(parts):
    train, val, test = ({nouns(line) for line in sentences(part)} for part in parts)
    assert all(len(pair) == 2 for pair in test) and not test & (train | val)
    assert any(len(pair) == 1 for pair in train)
    pairs = [(a, b) for a, b in product(range(12), repeat=2) if captions.held_out(a, b)]
    assert len(pairs) == 24 and all(sum(a == noun for a, _ in pairs) == 2 for noun in range(12))


def test_every_sentence_ends_once_and_is_made_of_the_words(parts):
    for part in parts:
        assert len(part["data"]) == len(part["offsets"]) - 1 == len(part["target_offsets"]) - 1
        for line in sentences(part):
            assert line.index(".") == len(line) - 1 in (4, 9, 10)
