"""Declared layer parameters: type, default, range and one line of documentation, each stated once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any, Generic, NoReturn, TypeVar, overload

from .errors import ConfigError


class Mark(Enum):
    """Defaults that no user's value can equal."""

    REQUIRED = "the user must give a value"
    FIRST = "the first option"


REQUIRED = Mark.REQUIRED
_COMPARE = {">=": lambda a, b: a >= b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, "<": lambda a, b: a < b}


class ParamError(ConfigError):
    """A key or value that a declaration does not allow; ``key`` names the culprit, ``at`` its address if it has one."""

    def __init__(self, message: str, key: str | None = None, at: str | None = None):
        super().__init__(message)
        self.key, self.at = key, at


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """The tail of an error message: the nearest of ``words``, or all of them when none is near."""
    folded = {str(w).lower(): str(w) for w in words}
    close = get_close_matches(str(word).lower(), folded, n=1)
    if close or len(folded) > 20:
        return f", did you mean {folded[close[0]]!r}?" if close else ""
    return f" (known: {', '.join(sorted(folded.values()))})" if folded else " (there are none)"


T = TypeVar("T")


class Param(Generic[T]):
    """One declared parameter: a class attribute of a layer, the plain value on its instances.

    Parameters
    ----------
    default
        Left out: the user must give a value. ``None``: not given unless the user does.
    ge, gt, le, lt
        Range of every number in the value.
    group
        Message field of caffe.proto that holds it, where that is not the layer's own ``param_group``.
    """

    kind = "a value"
    name = "value"
    wrong: tuple = ()

    def __init__(
        self,
        default: Any = REQUIRED,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        lt: float | None = None,
        doc: str = "",
        group: str | None = None,
    ):
        self.doc, self.group = doc, group
        self.bounds = {op: v for op, v in ((">=", ge), (">", gt), ("<=", le), ("<", lt)) if v is not None}
        self.default = default if default is REQUIRED or default is None else self.check(default)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Param[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        if self.default is REQUIRED:
            raise AttributeError(f"{self.name} has no value yet")
        return self.default

    def __str__(self) -> str:
        """What is expected, as error messages and the reference say it."""
        return " and ".join([self.kind, *(f"{op} {v}" for op, v in self.bounds.items())])

    def check(self, value: Any) -> T:
        """Convert a user's value, or raise ParamError."""
        converted = self.convert(value)
        for item in _scalars(converted):
            if not all(_COMPARE[op](item, bound) for op, bound in self.bounds.items()):
                self.fail(value)
        return converted

    def convert(self, value: Any) -> Any:
        return value

    def fail(self, value: Any) -> NoReturn:
        got = "nothing" if value is None else repr(value)
        raise ParamError(f"{self.name}: expected {self}, got {got}", self.name)


def _scalars(value: Any) -> list:
    return [scalar for item in value for scalar in _scalars(item)] if isinstance(value, tuple) else [value]


def _listed(value: Any) -> tuple:
    """Repeated fields accept one value for a list of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _is_float(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


class Int(Param[int]):
    kind = "an int"
    wrong = ("three", 1.5, True, [1, 2])

    def convert(self, value: Any) -> Any:
        return value if type(value) is int else self.fail(value)


class Float(Param[float]):
    kind = "a float"
    wrong = ("three", True, [0.5], math.nan)

    def convert(self, value: Any) -> Any:
        return float(value) if _is_float(value) else self.fail(value)


class Bool(Param[bool]):
    kind = "true or false"
    wrong = (1, "yes", [True])

    def convert(self, value: Any) -> Any:
        return value if isinstance(value, bool) else self.fail(value)


class Str(Param[str]):
    kind = "a string"
    wrong = (3, True, ["a"])

    def convert(self, value: Any) -> Any:
        return value if isinstance(value, str) else self.fail(value)


class Choice(Param[str]):
    """One of a few words; the first one unless the user says otherwise."""

    wrong = ("no_such_choice", 1, ["a"])

    def __init__(self, *options: str, default: Any = Mark.FIRST, doc: str = "", group: str | None = None):
        self.options, self.kind = options, "one of " + ", ".join(options)
        super().__init__(options[0] if default is Mark.FIRST else default, doc=doc, group=group)

    def convert(self, value: Any) -> Any:
        if isinstance(value, str) and value in self.options:
            return value
        close = did_you_mean(value, self.options)
        raise ParamError(f"{self.name}: expected {self}, got {value!r}{close if '?' in close else ''}", self.name)


class Pair(Param[tuple[int, int]]):
    """``3`` or ``[3, 5]`` (height, width)."""

    kind = "an int or [height, width]"
    wrong = ("three", 1.5, True, [1, 2, 3], [1, "two"])

    def convert(self, value: Any) -> Any:
        pair = _listed(value)
        pair = pair * 2 if len(pair) == 1 else pair
        return pair if len(pair) == 2 and all(type(v) is int for v in pair) else self.fail(value)


class Ints(Param[tuple[int, ...]]):
    kind = "an int or a list of ints"
    wrong = ("three", 1.5, True, [1, "two"])

    def convert(self, value: Any) -> Any:
        return _listed(value) if all(type(v) is int for v in _listed(value)) else self.fail(value)


class Floats(Param[tuple[float, ...]]):
    kind = "a float or a list of floats"
    wrong = ("three", True, [0.5, "two"])

    def convert(self, value: Any) -> Any:
        return tuple(map(float, _listed(value))) if all(map(_is_float, _listed(value))) else self.fail(value)


class Strs(Param[tuple[str, ...]]):
    kind = "a string or a list of strings"
    wrong = (3, True, ["a", 1])

    def convert(self, value: Any) -> Any:
        return _listed(value) if all(isinstance(v, str) for v in _listed(value)) else self.fail(value)


class Shapes(Param[tuple[tuple[int, ...], ...]]):
    """``[[2, 3], [2]]``, or one shape ``[2, 3]``; Caffe's ``{dim: [2, 3]}`` stands for ``[2, 3]``."""

    kind = "a shape like [64, 1, 28, 28] or a list of shapes"
    wrong = ("2", 1.5, [[1, "two"]], [[1.5]], {"dims": [1]})

    def convert(self, value: Any) -> Any:
        value = (value,) if isinstance(value, Mapping) else _listed(value)
        if value and all(type(v) is int for v in value):
            value = (value,)
        return tuple(self._shape(v, value) for v in value)

    def _shape(self, shape: Any, value: tuple) -> tuple[int, ...]:
        if isinstance(shape, Mapping) and set(shape) <= {"dim"}:
            shape = _listed(shape.get("dim", ()))
        ok = isinstance(shape, (list, tuple)) and all(type(v) is int for v in shape)
        return tuple(shape) if ok else self.fail(list(value))


def bind(declared: Mapping[str, Param], given: Mapping[str, Any], owner: str) -> tuple[dict, list[ParamError]]:
    """Every declared parameter's value, and all that is wrong with the given ones.

    Never stops at the first error; a refused value is replaced by its default, a missing one by ``None``.
    """
    unknown = [key for key in given if key not in declared]
    errors = [ParamError(f"{owner} has no parameter {key!r}{did_you_mean(key, declared)}", key) for key in unknown]
    values = {}
    for name, param in declared.items():
        values[name] = None if param.default is REQUIRED else param.default
        try:
            if given.get(name) is not None or (name in given and param.default is not None):
                values[name] = param.check(given[name])
            elif param.default is REQUIRED:
                raise ParamError(f"{owner} needs {name!r}: {param.doc or param}")
        except ParamError as error:
            errors.append(error)
    return values, errors


def invalid_values(param: Param) -> list:
    """Values that the declaration must refuse: each wrong type, and one step beyond each bound."""
    step = {">=": -1, ">": 0, "<=": 1, "<": 0}
    return [*param.wrong, *(bound + step[op] for op, bound in param.bounds.items())]


@dataclass(frozen=True)
class FillerSpec:
    """How a weight is initialised: caffe.proto's FillerParameter."""

    type: str = "constant"
    value: float = 0.0
    min: float = 0.0
    max: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    sparse: int = -1
    variance_norm: str = "FAN_IN"


FILLER_PARAMS: dict[str, Param] = {
    "type": Choice("constant", "uniform", "gaussian", "positive_unitball", "xavier", "msra", "bilinear", doc="the law"),
    "value": Float(0.0, doc="constant: the value"),
    "min": Float(0.0, doc="uniform: the smallest value"),
    "max": Float(1.0, doc="uniform: the largest value"),
    "mean": Float(0.0, doc="gaussian: the mean"),
    "std": Float(1.0, ge=0, doc="gaussian: the standard deviation"),
    "sparse": Int(-1, ge=-1, doc="gaussian: expected number of non-zero weights per output; -1 keeps all"),
    "variance_norm": Choice("FAN_IN", "FAN_OUT", "AVERAGE", doc="xavier, msra: what the variance is divided by"),
}
for _name, _param in FILLER_PARAMS.items():
    _param.name = _name


class Filler(Param[FillerSpec]):
    """``xavier``, or ``{type: gaussian, std: 0.01}``."""

    kind = "a filler like xavier or {type: gaussian, std: 0.01}"
    wrong: tuple = ("no_such_filler", 3, {"type": "gaussian", "no_such_key": 1}, {"std": "wide"}, ["xavier"])

    def convert(self, value: Any) -> Any:
        if isinstance(value, FillerSpec):
            return value
        given = {"type": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping):
            self.fail(value)
        values, errors = bind(FILLER_PARAMS, given, "a filler")
        if errors:
            where = getattr(value, "where", None)  # a mapping that knows its address names the line of the key
            message = f"{self.name}: " + "; ".join(map(str, errors))
            raise ParamError(message, self.name, where(errors[0].key) if where else None)
        return FillerSpec(**values)
