"""The original files of the data sets, as bytes, turned into a train and a test file in HDF5."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from ..errors import DataError

Datasets = Mapping[str, np.ndarray]  # of one file, by name
Part = tuple[np.ndarray, np.ndarray]  # samples and labels
Split = tuple[Part, Part]  # train and test
CHUNK_BYTES = 64 << 10


def digits(files: Mapping[str, bytes]) -> Split:
    """Of the five picture rows of each digit the last is held out; the classes take turns in both parts."""
    with Image.open(io.BytesIO(files["digits.png"])) as picture:
        pixels = np.asarray(picture.convert("L"))
    grid = pixels.reshape(10, 5, 20, 100, 20).transpose(1, 3, 0, 2, 4)  # row of the class, column, class, y, x
    return _take_turns(grid[:4]), _take_turns(grid[4:])


def _take_turns(grid: np.ndarray) -> Part:
    data = grid.reshape(-1, 1, 20, 20)
    return data, np.resize(np.arange(10, dtype=np.uint8), len(data))


def mnist(files: Mapping[str, bytes]) -> Split:
    """MNIST's own split, in its own order."""
    parts = []
    for name in ("train", "t10k"):
        images = idx(files[f"{name}-images-idx3-ubyte"])
        parts.append((images[:, None], idx(files[f"{name}-labels-idx1-ubyte"])))
    return parts[0], parts[1]


def idx(raw: bytes) -> np.ndarray:
    """An array of bytes in the format of MNIST: a magic number, the extents (big-endian), the values."""
    if raw[:3] != b"\0\0\x08":
        raise DataError(f"not an idx file of bytes: it starts with {raw[:4]!r}, expected b'\\x00\\x00\\x08...'")
    header = 4 + 4 * int.from_bytes(raw[3:4], "big")
    shape = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, header, 4)]
    if len(raw) != header + prod(shape):
        raise DataError(f"not a whole idx file: {len(raw)} bytes, expected {header + prod(shape)} for shape {shape}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def letters(files: Mapping[str, bytes]) -> Split:
    """The split of its authors: the first 16,000 rows to learn from, the last 4,000 to test on."""
    rows = [line.split(",") for line in files["letter-recognition.data"].decode("ascii").split()]
    label = np.array([ord(letter) - ord("A") for letter, *_ in rows], np.uint8)
    data = np.array([numbers for _, *numbers in rows], np.uint8)
    return (data[:16000], label[:16000]), (data[16000:], label[16000:])


def write(folder: Path, names: Sequence[str], parts: Sequence[Part | Datasets], attributes: Mapping[str, str]) -> None:
    """Write all files, or none; a part that is a pair becomes the datasets ``data`` and ``label``."""
    with _together(folder, names) as work:
        for name, part in zip(names, parts, strict=True):
            with h5py.File(work / name, "w") as file:
                file.attrs.update(attributes)
                datasets = part if isinstance(part, Mapping) else dict(zip(("data", "label"), part, strict=True))
                for key, values in datasets.items():
                    _dataset(file, key, values)


def keep(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the original files as they are, all or none."""
    with _together(folder, files) as work:
        for name, content in files.items():
            (work / name).write_bytes(content)


@contextmanager
def _together(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """A place to write files to; they get their names in ``folder`` when all are complete."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=folder) as work:
            yield Path(work)
            for name in names:
                with open(Path(work, name), "rb") as written:
                    os.fsync(written.fileno())
            for name in names:
                os.replace(Path(work, name), folder / name)
    except OSError as error:
        raise DataError(f"{folder}: the files cannot be written: {error}") from error


def _dataset(file: h5py.File, name: str, values: np.ndarray) -> None:
    # small chunks: a chunk is the least that is read and unpacked
    rows = min(len(values), max(1, CHUNK_BYTES // values[0].nbytes))
    chunks = (rows, *values.shape[1:])
    file.create_dataset(name, data=values, chunks=chunks, compression="gzip", compression_opts=6)
