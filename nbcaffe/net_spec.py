"""pycaffe's way to write nets in Python: ``n.conv1 = L.Convolution(n.data, num_output=20, kernel_size=5)``.

What a net file says once it is read is a :class:`nbcaffe.spec.NetSpec`; the one here makes the file or takes its place.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .builder import LayerBuilder
from .caffe.fields import net_message
from .errors import ConfigError
from .layer import REGISTRY
from .params import did_you_mean
from .passes.templates import Entry
from .spec import LayerSpec, count_range
from .yamlfile import Located, Problems, dump, located


class NoSuchName(ConfigError, AttributeError):
    """A name that is not there; ``hasattr`` and ``from ... import`` understand it, too."""


class Top:
    """One blob that a layer makes: ``fn`` is the layer, ``n`` the number among its tops."""

    def __init__(self, fn: Function, n: int):
        self.fn, self.n = fn, n

    def to_proto(self) -> Any:
        """The message of a net that computes this blob."""
        return to_proto(self)

    def __repr__(self) -> str:
        return f"top {self.n} of {self.fn!r}"


class Function:
    """A layer, its parameters and the tops that it reads; what is wrong with it is said where it is written.

    ``params`` are those that the user gave, ``spec`` has the values of all of them.
    """

    def __init__(self, type_name: str, inputs: tuple[Top, ...], params: dict[str, Any], where: str):
        self.type_name, self.where = type_name, where
        self.params = {key: plain(value) for key, value in params.items()}
        self.ntop, self.in_place = self.params.pop("ntop", 1), self.params.pop("in_place", False)
        self.inputs = inputs
        self._check_wiring()
        self.tops = tuple(Top(self, n) for n in range(self.ntop))
        self.spec = self._checked()

    def _check_wiring(self) -> None:
        kind, who = REGISTRY[self.type_name], f"{self.where}: L.{self.type_name}"
        for index, top in enumerate(self.inputs):
            if not isinstance(top, Top):
                hint = "; a layer of several tops gives a tuple: pass its elements" if isinstance(top, tuple) else ""
                raise ConfigError(f"{who}: input {index} is not a Top, but {type(top).__name__} {top!r:.60}{hint}")
        for key in ("type", "bottom", "top"):
            if key in self.params:
                raise ConfigError(f"{who}: {key} is no parameter here; n.top = L.{self.type_name}(n.bottom) says it")
        if type(self.ntop) is not int or self.ntop < 0 or type(self.in_place) is not bool:
            got = f"{self.ntop!r} and {self.in_place!r}"
            raise ConfigError(f"{who}: expected an int >= 0 for ntop and true or false for in_place, got {got}")
        for side, count in (("bottom", len(self.inputs)), ("top", self.ntop)):
            fewest, most = count_range(getattr(kind, f"num_{side}"))
            if count < (fewest if side == "bottom" else 0) or (most is not None and count > most):
                wanted = (
                    f"{fewest}" if fewest == most else f"{fewest} or more" if most is None else f"{fewest} to {most}"
                )
                how = "" if side == "bottom" else " (ntop says how many)"
                raise ConfigError(f"{who}: expected {wanted} {side}{'s' * (wanted != '1')}, got {count}{how}")
        if self.in_place and self.ntop > len(self.inputs):
            raise ConfigError(f"{who}: {self.ntop} tops cannot take the place of {len(self.inputs)} bottoms")
        if self.in_place and not (kind.inplace or kind.same_name) and self.type_name != "Python":
            raise ConfigError(f"{who}: this layer cannot run in place; leave out in_place")

    def _checked(self) -> LayerSpec:
        """The layer as a net file's would be, with all that is wrong with its parameters in one error."""
        problems = Problems()
        builder = LayerBuilder(problems)
        given = {"name": f"L.{self.type_name}", **self.params, "type": self.type_name}
        spec = builder.spec(builder.flat(Entry(located(given, self.where), {})), 0)
        problems.raise_all()
        return spec

    def update(self, params: Mapping[str, Any]) -> None:
        """Change parameters, with the same checks."""
        self.params |= {key: plain(value) for key, value in params.items()}
        self.spec = self._checked()

    def entry(self, name: str, bottom: list[str], top: list[str]) -> Located:
        """The layer in a net file."""
        blobs = {key: names[0] if len(names) == 1 else names for key, names in (("bottom", bottom), ("top", top))}
        given = {"name": name, "type": self.type_name, **blobs, **self.params}
        entry: Located = located({key: value for key, value in given.items() if bottom or key != "bottom"}, self.where)
        return entry

    def __repr__(self) -> str:
        return f"{self.type_name} ({self.where})"


class NetSpec:
    """Tops by the names that they are given, ``n.conv1 = L.Convolution(...)``, and the net that makes them.

    ``nbcaffe.Net`` and ``nbcaffe.draw.draw_net`` take it as it is; :meth:`to_proto` gives Caffe's message, whose
    ``str`` is the prototxt (extra ``nbcaffe[caffe]``), :meth:`to_yaml` the text of a YAML file.
    """

    tops: OrderedDict[str, Top | Function]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Top | Function) -> None:
        if not isinstance(value, (Top, Function)):
            several = isinstance(value, tuple) and all(isinstance(one, Top) for one in value)
            hint = f"; {len(value)} tops need as many names: n.{name}, n.other = ..." if several else ""
            raise ConfigError(f"n.{name}: expected what a layer gives, like L.ReLU(n.x), got {value!r:.80}{hint}")
        if hasattr(type(self), name) or name == "tops":
            raise ConfigError(f"n.{name}: NetSpec has something of this name; call the top otherwise")
        for other, top in self.tops.items():
            if top is value and other != name:
                raise ConfigError(f"n.{name}: {value!r} is called n.{other} already; a blob has one name")
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tops":  # copy and pickle look for these before there are any
            raise AttributeError(name)
        if name not in self.tops:
            raise NoSuchName(f"the net spec has no top {name!r}{did_you_mean(name, self.tops)}")
        return self.tops[name]

    def __delattr__(self, name: str) -> None:
        self.__getattr__(name)  # says what is there, if it is not
        del self.tops[name]

    def __setitem__(self, name: str, value: Top | Function) -> None:
        setattr(self, name, value)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in self.tops

    def keys(self) -> list[str]:
        return list(self.tops)

    def vals(self) -> list[Top | Function]:
        return list(self.tops.values())

    def update(self, name: str, params: Mapping[str, Any]) -> None:
        """Change parameters of the layer that makes a top."""
        top = self[name]
        (top.fn if isinstance(top, Top) else top).update(params)

    def document(self) -> Located:
        """The mapping of a net file: the layers that the tops need, each after those that it reads."""
        return document(self.tops.values(), {top: name for name, top in self.tops.items()})

    def to_proto(self) -> Any:
        """The net as a NetParameter."""
        return message(self.document())

    def to_yaml(self) -> str:
        """The text of a YAML net file."""
        return dump(self.document())


def to_proto(*tops: Top | Function) -> Any:
    """A NetParameter of the layers that these tops need, with names made of types and numbers."""
    return message(document(tops, {}))


def message(net: Located) -> Any:
    return net_message(net, lambda index, key: net["layers"][index].where(key))


def document(tops: Iterable[Top | Function], given: Mapping[Top | Function, str]) -> Located:
    """Order the layers, and name what the user did not."""
    names, taken = dict(given), set(given.values())
    blobs: dict[Top, str] = {}

    def named(thing: Top | Function, kind: str) -> str:
        if thing not in names:
            number = next(n for n in range(1, len(taken) + 2) if f"{kind}{n}" not in taken)
            names[thing] = f"{kind}{number}"
            taken.add(names[thing])
        return names[thing]

    layers: list[Located] = []
    for fn in ordered(top.fn if isinstance(top, Top) else top for top in tops):
        bottom = [blobs[top] for top in fn.inputs]
        top = bottom[: fn.ntop] if fn.in_place else [named(one, fn.type_name) for one in fn.tops]
        blobs.update(zip(fn.tops, top, strict=True))
        layers.append(fn.entry(named(fn.tops[0] if fn.tops else fn, fn.type_name), bottom, top))
    return Located({"layers": layers}, layers[0].path.rpartition(":")[0] if layers else "")


def ordered(wanted: Iterable[Function]) -> Iterator[Function]:
    """Each layer once, after all that it reads; deep nets would be too much for a recursion."""
    done: set[Function] = set()
    for last in wanted:
        stack = [last]
        while stack:
            missing = [top.fn for top in stack[-1].inputs if top.fn not in done]
            if missing:
                stack.append(missing[0])
                continue
            fn = stack.pop()
            if fn not in done:
                done.add(fn)
                yield fn


def plain(value: Any) -> Any:
    """A value as a file would hold it: no tuples, nothing of NumPy's."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def layer_function(name: str) -> Callable[..., Any]:
    """What ``L.Convolution`` is: called with tops and parameters it gives a top, or ``ntop`` of them as a tuple."""
    if name not in REGISTRY:
        raise NoSuchName(f"no layer type {name!r}{did_you_mean(name, REGISTRY)}")

    def make(*inputs: Top, **params: Any) -> Any:
        caller = sys._getframe(1)
        fn = Function(name, inputs, params, f"{caller.f_code.co_filename}:{caller.f_lineno}")
        return fn if fn.ntop == 0 else fn.tops[0] if fn.ntop == 1 else fn.tops

    make.__name__ = make.__qualname__ = name
    make.__doc__ = REGISTRY[name].__doc__
    return make
