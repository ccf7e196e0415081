"""``python nets/char_lstm/ngram.py``: bits per character of n-grams, on what this recipe's test net reads.

An order-n model gives each symbol a probability after the n - 1 before it, mixed with that of order n - 1, and so on
down to all symbols alike.  Two ways to mix: Witten and Bell (1991), and Kneser and Ney (1995) interpolated as by Chen
and Goodman (1999), with one discount an order.  Both know each character before a held-out one, also across windows.
"""

from pathlib import Path

import numpy as np

import nbcaffe

NET = Path(__file__).with_name("net.yaml")
ORDERS = range(3, 9)
MIXES = ("witten-bell", "kneser-ney")


def grams(symbols, n, base):
    """Each run of n symbols as one number, whose last digit is the last symbol."""
    count = len(symbols) - n + 1
    return sum(symbols[i : i + count].astype(np.int64) * base ** (n - 1 - i) for i in range(n))


def look_up(keys, values, wanted):
    """The values of the wanted keys, 0 where there is none; the keys are sorted."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def probabilities(text, places, known, base, order, mix):
    """Of the symbol at each place of a text, after those before it, by a model of the first ``known`` symbols."""
    p = np.full(len(places), 1 / base)
    for n in range(1, order + 1):
        runs, counts = np.unique(grams(text[:known], n, base), return_counts=True)
        if mix == "kneser-ney" and n < order:  # how many symbols stand before a run, not how often it stands there
            longer = np.unique(grams(text[:known], n + 1, base))
            runs, counts = np.unique(longer % base**n, return_counts=True)
        contexts, first, followers = np.unique(runs // base, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        wanted = grams(text, n, base)[places - n + 1]
        count = look_up(runs, counts, wanted)
        total, distinct = (look_up(contexts, values, wanted // base) for values in (totals, followers))
        if mix == "kneser-ney":
            once, twice = (np.count_nonzero(counts == times) for times in (1, 2))
            taken = max(once, 1) / (max(once, 1) + 2 * twice)  # never nothing: what is new needs some
            share = np.maximum(count - taken, 0) + taken * distinct * p
        else:
            total, share = total + distinct, count + distinct * p
        p = np.divide(share, total, out=p, where=total > 0)
    return p


def held_out():
    """The whole text, the number of its symbols that are learned, the places that the test net is scored on."""
    train, test = (nbcaffe.Net(NET, phase).sources["text"] for phase in ("TRAIN", "TEST"))
    shape = test.shapes[0]
    places = []
    for _ in range(test.size // shape[1]):
        test.read([np.empty(shape)])
        places.append(test.begin + test.starts + np.arange(1, shape[0] + 1)[:, None])
    text = np.concatenate([train.indices, test.indices])
    return text, len(train.indices), np.concatenate(places, axis=None), len(train.vocabulary)


if __name__ == "__main__":
    text, known, places, base = held_out()
    print(f"{known} characters learned, {len(places)} of the {len(text) - known} held out scored, bits per character:")
    print("order", *(f"{mix:>12}" for mix in MIXES))
    for order in ORDERS:
        bits = (-np.log2(probabilities(text, places, known, base, order, mix)).mean() for mix in MIXES)
        print(f"{order:5}", *(f"{value:12.3f}" for value in bits))
