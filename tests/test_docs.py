"""What the documentation shows works as it stands."""

import re
import subprocess
import sys

import pytest

from nbcaffe.net import Net
from nbcaffe.netfile import read_net

PAGES = (
    "README.md",
    "docs/kernels.md",
    "docs/adding-a-layer.md",
    "docs/custom-layers.md",
    "docs/nets.md",
    "docs/fine-tuning.md",
    "docs/concepts.md",
    "ARCHITECTURE.md",
)


def snippets(root, page, language):
    return re.findall(rf"```{language}\n(.*?)```", (root / page).read_text(encoding="utf-8"), re.DOTALL)


def run(*command):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(file, code):
    file.write_text(code)
    out = run("-m", "nbcaffe", "check", "--device", "sim", file)
    assert "all passed" in out and "FAILED" not in out
    return out


def test_the_layer_on_the_first_screen_is_short_and_right(root, tmp_path):
    (code,) = snippets(root, "README.md", "python")
    assert len(code.splitlines()) <= 13
    assert code == (root / "examples" / "swish.py").read_text()
    assert "SmoothGate" in check(tmp_path / "swish.py", code)


def test_the_layers_of_the_guide_are_right(root, tmp_path):
    clip, shift = snippets(root, "docs/adding-a-layer.md", "python")
    assert "ClipTo" in check(tmp_path / "clip_to.py", clip)
    assert "Shift" in check(tmp_path / "shift.py", shift)
    (net,) = snippets(root, "docs/adding-a-layer.md", "yaml")
    (tmp_path / "net.yaml").write_text(net)
    assert "ClipTo" in run("-m", "nbcaffe", "show", tmp_path / "net.yaml")


def test_the_ten_minute_page_works_from_its_first_snippet_to_its_last(root, tmp_path):
    first, text, prompt, *others = snippets(root, "docs/custom-layers.md", "python")
    assert "SmoothGate" in check(tmp_path / "smooth_gate.py", first)
    (tmp_path / "prompt.py").write_text(first + text + prompt + "assert y.shape == dx.shape == (7,)")
    assert "def f_by_x(x, beta)" in run(tmp_path / "prompt.py")
    (net,) = snippets(root, "docs/custom-layers.md", "yaml")
    (tmp_path / "net.yaml").write_text(net)
    assert "SmoothGate" in run("-m", "nbcaffe", "show", tmp_path / "net.yaml")
    out = check(tmp_path / "others.py", "".join(others))
    assert all(name in out for name in ("Rational", "Squash", "Rounded", "Gate", "Huber"))


def test_the_kernel_of_the_kernels_page_runs(root, tmp_path):
    (code,) = snippets(root, "docs/kernels.md", "python")
    (tmp_path / "page.py").write_text(code)
    run(tmp_path / "page.py")


def test_the_nets_that_are_shown_are_nets(root):
    (first,) = snippets(root, "README.md", "yaml")
    assert [layer.type for layer in read_net(first).layers][-1] == "SoftmaxWithLoss"
    (lenet,) = snippets(root, "docs/nets.md", "yaml")
    assert Net(lenet, "TEST").blobs["ip"].shape == (8, 10)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(root, page):
    folder = (root / page).parent
    prose = re.sub(r"```.*?```", "", (root / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:]+)\)", prose)
    assert [link for link in links if not (folder / link).exists()] == []
