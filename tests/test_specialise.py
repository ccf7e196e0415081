"""Kernel templates: other constants, real modules, a disk cache that hits and is never stale."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nbcaffe.errors import KernelError
from nbcaffe.ops.specialise import fingerprint, imported, specialise, substitute

TILES = Path(__file__).resolve().parents[1] / "nbcaffe/ops/tiles"

HITS = """
import numpy as np
from nbcaffe.ops.direct_product import DirectProduct
from nbcaffe.ops.aligned import aligned_zeros
from nbcaffe.ops.shapes import ProductShape
from nbcaffe.ops.specialise import specialise
from types import SimpleNamespace
from nbcaffe.kernel import on_compile
told = []
on_compile(lambda name, seconds: told.append(name))
def buffer(shape, dtype="float32", way=""):
    return SimpleNamespace(data=aligned_zeros(shape, dtype))
engine = DirectProduct(ProductShape(3, 5, 7), buffer)
x, w, y = np.ones((3, 5), np.float32), np.ones((7, 5), np.float32), aligned_zeros((3, 7))
engine.forward(x, w, None, y)
stats = specialise("product").product.stats
tile = specialise("product_tile", MR=engine.y.mr, NV=engine.y.nv).tile
hits, misses = (sum(counts.values()) for counts in (stats.cache_hits, stats.cache_misses))
print(y[0, 0], "+".join(told) or "nothing", hits, misses, tile.cache_hits)
"""


def test_constants_change_and_lines_stay():
    text = "A, B = 1, 2  # why\nC = 3\n\nD = A + B\n"
    assert substitute(text, {"B": 7, "C": 8}, "here") == "A, B = 1, 7  # why\nC = 8\n\nD = A + B\n"


def test_an_unknown_constant_is_named():
    with pytest.raises(KernelError, match="no constants named MB"):
        specialise("product_tile", MB=3)


def test_the_same_constants_give_the_same_module():
    a, b = specialise("product_tile", MR=4, NV=4), specialise("product_tile", NV=4, MR=4)
    assert a is b
    assert (a.MR, a.NV) == (4, 4)
    assert a.__name__.startswith("nbcaffe.ops.tiles.product_tile_")


def test_what_a_template_imports_is_part_of_its_name(tmp_path):
    """Also what it imports through others: here llvm.py, through simd.py."""
    package = tmp_path / "nbcaffe"
    shutil.copytree(TILES.parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    template = package / "ops/tiles/product.py"
    seen = [fingerprint(template, tmp_path)]
    for edited in ("ops/tiles/product.py", "ops/tiles/copies.py", "ops/simd.py", "ops/llvm.py"):
        with (package / edited).open("a") as file:
            file.write("# edited\n")
        seen.append(fingerprint(template, tmp_path))
    assert len(set(seen)) == 5
    with (package / "ops/blas.py").open("a") as file:
        file.write("# not imported\n")
    assert fingerprint(template, tmp_path) == seen[-1]


def test_imports_are_found_relative_and_absolute():
    text = "from ..simd import vld\nfrom . import copies\nimport nbcaffe.ops.shapes\nimport numpy\n"
    found = imported(TILES / "product.py", text, TILES.parents[2])
    assert {path.name for path in found} == {"simd.py", "copies.py", "shapes.py"}


def test_the_next_process_finds_the_machine_code(tmp_path):
    def run():
        root = str(TILES.parents[2])
        environment = {"NBCAFFE_CACHE": str(tmp_path), "PYTHONPATH": root, "PATH": ""}
        return subprocess.run(
            [sys.executable, "-c", HITS], env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert run().split() == ["5.0", "product", "0", "1", "0"]
    assert run().split() == ["5.0", "nothing", "1", "0", "1"]
