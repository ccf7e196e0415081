"""Caffe's messages for protobuf's own parser, built at run time from ``schema.yaml``: no protoc, no generated code."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import NbcaffeError
from ..yamlfile import load

SCALARS = ("double", "float", "int64", "int32", "uint32", "bool", "string", "bytes")
PACKED = re.compile(r"(float|double)\[packed\]")
FIELD = re.compile(r"(?P<number>\d+) (?P<type>\w+)(?P<label>!|\[\]|\[packed\])?(?: = (?P<default>\S+))?")


def need(module: str) -> Any:
    """Import a module of the extra, or say how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise NbcaffeError(f"Caffe's files: needs `pip install 'nbcaffe[caffe]'` ({error})") from None


def message(name: str, raw: bool = False) -> Any:
    """A new, empty message of this type; a raw one has its packed numbers as bytes, which are the same in a file."""
    return _classes(raw)[name]()


def message_names() -> list[str]:
    """Every message of Caffe's that is known."""
    return list(_classes(False))


def repeated(field: Any) -> bool:
    """Whether a field may occur several times."""
    known = getattr(field, "is_repeated", None)  # newer protobuf
    return bool(field.label == field.LABEL_REPEATED if known is None else known)


@cache
def _classes(raw: bool) -> dict[str, Any]:
    descriptor_pb2 = need("google.protobuf.descriptor_pb2")
    schema = load(Path(__file__).with_name("schema.yaml"))
    enums, messages = schema["enums"], schema["messages"]
    # one package an enum: C++ scoping puts an enum's names beside it, and several say MAX or SUM
    pool = need("google.protobuf.descriptor_pool").DescriptorPool()
    for name, values in enums.items():
        file = descriptor_pb2.FileDescriptorProto(name=name, package=f"caffe.{name.lower()}")
        numbered = values.items() if isinstance(values, dict) else ((v, i) for i, v in enumerate(values))
        kind = file.enum_type.add(name=name)
        for value, number in numbered:
            kind.value.add(name=value, number=number)
        pool.AddSerializedFile(file.SerializeToString())
    file = descriptor_pb2.FileDescriptorProto(name="messages", package="caffe", dependency=list(enums))
    for name, fields in messages.items():
        kind = file.message_type.add(name=name)
        for field, text in fields.items():
            _add_field(kind, field, PACKED.sub("bytes", str(text)) if raw else str(text), enums)
    pool.AddSerializedFile(file.SerializeToString())
    make = need("google.protobuf.message_factory").GetMessageClass
    return {name: make(pool.FindMessageTypeByName(f"caffe.{name}")) for name in messages}


def _add_field(kind: Any, name: str, text: str, enums: dict[str, Any]) -> None:
    """``number type = default``; [] is repeated, [packed] packed too, ! required."""
    found = FIELD.fullmatch(text)
    assert found, f"schema.yaml: {kind.name}.{name}: {text!r}"
    field = kind.field.add(name=name, number=int(found["number"]))
    label = {None: "OPTIONAL", "!": "REQUIRED"}.get(found["label"], "REPEATED")
    field.label = getattr(field, f"LABEL_{label}")
    if found["type"] in SCALARS:
        field.type = getattr(field, f"TYPE_{found['type'].upper()}")
    elif found["type"] in enums:
        field.type, field.type_name = field.TYPE_ENUM, f".caffe.{found['type'].lower()}.{found['type']}"
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".caffe.{found['type']}"
    if found["default"] is not None:
        field.default_value = found["default"]
    if found["label"] == "[packed]":
        field.options.packed = True
