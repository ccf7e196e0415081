"""What an author's scalar function says about its layer, and the text of the kernel bodies around it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import KernelError
from .params import Bool, Float, Int, Param, did_you_mean
from .rewrite import Device
from .sums import LANES

BLOCK = 32  # rows that are summed together where each column has a learned number of its own
OURS = {"f", "i", "row", "column", "lane", "start", "channels", "top_data", "top_diff", "n", "scale"}


@dataclass(frozen=True)
class Formula:
    """The scalar functions of one class, and the roles of their arguments."""

    name: str
    f: Device
    bottoms: tuple[str, ...]
    learned: tuple[str, ...]
    parameters: tuple[str, ...]
    given: dict[str, Device] = field(default_factory=dict)  # derivatives by argument
    surrogate: Device | None = None

    @property
    def derived(self) -> tuple[str, ...]:
        """The arguments whose derivatives come from the text of f."""
        return tuple(name for name in (*self.bottoms, *self.learned) if name not in self.given)

    @property
    def needs(self) -> frozenset[str]:
        """Whose data the backward pass reads."""
        read = {name for df in self.given.values() for name in arguments(df)}
        bottom = bool(self.derived) or not read.isdisjoint(self.bottoms)
        top = "y" in read and "y" not in self.bottoms
        return frozenset(word for word, need in (("bottom", bottom), ("top", top)) if need)

    def smooth(self, names: Iterable[str]) -> Device:
        """What the backward pass differentiates by these names: the surrogate, as far as it knows them."""
        stand_in = self.surrogate
        return stand_in if stand_in and set(names) <= set(arguments(stand_in)) else self.f


def arguments(device: Device) -> tuple[str, ...]:
    code = device.fn.__code__
    return code.co_varnames[: code.co_argcount]


def device_of(fn: Any) -> Device:
    return fn if isinstance(fn, Device) else Device(fn)


def read_formula(cls: Any, learned: Mapping[str, Param]) -> Formula:
    """The formula of a class with ``f``, or an error that names the line and what to write."""
    f = getattr(cls, "f", None)
    if f is None:
        raise KernelError(f"{cls.__name__}: give it a function f of scalars: def f(x): return ...")
    f = device_of(f)
    names = arguments(f)
    bottoms = tuple(n for n in names if n not in learned and n not in cls.params)
    given = {n: device_of(df) for n in (*bottoms, *learned) if (df := getattr(cls, f"df_{n}", None))}
    if len(bottoms) == 1 and getattr(cls, "df", None):
        given[bottoms[0]] = device_of(cls.df)
    surrogate = device_of(cls.surrogate) if cls.surrogate else None
    everyone = [f, *given.values(), *([surrogate] if surrogate else [])]
    read = {n for device in everyone for n in arguments(device)}
    parameters = tuple(n for n in cls.params if n in read and n not in learned)
    formula = Formula(cls.__name__, f, bottoms, tuple(learned), parameters, given, surrogate)
    refuse(cls, formula, everyone)
    return formula


def refuse(cls: Any, formula: Formula, everyone: list[Device]) -> None:
    """Say what is wrong with a formula, at the line of the function it is about."""
    known = {*cls.params, *formula.learned}
    for device in everyone:
        allowed = known if device is formula.f else {*known, *formula.bottoms, "y"}
        for name in arguments(device):
            param = cls.params.get(name)
            unused = known - set(arguments(device))
            if name == "self":
                fail(cls, device, "takes no self: it is a function of numbers; write @staticmethod above it")
            if isinstance(param, Param) and name in formula.parameters and not isinstance(param, Float | Int | Bool):
                fail(cls, device, f"cannot take {name!r}, which is {param}; numbers only: decide in setup()")
            if name not in allowed and (device is not formula.f or did_you_mean(name, unused).startswith(", did")):
                fail(cls, device, f"takes {name!r}, which is no parameter{did_you_mean(name, unused)}")
    wanted = getattr(cls, "arity", None)
    if wanted is not None and len(formula.bottoms) != wanted:
        unknown = [n for n in formula.bottoms if n != "x"] or formula.bottoms
        what = f"{unknown[0]!r} is no declared parameter of {cls.__name__}" if unknown else "it takes no input"
        advice = f"declare it ({unknown[0]} = Float(1.0, doc=...)), or derive from Elementwise" if unknown else "f(x)"
        fail(cls, formula.f, f"must have one input, got {list(formula.bottoms)}: {what}; {advice}")
    idle = [name for name in formula.learned if name not in arguments(formula.f)]
    if idle or not formula.bottoms:
        fail(cls, formula.f, f"must take {', '.join(idle) or 'an input'}")


def fail(cls: Any, device: Device, message: str) -> None:
    code = device.fn.__code__
    raise KernelError(f"{code.co_filename}:{code.co_firstlineno}: {cls.__name__}.{device.__name__} {message}")


class Writer:
    """Writes the bodies for one way of cutting a blob (see ``Layout``); ``each``: learned numbers of each channel."""

    def __init__(self, formula: Formula, form: str, each: tuple[str, ...]):
        self.formula, self.form, self.each = formula, form, each

    def forward(self, fn: Device) -> tuple[str, dict[str, Any]]:
        at = "i" if self.form == "flat" else "row, column"
        values = self.call("f", fn, at, self.numbers())
        return f"def {self.stem}({at}, {self.inputs}, top_data{self.constants}): top_data[{at}] = {values}", {"f": fn}

    def backward(
        self, names: tuple[str, ...], upstream: str, derive: Callable[[tuple[str, ...]], Device]
    ) -> tuple[str, dict[str, Any]]:
        """The body that writes the gradients by ``names``, and the scalar functions that it calls."""
        more = "".join(f", {name}" for name in ("scale",) if name in upstream)
        outputs = [f"{n}_{'sums' if n in self.formula.learned else 'diff'}" for n in names]
        index = "i" if self.form == "flat" else "row"
        head = f"def {self.stem}_backward({index}, {self.inputs}, top_data, top_diff, {', '.join(outputs)}"
        at = {"flat": "i", "rows": "row, column", "columns": "n, column"}[self.form]
        lines, scope = self.slopes(names, at, derive)
        for name, output in zip(names, outputs, strict=True):
            product = f"{upstream.format(at=at)} * by_{name}"
            if name in self.formula.learned:
                lines.append(f"{output}[row, {'lane' if self.form == 'rows' else 'column'}] += {product}")
            else:
                lines.append(f"{output}[{at}] = {product}")
        body = {"flat": self.flat, "rows": self.rows, "columns": self.columns}[self.form]
        return "\n    ".join([f"{head}{more}{self.constants}):", *body(lines, names)]), scope

    def slopes(self, names: tuple[str, ...], at: str, derive: Callable) -> tuple[list[str], dict[str, Any]]:
        """Lines that set ``by_x`` for each of ``names``: given ones, and one call for all that are derived."""
        lines, scope = [], {}
        numbers = {n: safe(n) for n in self.formula.learned} if self.form == "rows" else self.numbers()
        for name in names:
            if name in self.formula.given:
                scope[f"df_{name}"] = self.formula.given[name]
                lines.append(f"by_{name} = " + self.call(f"df_{name}", self.formula.given[name], at, numbers))
        derived = tuple(n for n in names if n not in self.formula.given)
        stand_in = set(arguments(self.formula.surrogate)) if self.formula.surrogate else set()
        for group in (tuple(n for n in derived if n in stand_in), tuple(n for n in derived if n not in stand_in)):
            if group:
                called = f"d{'surrogate' if group[0] in stand_in else 'f'}_{'_'.join(group)}"
                scope[called] = derive(group)
                target = ", ".join(f"by_{n}" for n in group)
                lines.append(f"{target} = " + self.call(called, self.formula.smooth(group), at, numbers))
        return lines, scope

    def call(self, name: str, device: Device, at: str, numbers: dict[str, str]) -> str:
        data = {n: f"{n}_data[{at}]" for n in self.formula.bottoms}
        known = {"y": f"top_data[{at}]", **data, **numbers, **{n: safe(n) for n in self.formula.parameters}}
        return f"{name}({', '.join(known[n] for n in arguments(device))})"

    def numbers(self) -> dict[str, str]:
        """How the learned numbers of one element are read."""
        place = "column" if self.form == "columns" else "row % channels"
        return {n: f"{n}_data[{place if n in self.each else 0}]" for n in self.formula.learned}

    @property
    def stem(self) -> str:
        return self.formula.name.lower()

    @property
    def inputs(self) -> str:
        names = [f"{n}_data" for n in (*self.formula.bottoms, *self.formula.learned)]
        return ", ".join([*names, *(["channels"] if self.formula.learned else [])])

    @property
    def constants(self) -> str:
        return "".join(f", {safe(n)}" for n in self.formula.parameters)

    def flat(self, lines: list[str], names: tuple[str, ...]) -> list[str]:
        return lines

    def rows(self, lines: list[str], names: tuple[str, ...]) -> list[str]:
        width = f"{self.formula.bottoms[0]}_data.shape[1]"
        sums = [n for n in names if n in self.formula.learned]
        clear = [f"for lane in team_range({LANES}):", *(f"    {n}_sums[row, lane] = 0.0" for n in sums)]
        return [
            *(f"{safe(n)} = {value}" for n, value in self.numbers().items()),
            *(clear if sums else []),
            f"for start in range(0, {width}, {LANES}):",
            f"    for lane in team_range(min({LANES}, {width} - start)):",
            "        column = start + lane",
            *(f"        {line}" for line in lines),
        ]

    def columns(self, lines: list[str], names: tuple[str, ...]) -> list[str]:
        first = f"{self.formula.bottoms[0]}_data"
        sums = [n for n in names if n in self.formula.learned]
        clear = [f"for column in team_range({first}.shape[1]):", *(f"    {n}_sums[row, column] = 0.0" for n in sums)]
        return [
            *(clear if sums else []),
            f"for n in range(row * {BLOCK}, min({first}.shape[0], row * {BLOCK} + {BLOCK})):",
            f"    for column in team_range({first}.shape[1]):",
            *(f"        {line}" for line in lines),
        ]


def safe(name: str) -> str:
    """A parameter's name in a body, where it must not be one of ours."""
    return name + "_" if name in OURS or name.startswith("by_") else name
