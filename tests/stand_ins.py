"""Files of the shapes that recipes read, in the place of sets that are fetched and no part of the repository."""

import h5py
import numpy as np


def scattered(*shape):
    """0 to 63 without order, the same everywhere: the last bits of Knuth's multiplicative hash."""
    return np.arange(np.prod(shape), dtype=np.int64).reshape(shape) * 2654435761 % 4294967296 >> 26


def mnist(path):
    """Bars under noise, one place for each digit."""
    label = np.arange(2000) % 10
    row = np.arange(28)[:, None]
    bar = abs(row - 2 - label[:, None, None, None] * 5 // 2) < 2
    with h5py.File(path, "w") as file:
        file["data"] = (scattered(2000, 1, 28, 28) + 190 * bar).astype(np.uint8)
        file["label"] = label.astype(np.uint8)


def cmudict(path):
    """Words of 3 to 12 letters, each letter spoken in one way."""
    lengths = 3 + np.arange(1000) % 10
    words = np.split(scattered(lengths.sum()) % 26, np.cumsum(lengths)[:-1])
    sequences(path, words, [[*word + 1, 0][-12:] for word in words])


def captions(path):
    """A grey bar under noise, of which five words tell the place."""
    kind = np.arange(600) % 6
    bar = abs(np.arange(64)[:, None] - 5 - kind[:, None, None, None] * 10) < 4
    pictures = (scattered(600, 3, 64, 64) + 190 * bar).astype(np.uint8)
    sequences(path, pictures[:, None], [[1, 5 + k, 2, 12 + k, 0] for k in kind])


def sequences(path, data, target):
    with h5py.File(path, "w") as file:
        for name, at, parts in (("data", "offsets", data), ("target", "target_offsets", target)):
            file[name] = np.concatenate(parts).astype(np.uint8)
            file[at] = np.cumsum([0, *map(len, parts)])


def vowels(path):
    """Nine voices: at each frame one of the twelve numbers is loud, the next one in each voice's own stride."""
    lengths, label = 7 + np.arange(270) % 23, np.arange(270) % 9
    frames = [np.eye(12)[(voice + 1) * np.arange(length) % 12] for voice, length in zip(label, lengths, strict=True)]
    with h5py.File(path, "w") as file:
        file["data"] = (np.concatenate(frames) + scattered(lengths.sum(), 12) / 64).astype(np.float32)
        file["offsets"] = np.cumsum([0, *lengths])
        file["label"] = label.astype(np.uint8)


def text(path):
    """Words of two to five letters, which follow each other in the alphabet."""
    starts, lengths = scattered(2, 20000)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = (letters[a % 20 : a % 20 + 2 + b % 4] for a, b in zip(starts, lengths, strict=True))
    path.write_text(" ".join(words), encoding="utf-8")


STAND_INS = {  # folder in nets/: the data layer, and who writes its file
    "lenet": ("data", mnist),
    "mnist_autoencoder": ("data", mnist),
    "seq2seq": ("words", cmudict),
    "caption": ("pictures", captions),
    "sequence_classifier": ("speech", vowels),
    "char_lstm": ("text", text),
}
