"""The reference pages: every layer and solver setting, written from its declaration."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from collections.abc import Iterable, Mapping
from difflib import unified_diff
from importlib import import_module
from pathlib import Path
from typing import Any

from .errors import DataError
from .layer import REGISTRY, Layer
from .params import FILLER_PARAMS, REQUIRED, FillerSpec, Param
from .yamlfile import dump

NOTE = "<!-- Written by `nbcaffe docs` from the declarations in the source; edit those. -->\n"


def run(args: argparse.Namespace) -> int:
    """``nbcaffe docs``: write the pages, or with ``--check`` show where the committed ones differ."""
    folder = Path(args.to)
    pages = {folder / name: text for name, text in reference().items()}
    if args.check:
        return 1 if [file for file, text in pages.items() if _differs(file, text)] else 0
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in pages.items():
        file.write_text(text, encoding="utf-8")
        print(file)
    return 0


def _differs(file: Path, text: str) -> bool:
    """Print the difference between a committed page and what it should say."""
    if not file.is_file():
        raise DataError(f"{file}: no such page; run `nbcaffe docs` in the repository's top folder and commit it")
    lines = [*unified_diff(_lines(file.read_text(encoding="utf-8")), _lines(text), str(file), "declarations", n=0)]
    if lines:
        print(f"{file}: not what the declarations say; run `nbcaffe docs` and commit it", file=sys.stderr)
        print("".join(lines[:20]), end="", file=sys.stderr)
    return bool(lines)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def reference() -> dict[str, str]:
    """Name and text of each page."""
    import_module(".layers", __package__)  # defines what REGISTRY holds
    own = {name: cls for name, cls in REGISTRY.items() if cls.__module__.startswith(f"{__package__}.layers.")}
    declared = import_module(".solver.spec", __package__).SolverSpec.params
    updates = import_module(".solver.rules", __package__).UPDATES
    policies = import_module(".solver.policies", __package__).POLICIES
    sections = [
        named_section("Updates", "type", {n: (prose(u), u.params) for n, u in updates.items() if is_ours(u)}),
        named_section(
            "Policies", "lr_policy", {n: (prose(p.rate), p.params) for n, p in policies.items() if is_ours(p.rate)}
        ),
    ]
    return {"layers.md": layers_page(own), "solver.md": "\n".join([solver_page(declared), *sections])}


def is_ours(thing: Any) -> bool:
    """Whether it is part of the package, and not of a file that some net imported."""
    return bool(thing.__module__.startswith(f"{__package__}."))


def layers_page(layers: Mapping[str, type[Layer]]) -> str:
    """All layers in alphabetical order, then the fillers that their weights can start from."""
    index = " · ".join(f"[{name}](#{name.lower()})" for name in sorted(layers))
    sections = [layer_section(name, layers[name]) for name in sorted(layers)]
    fillers = "## Fillers\n\nA filler is a type, `xavier`, or a mapping, `{type: gaussian, std: 0.01}`.\n\n"
    return "\n".join(
        [NOTE, "# Layers\n", f"{index} · [Fillers](#fillers)\n", *sections, fillers + table(FILLER_PARAMS)]
    )


def layer_section(name: str, cls: type[Layer]) -> str:
    """What one layer is for, what it connects, its parameters and its examples."""
    facts = [f"{counted(cls.num_bottom, 'bottom')}, {counted(cls.num_top, 'top')}"]
    facts += ["may run in place"] * cls.inplace + ["a loss"] * cls.loss
    facts += [f"`{cls.param_group}` in caffe.proto"] * bool(cls.params)
    parts = [f"## {name}\n", prose(cls), "; ".join(facts) + ".\n"]
    parts += [table(cls.params)] * bool(cls.params)
    return "\n".join([*parts, f"```yaml\n{examples(name, cls)}```\n"])


def solver_page(declared: Mapping[str, Param]) -> str:
    """All settings of a solver file, as declared."""
    return "\n".join([NOTE, "# Solver files\n", table(declared)])


def named_section(title: str, key: str, entries: Mapping[str, tuple[str, Mapping[str, Param]]]) -> str:
    """What a setting may name: one paragraph each, and a table of the settings that come with it."""
    parts = [f"## {title}\n", f"Values of `{key}`.\n"]
    for name, (text, params) in entries.items():
        parts += [f"### {name}\n", text] + [table(params)] * bool(params)
    return "\n".join(parts)


def prose(thing: Any) -> str:
    """A class's or function's own docstring as Markdown."""
    return inspect.cleandoc(thing.__doc__ or "").replace("``", "`") + "\n"


def counted(count: Any, noun: str) -> str:
    """``1 bottom``, ``2 to 3 bottoms``, ``1 or more tops``."""
    least, most = count if isinstance(count, tuple) else (count, count)
    number = str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
    return f"{number} {noun}" + "s" * (number != "1")


def table(declared: Mapping[str, Param]) -> str:
    """One row a parameter: what is expected, the default, what it means."""
    rows = ["| parameter | expected | default | meaning |", "|---|---|---|---|"]
    for name, param in declared.items():
        group = f" (`{param.group}` in caffe.proto)" if param.group else ""
        cells = (f"`{name}`", str(param), default(param), param.doc + group)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def default(param: Param) -> str:
    """A default as the user would write it in YAML."""
    if param.default is REQUIRED:
        return "**required**"
    if param.default is None or param.default == ():
        return "–"
    return f"`{flow(as_yaml(param.default))}`"


def as_yaml(value: Any) -> Any:
    """A bound value in the form that a YAML file has for it."""
    if isinstance(value, FillerSpec):
        unlike = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        unlike = {key: v for key, v in unlike.items() if key == "type" or v != FILLER_PARAMS[key].default}
        return value.type if len(unlike) == 1 else unlike
    if isinstance(value, tuple | list):
        return [as_yaml(item) for item in value]
    return value


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    return dump({"_": value}).partition(": ")[2].strip()


def examples(name: str, cls: type[Layer]) -> str:
    """The class's test cases as lines of a net, each once."""
    lines = dict.fromkeys(_example(name, cls, example) for example in cls.examples)
    return "".join(f"{line}\n" for line in lines)


def _example(name: str, cls: type[Layer], example: Mapping[str, Any]) -> str:
    given = {key: as_yaml(value) for key, value in example.items() if key in cls.params}
    line = dump({"layers": [{"name": name.lower(), "type": name, **given}]}).splitlines()[1].strip()
    shapes = example.get("bottom", cls.bottom_shapes)
    return f"{line}  # {reads(shapes)}" if shapes else line


def reads(shapes: Iterable[Iterable[int]]) -> str:
    """``reads 2×3×5×4 and 2``."""
    texts = ["×".join(map(str, shape)) or "a number" for shape in shapes]
    return "reads " + " and ".join(texts)
