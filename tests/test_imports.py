"""The shape of the source: imports run one way, files stay small, and nothing names the machine it was written on."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nbcaffe"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300

# A part may import parts of its own row and of the rows above it. A folder is one part.
LEVELS = (
    {"errors"},
    {"mode"},
    {"params", "yamlfile"},
    {"caffe"},
    {
        "cache",
        "device",
        "checked",
        "emit",
        "kernel",
        "kinds",
        "kmath",
        "lessons",
        "rewrite",
        "rng",
        "team",
        "threads",
        "watch",
    },
    {"calculus", "derive"},
    {"blob"},
    {"fillers"},
    {"layer"},
    {"spec"},
    {"passes"},
    {"builder"},
    {"graph", "memory"},
    {"net_spec"},
    {"elementwise", "formula", "scalars", "sums"},
    {"data", "ops"},
    {"layers"},
    {"fusing"},
    {"single"},
    {"netfile", "param_words"},
    {"arenas", "binding", "frozen", "resizing", "weight_files", "weights"},
    {"live", "pycaffe"},
    {"net"},
    {"solver"},
    {
        "checks",
        "convert",
        "decoding",
        "docgen",
        "draw",
        "features",
        "offline",
        "report",
        "roofline",
        "sampling",
        "scaffold",
        "through_time",
        "timing",
    },
    {"coord_map", "io", "proto"},
    {"classifier", "detector"},
    {"check"},
    {"plot"},
    {"alone"},
    {"verbs"},
    {"cli"},
    {"__main__"},
)
EVERYWHERE = {"__init__"}  # the version; its imports of public names are what users see, not a part
THIRD_PARTY = {"numba", "llvmlite", "numpy", "yaml", "h5py", "PIL", "rich"}  # install_requires; llvmlite is Numba's own
OPTIONAL = {
    "caffe": {"google", "lmdb"},
    "plot": {"matplotlib"},
    "roofline": {"matplotlib"},
    "through_time": {"matplotlib"},
}  # the extra of that name, for that part only
CUDA_HERE = {"device", "kernel"}
WORDS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "core"}


def part(file):
    """``nbcaffe/layers/pool.py`` belongs to the part ``layers``."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def name(file):
    return str(file.relative_to(ROOT))


@cache
def tree(file):
    return ast.parse(file.read_text(encoding="utf-8"), name(file))


def imports(file):
    """Each import of a file outside ``if TYPE_CHECKING``, as absolute dotted names with their lines."""
    typing_only = {
        id(node)
        for block in ast.walk(tree(file))
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    package = ["nbcaffe", *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree(file)):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield from (
                (".".join([*base, *filter(None, [node.module]), alias.name]), node.lineno) for alias in node.names
            )


def level(name_of_part):
    return next(i for i, row in enumerate(LEVELS) if name_of_part in row)


def wrong_way(file):
    """Imports of a file from rows below its own."""
    known = set().union(*LEVELS)
    for target, line in imports(file):
        words = target.split(".")
        if words[0] == "nbcaffe" and len(words) > 1 and words[1] in known and level(words[1]) > level(part(file)):
            yield f"{name(file)}:{line}: {part(file)} imports {words[1]}, which stands below it in LEVELS"


def test_every_part_has_one_place_in_the_table():
    assert sum(map(len, LEVELS)) == len(set().union(*LEVELS))
    unplaced = {part(file) for file in FILES} - set().union(*LEVELS) - EVERYWHERE
    assert not unplaced, f"name the new parts in LEVELS: {sorted(unplaced)}"


def test_imports_run_one_way():
    backwards = [line for file in FILES if part(file) in set().union(*LEVELS) for line in wrong_way(file)]
    assert not backwards, "\n".join(backwards)


def test_a_backward_import_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "layers").mkdir()
    bad = tmp_path / "layers" / "bad.py"
    bad.write_text("from ..kernel import kernel\n\ndef f():\n    from ..net import Net\n")
    assert list(wrong_way(bad)) == ["layers/bad.py:4: layers imports net, which stands below it in LEVELS"]


def test_inside_the_package_imports_are_relative():
    absolute = [
        f"{name(file)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(tree(file))
        if part(file) != "__main__"  # runs as a script, without a package around it
        and isinstance(node, ast.ImportFrom)
        and not node.level
        and node.module.split(".")[0] == "nbcaffe"
    ]
    assert not absolute, absolute


def test_only_the_required_packages_are_imported():
    strange = [
        f"{name(file)}:{line}: {target}"
        for file in FILES
        for target, line in imports(file)
        if target.split(".")[0]
        not in {"nbcaffe", *sys.stdlib_module_names, *THIRD_PARTY, *OPTIONAL.get(part(file), ())}
    ]
    assert not strange, "\n".join(strange)


def test_numba_cuda_is_met_in_the_device_modules_only():
    seen = {
        part(file)
        for file in FILES
        for node in ast.walk(tree(file))
        if (isinstance(node, ast.Constant) and node.value == "numba.cuda")
        or (isinstance(node, ast.Import) and any(alias.name.startswith("numba.cuda") for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and f"{node.module}.{node.names[0].name}".startswith("numba.cuda"))
        or (isinstance(node, ast.Attribute) and ast.unparse(node) == "numba.cuda")
    }
    assert seen <= CUDA_HERE | {"cli"}  # cli asks sys.modules whether it is too late for the simulator


def test_layers_do_not_know_their_target():
    naming = [
        f"{name(file)}:{node.lineno}: {node.id}"
        for file in FILES
        if part(file) == "layers"
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Name) and re.search("cuda|gpu", node.id, re.IGNORECASE)
    ]
    assert not naming, naming


@pytest.mark.parametrize("file", FILES, ids=name)
def test_files_stay_small(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name(file)} has {lines} lines; split it by what a reader looks for"


def test_names_say_what_things_are():
    modules = [name(file) for file in FILES if set(file.relative_to(PACKAGE).with_suffix("").parts) & WORDS]
    things = [
        f"{name(file)}:{node.lineno}: {node.name}"
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and re.search("Manager$|Helper$|^process$", node.name)
    ]
    assert not modules + things


def test_nothing_tracked_names_a_machine():
    # joined here, so that this file does not hold what it looks for
    folders = "|".join(["work", "root", "tmp", "home/[a-z]+", "Users/[a-z]+", "opt/[a-z]+"])
    machine = re.compile(rf"(?<![\w.$}}~-])/(?:{folders})/")
    named = []
    for file in tracked_files():
        if file.suffix in {".h5", ".png", ".gz"} or "golden" in file.parts or file == Path(__file__):
            continue
        text = file.read_text(encoding="utf-8").splitlines()
        named += [
            f"{file.relative_to(ROOT)}:{i}: {line.strip()}" for i, line in enumerate(text, 1) if machine.search(line)
        ]
    assert not named, "\n".join(named)


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:  # an unpacked archive without git
        return [
            file for folder in ("nbcaffe", "scripts", "tests", "nets", "docs") for file in (ROOT / folder).rglob("*.*")
        ]
    return [ROOT / line for line in listed.stdout.split("\0") if line and (ROOT / line).is_file()]
