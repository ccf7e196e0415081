"""LMDB databases, read without LMDB: its own library trusts a file, and a damaged one makes it crash or read beyond it.

A database is a tree of pages.  Two meta pages at the start name the root; the one with the higher transaction counts.
A leaf holds keys with their values; a value too long for it lies on pages of its own.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from ..errors import DataError

MAGIC, VERSION, NO_PAGE = 0xBEEFC0DE, 1, (1 << 64) - 1
HEADER = struct.Struct("<QHHHH")  # number, -, flags, end of the pointers, start of the nodes
META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
TREE = struct.Struct("<IHHQQQQQ")  # page size or -, flags, depth, pages (three numbers), entries, root
NODE = struct.Struct("<HHHH")  # size or page (low, high), flags or page, length of the key
BRANCH, LEAF, OVERFLOW, BIG = 1, 2, 4, 1
PAGE_SIZES = tuple(1 << n for n in range(9, 17))
DEEPEST = 32


class Record(NamedTuple):
    """A key, and where its value lies in the file."""

    key: bytes
    start: int
    size: int


class Lmdb:
    """A database, open for reading.

    Parameters
    ----------
    path
        The folder that holds ``data.mdb``, or that file.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        self.path = path / "data.mdb" if path.is_dir() else path
        if not self.path.is_file():
            leveldb = path.is_dir() and (path / "CURRENT").exists()
            what = "this is a LevelDB; convert it with LMDB or HDF5" if leveldb else "no LMDB: no data.mdb"
            raise DataError(f"{path}: {what}")
        try:
            with open(self.path, "rb") as file:
                self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read: {error}") from None
        self.page_size, self.root, self.entries = self._meta()

    def records(self) -> list[Record]:
        """Every record in the order of the keys, found without reading the values."""
        found: list[Record] = []
        if self.root != NO_PAGE:
            self._walk(self.root, DEEPEST, set(), found)
        if len(found) != self.entries:
            self._damaged(f"{self.entries} records announced, {len(found)} found")
        return found

    def value(self, record: Record) -> bytes:
        return self.bytes[record.start : record.start + record.size]

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return ((record.key, self.value(record)) for record in self.records())

    # the tree

    def _damaged(self, why: str) -> NoReturn:
        raise DataError(f"{self.path}: damaged or truncated LMDB: {why}")

    def _meta(self) -> tuple[int, int, int]:
        """Page size, root and number of records, from the newer of the two meta pages."""
        size = self._unpack(TREE, 40)[0] if len(self.bytes) >= 152 else 0
        if size not in PAGE_SIZES:
            self._damaged("no meta page at its start")
        found = []
        for page in (0, size):
            magic, version, _, _ = self._unpack(META, page + 16)
            if magic == MAGIC and version == VERSION:
                *_, entries, root = self._unpack(TREE, page + 88)
                (transaction,) = self._unpack(struct.Struct("<Q"), page + 144)
                found.append((transaction, root, entries))
        if not found:
            self._damaged("not an LMDB file of version 1")
        _, root, entries = max(found)
        return size, root, entries

    def _unpack(self, form: struct.Struct, at: int) -> tuple:
        if at < 0 or at + form.size > len(self.bytes):
            self._damaged(f"byte {at} lies beyond its end")
        return form.unpack_from(self.bytes, at)

    def _page(self, number: int) -> tuple[int, int]:
        """Where a page starts, and its flags."""
        start = number * self.page_size
        written, _, flags, _, _ = self._unpack(HEADER, start)
        if written != number:
            self._damaged(f"page {number} says that it is page {written}")
        return start, flags

    def _walk(self, number: int, depth: int, seen: set[int], found: list[Record]) -> None:
        if number in seen or depth == 0:
            self._damaged(f"page {number} is reached twice, or lies too deep")
        seen.add(number)
        start, flags = self._page(number)
        if not flags & (BRANCH | LEAF):
            self._damaged(f"page {number} is neither branch nor leaf")
        _, _, _, lower, upper = self._unpack(HEADER, start)
        if not 16 <= lower <= upper <= self.page_size:
            self._damaged(f"page {number} has a wrong header")
        for at in struct.unpack_from(f"<{(lower - 16) // 2}H", self.bytes, start + 16):
            if not upper <= at <= self.page_size - NODE.size:
                self._damaged(f"page {number} points out of itself")
            low, high, extra, key_size = self._unpack(NODE, start + at)
            if flags & BRANCH:
                self._walk(low | high << 16 | extra << 32, depth - 1, seen, found)
            else:
                found.append(self._record(start, at, low | high << 16, extra, key_size))

    def _record(self, start: int, at: int, size: int, flags: int, key_size: int) -> Record:
        data = at + NODE.size + key_size
        if flags & ~BIG or data + (8 if flags & BIG else size) > self.page_size:
            self._damaged(
                f"a record at byte {start + at} does not fit its page, or is of a kind that Caffe never writes"
            )
        key = self.bytes[start + at + NODE.size : start + data]
        if not flags & BIG:
            return Record(key, start + data, size)
        (page,) = self._unpack(struct.Struct("<Q"), start + data)
        place, kind = self._page(page)
        if not kind & OVERFLOW or place + 16 + size > len(self.bytes):
            self._damaged(f"the value of key {key[:40]!r} lies beyond the end")
        return Record(key, place + 16, size)
