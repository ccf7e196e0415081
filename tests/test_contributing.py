"""What CONTRIBUTING.md shows works as it stands."""

import re
import subprocess
import sys

USE = """
import numpy as np
from nbcaffe.single import Single

x = np.array([[-3.0, 0.5, 1.0]])
single = Single("Softsign", [x.shape], dtype=np.float64, sharpness=0.5)
(y,), (dx,) = single.forward(x), single.backward(np.ones_like(x))
assert np.allclose(y, x / (0.5 + abs(x))), y
assert np.allclose(dx, 0.5 / (0.5 + abs(x)) ** 2), dx
"""


def test_the_layer_of_the_guide_runs(root, tmp_path):
    guide = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (tmp_path / "softsign.py").write_text(re.search(r"```python\n(.*?)```", guide, re.DOTALL).group(1) + USE)
    # in a process of its own: defining a class registers it
    done = subprocess.run([sys.executable, tmp_path / "softsign.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_and_folders_that_the_guide_names_exist(root):
    guide = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:nbcaffe|tests|docs|\.ci|nets)/[\w./]*)`", guide)) | {"CHANGELOG.md"}
    missing = sorted(path for path in named if not (root / path).exists())
    assert not missing
