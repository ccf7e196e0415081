"""Caffe's messages, in the module where pycaffe has what protoc makes of caffe.proto; needs ``nbcaffe[caffe]``."""

from typing import Any

from ..caffe.schema import message, message_names
from ..net_spec import NoSuchName
from ..params import did_you_mean

TRAIN, TEST = 0, 1


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in message_names():
        raise NoSuchName(f"Caffe has no message {name!r}{did_you_mean(name, message_names())}")
    return type(message(name))
