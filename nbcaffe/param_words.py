"""pycaffe's ``params``: ``P.Pooling.MAX`` is the word that a net file has in that place."""

import sys
from collections.abc import Iterable
from typing import Any

from . import layers  # noqa: F401  (defines the built-in types)
from .layer import REGISTRY
from .net_spec import NoSuchName
from .params import Choice, did_you_mean

declarations = sys.modules[Choice.__module__]
SHARED = {"Loss": "loss_param"}  # groups that several layer types have


class Words:
    """What the parameters of one message of Caffe's may be: ``P.Pooling.MAX`` is ``"MAX"``."""

    def __init__(self, name: str, words: Iterable[str]):
        self._name, self._words = name, frozenset(words)

    def __getattr__(self, word: str) -> str:
        if word.startswith("__"):  # copy and pickle look for these
            raise AttributeError(word)
        if word not in self._words:
            raise NoSuchName(f"P.{self._name} has no {word!r}{did_you_mean(word, self._words)}")
        return word

    def __dir__(self) -> list[str]:
        return sorted(self._words)


class Params:
    """The words of every layer type, and all that the module ``nbcaffe.params`` defines."""

    __name__ = "params"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if hasattr(declarations, name):
            return getattr(declarations, name)
        if name in SHARED:
            every = (p for kind in REGISTRY.values() for p in kind.params.values())
            return Words(name, words(p for p in every if p.group == SHARED[name]))
        if name not in REGISTRY:
            raise NoSuchName(f"params: no layer type {name!r}{did_you_mean(name, [*REGISTRY, *SHARED])}")
        return Words(name, words(REGISTRY[name].params.values()))

    def __dir__(self) -> list[str]:
        return sorted({*dir(declarations), *REGISTRY, *SHARED})


def words(declared: Iterable[Any]) -> list[str]:
    return [word for param in declared if isinstance(param, Choice) for word in param.options]


params = Params()
