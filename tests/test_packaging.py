"""What `pip install .` gives a user: the package and the command, without recipes and tests."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import nbcaffe

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, unpacked; built from a copy, so that nothing is left in the checkout."""
    copy, target = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "nbcaffe", copy / "nbcaffe", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("nets", "tests", "scripts"):  # must stay outside
        (copy / folder).mkdir()
        (copy / folder / "__init__.py").touch()
    for file in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / file).is_file():
            shutil.copy(ROOT / file, copy)
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(target)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(target / done.stdout.split()[-1]) as archive:
        archive.extractall(target / "unpacked")
    return target / "unpacked"


@pytest.fixture(scope="module")
def metadata(wheel):
    return message_from_string(next(wheel.glob("*.dist-info/METADATA")).read_text(encoding="utf-8"))


def requirements(metadata, extra=None):
    """Names of the packages that come without an extra, or with this one."""
    marked = [line.partition(";") for line in metadata.get_all("Requires-Dist")]
    wanted = f'extra == "{extra}"' if extra else ""
    chosen = [line for line, _, marker in marked if (wanted in marker if extra else "extra ==" not in marker)]
    return {re.match(r"[\w.-]+", line).group().lower() for line in chosen}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    assert {entry.name for entry in wheel.iterdir()} == {"nbcaffe", f"nbcaffe-{nbcaffe.__version__}.dist-info"}
    files = (file for file in (ROOT / "nbcaffe").rglob("*") if file.is_file() and file.parent.name != "__pycache__")
    source = {file.relative_to(ROOT) for file in files}
    packed = {file.relative_to(wheel) for file in (wheel / "nbcaffe").rglob("*") if file.is_file()}
    assert packed == source, "a folder without __init__.py, or an ending that package_data does not name, is left out"


def test_the_version_stands_in_one_place(metadata):
    assert metadata["Version"] == nbcaffe.__version__
    others = [
        file.name
        for file in (ROOT / "setup.cfg", ROOT / "pyproject.toml", *(ROOT / "nbcaffe").rglob("*.py"))
        if re.search(
            rf"""version\w*\s*[=:]\s*["']?{re.escape(nbcaffe.__version__)}""", file.read_text(encoding="utf-8")
        )
    ]
    assert others == ["__init__.py"]


def test_the_licence_is_named_and_enclosed(wheel, metadata):
    assert metadata["License-Expression"] == "BSD-2-Clause"
    assert next(wheel.glob("*.dist-info/licenses/LICENSE")).read_text().startswith("BSD 2-Clause License")


def test_what_is_required_is_what_the_table_of_imports_allows(metadata):
    tree = ast.parse((ROOT / "tests" / "test_imports.py").read_text(encoding="utf-8"))
    allowed = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "THIRD_PARTY"
    )
    distribution = {"yaml": "pyyaml", "PIL": "pillow"}
    imported = {distribution.get(module, module) for module in allowed - {"llvmlite"}}
    assert requirements(metadata) == imported | {"tbb"}  # Numba looks for tbb by itself


@pytest.mark.parametrize(
    "extra, some", [("test", "pytest"), ("dev", "mypy"), ("cuda", "nvidia-nvvm"), ("caffe", "protobuf")]
)
def test_extras(metadata, extra, some):
    assert extra in metadata.get_all("Provides-Extra")
    assert some in requirements(metadata, extra)


def test_python_3_10_to_3_13(metadata):
    assert set(metadata["Requires-Python"].split(",")) == {">=3.10", "<3.14"}


def test_the_console_command_calls_main(wheel):
    entries = configparser.ConfigParser()
    entries.read(next(wheel.glob("*.dist-info/entry_points.txt")))
    assert dict(entries["console_scripts"]) == {"nbcaffe": "nbcaffe.cli:main"}


def test_the_unpacked_wheel_runs(wheel, tmp_path):
    done = run(["-m", "nbcaffe", "--version"], tmp_path, PYTHONPATH=str(wheel))
    assert done.stdout == f"nbcaffe {nbcaffe.__version__}\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_its_verb_from_any_folder_without_installation(script, tmp_path):
    done = run([str(script), "--help"], tmp_path)
    assert done.stdout.startswith(f"usage: nbcaffe {script.stem} ")


def test_scripts_hold_no_logic():
    assert {script.stem for script in SCRIPTS} == {"train", "test", "time", "check", "data", "show", "expand", "draw"}
    texts = {re.sub(rf"\b{script.stem}\b", "VERB", script.read_text(encoding="utf-8")) for script in SCRIPTS}
    assert len(texts) == 1, "they differ in the verb only"


def test_public_names_are_the_ones_that_type_checkers_see():
    block = next(node for node in ast.parse(Path(nbcaffe.__file__).read_text()).body if isinstance(node, ast.If))
    shown = {alias.asname: line.module for line in block.body for alias in line.names}
    assert shown == {**nbcaffe.PUBLIC, **dict.fromkeys(nbcaffe.MODULES)}


@pytest.mark.parametrize("name", nbcaffe.PUBLIC)
def test_a_public_name_can_be_imported(name):
    value = getattr(nbcaffe, name)
    assert getattr(value, "__name__", value) == name  # TRAIN and TEST are their own names


def test_a_public_name_is_not_hidden_by_a_module_of_the_same_name(tmp_path):
    code = "import nbcaffe.device, nbcaffe.kernel; from nbcaffe import device, kernel; print(device, kernel)"
    assert run(["-c", code], tmp_path, PYTHONPATH=str(ROOT)).stdout.count("<function ") == 2


def test_importing_the_package_does_not_load_numba(tmp_path):
    code = "import sys, nbcaffe, nbcaffe.cli; print('numba' in sys.modules)"
    assert run(["-c", code], tmp_path, PYTHONPATH=str(ROOT)).stdout == "False\n"


def run(arguments, folder, **environment):
    """Run Python in this folder; the package is found by ``environment`` only."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=clean | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done
