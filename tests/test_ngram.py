"""The n-grams that nets/char_lstm is compared with are distributions, and those that their authors describe."""

from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest

from nbcaffe import rng

BASE, KNOWN = 4, 200


@pytest.fixture(scope="module")
def ngram(root):
    found = spec_from_file_location("ngram", root / "nets/char_lstm/ngram.py")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def walk(length):
    """Symbols 0 to 3, each of which tends to be followed by the next one."""
    steps = rng.uniform(rng.key(3, "walk"), length)
    return np.cumsum(np.where(steps < 0.7, 1, (steps * 40).astype(int))) % BASE


@pytest.mark.parametrize("mix", ["witten-bell", "kneser-ney"])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_all_symbols_in_a_place_sum_to_1(ngram, mix, order):
    text, place = walk(KNOWN + 40), KNOWN + 30
    total = 0.0
    for symbol in range(BASE):
        text[place] = symbol
        p = ngram.probabilities(text, np.array([place]), KNOWN, BASE, order, mix)
        assert p > 0
        total += p[0]
    assert total == pytest.approx(1)


def test_witten_bell_by_hand(ngram):
    text = np.array([0, 1, 0, 1, 0, 2, 0, 1])  # the last two, 0 and 1, are not learned
    # order 1: 3, 2 and 1 of 6, of 3 kinds, over 1/4 each; order 2: after 0 there were 1, 1 and 2, of 2 kinds
    one = (2 + 3 / 4) / (6 + 3)
    assert ngram.probabilities(text, np.array([7]), 6, BASE, 1, "witten-bell") == pytest.approx(one)
    assert ngram.probabilities(text, np.array([7]), 6, BASE, 2, "witten-bell") == pytest.approx((2 + 2 * one) / (3 + 2))


def test_kneser_ney_by_hand(ngram):
    text = np.array([0, 1, 0, 1, 0, 2, 0, 1])
    # pairs 01 twice, 10 twice, 02 once: 1 stands after one kind of symbol, as 0 and 2 do, so order 1 takes all of 1
    # away (three kinds seen once, none twice) and leaves 1/4; order 2 takes 1 / (1 + 2 * 2) = 0.2
    two = (2 - 0.2 + 0.2 * 2 / 4) / 3
    assert ngram.probabilities(text, np.array([7]), 6, BASE, 2, "kneser-ney") == pytest.approx(two)


def test_what_comes_after_a_place_does_not_matter(ngram):
    text, places = walk(KNOWN + 40), np.arange(KNOWN + 5, KNOWN + 20)
    before = ngram.probabilities(text, places, KNOWN, BASE, 4, "kneser-ney")
    text[KNOWN + 20 :] = 0
    np.testing.assert_array_equal(ngram.probabilities(text, places, KNOWN, BASE, 4, "kneser-ney"), before)
