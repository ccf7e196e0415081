"""Messages in text and in binary, read by protobuf's own parser; every mistake with its file and line."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..params import did_you_mean
from ..yamlfile import read_text
from .schema import message, need, repeated

LARGEST_TEXT = 64 << 20  # bytes; nets have thousands of lines, not millions
LARGEST_BINARY = (1 << 31) - 1  # protobuf's own limit
LONGEST = 160  # characters of the user's text that a message quotes
TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<word>[\w.+-]+)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(?P<mark>.)""")


class Lines(dict):
    """For each field of a message the line and, where it is a message itself, the Lines of each time it occurs."""

    def __init__(self, line: int = 0):
        super().__init__()
        self.line = line

    def of(self, field: str, index: int = 0) -> Lines:
        """Where a field was written for the ``index``-th time; the message's own line if that is not known."""
        found = self.get(field, ())
        return found[index] if index < len(found) else Lines(found[-1].line if found else self.line)


def read_message(path: str | Path, kind: str) -> tuple[Any, Lines]:
    """A message in a text file, and its lines; a file that is not text is read as binary."""
    if _is_binary(path):
        return read_binary(path, kind), Lines()
    text = read_text(path)
    return parse_text(text, kind, str(path)), lines_of(text)


def _is_binary(path: str | Path) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
        size = Path(path).stat().st_size
    except OSError:
        return False  # read_text says what is wrong
    binary = any(byte < 32 and byte not in b"\t\n\v\f\r" for byte in start)
    if not binary and size > LARGEST_TEXT:
        raise ConfigError(f"{path}: {size} bytes of text; expected a net or solver of at most {LARGEST_TEXT} bytes")
    return binary


def parse_text(text: str, kind: str, path: str) -> Any:
    """A message of this type from its text form."""
    text_format = need("google.protobuf.text_format")
    found = message(kind)
    try:
        with warnings.catch_warnings():  # about escapes that Python does not know; protobuf refuses them or keeps them
            warnings.simplefilter("ignore", DeprecationWarning)
            text_format.Parse(text, found)
    except text_format.ParseError as error:
        line = error.GetLine()
        why = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise ConfigError(f"{path}{f':{line}' if line else ''}: {_plain(why, kind)}") from None
    except (ValueError, RecursionError, UnicodeError) as error:
        raise ConfigError(f"{path}: not a {kind} in text form: {error}") from None
    return found


def _plain(why: str, kind: str) -> str:
    """Protobuf's complaint, with the nearest name for one that does not exist."""
    wrong = re.search(r'[Mm]essage type "caffe\.(\w+)" has no field named "([^"]*)"', why)
    if wrong:
        owner, name = wrong.groups()
        near = did_you_mean(name[:LONGEST], [field.name for field in message(owner).DESCRIPTOR.fields])
        return f"{owner} has no field {name[:LONGEST]!r}{near if '?' in near else ''}"
    wrong = re.search(r'Enum type "caffe\.\w+\.(\w+)" has no value named ([\w.-]+)', why)
    if wrong:
        return f"{wrong[1]} has no value {wrong[2].rstrip('.')!r}"
    return f"not a {kind}: {why if len(why) <= LONGEST else why[:LONGEST] + '...'}"


def lines_of(text: str) -> Lines:
    """Where each field stands, in a text that protobuf has accepted."""
    top = Lines(1)
    open_messages, word, line = [top], "", 1
    for token in TOKEN.finditer(text):
        if token["word"] and not word:
            word = token["word"]
        elif token["mark"] in ("{", "<"):
            inner = Lines(line)
            open_messages[-1].setdefault(word, []).append(inner)
            open_messages.append(inner)
            word = ""
        elif token["mark"] in ("}", ">"):
            open_messages.pop()
            word = ""
        elif word and (token["word"] or token[0][0] in "\"'"):
            open_messages[-1].setdefault(word, []).append(Lines(line))
            word = ""
        elif token["mark"] == "[" and word:
            open_messages[-1].setdefault(word, []).append(Lines(line))
        elif token["mark"] == "]":
            word = ""
        line += token[0].count("\n")
    return top


def read_binary(path: str | Path, kind: str, raw: bool = False) -> Any:
    """A message of this type from its binary form."""
    try:
        size = Path(path).stat().st_size
        if size > LARGEST_BINARY:
            raise DataError(f"{path}: {size} bytes; a {kind} has at most {LARGEST_BINARY}")
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse_binary(content, kind, str(path), raw)


def parse_binary(content: bytes, kind: str, path: str, raw: bool = False) -> Any:
    """A message of this type from bytes; what is truncated, or holds what no version of Caffe wrote, is refused."""
    found = message(kind, raw)
    try:
        found.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError; its implementations differ in what else they raise
        if isinstance(error, MemoryError):
            raise
        raise DataError(f"{path}: not a {kind}, damaged or truncated: {error}") from None
    wrong = unknown(found, raw)
    if wrong:
        raise DataError(f"{path}: not a {kind}, or damaged: {wrong}")
    return found


def unknown(found: Any, raw: bool) -> str:
    """What is wrong with a parsed message, if anything; of a raw one only the outermost level is looked at.

    Nets of Caffe's forks have layers with parameters that nobody else knows: their weights are read all the same.
    """
    fields = need("google.protobuf.unknown_fields").UnknownFieldSet(found)
    single = [
        f.number for f in found.DESCRIPTOR.fields if raw and f.type == f.TYPE_BYTES
    ]  # numbers that are not packed
    numbers = sorted({field.field_number for field in fields} - set(single))
    if numbers:
        return f"no {found.DESCRIPTOR.name} has a field {', '.join(map(str, numbers[:5]))}"
    for field, value in found.ListFields():
        values = value if repeated(field) else [value]
        if field.type == field.TYPE_STRING and not all(isinstance(one, str) for one in values):
            return f"{found.DESCRIPTOR.name}.{field.name} is not UTF-8"  # protobuf gives bytes then
        if field.message_type is not None and not raw:
            wrong = next(filter(None, (unknown(one, raw) for one in values)), "")
            if wrong:
                return wrong
    return ""


def write_text(found: Any) -> str:
    """The text form, as Caffe's own tools write it."""
    return need("google.protobuf.text_format").MessageToString(found)
