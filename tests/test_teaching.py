"""Errors that teach: what beginners write in a body, at their line and in its words, before or after Numba sees it."""

import importlib
import importlib.util
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from nbcaffe.errors import KernelError

HEAD = """\
import math
import numpy as np
from nbcaffe.kernel import device, kernel, real

NAMES = [1.0, 2.0]
MEMO = {}
NOTHING = None
TEXT = "a"
LARGE = np.zeros(5000)
TABLE = np.array([1.0, 2.5, 3.5, 9.0])

def plain(x):
    return 2.0 * x

doubled = lambda x: 2.0 * x

@device
def silent(x):
    y = x

@device
def pair(x, k):
    return x, k

"""

SCALAR = """\
@device
def f({args}):
{body}

@kernel
def body(i, x, y):
    y[i] = f(x[i])
"""

# name: body of f with its line marked "# here", or the line that calls it if none is; what must be said
MISTAKES = {
    "a list": ("return [x, 1.0][0]  # here", "a body works on numbers, not on lists; name each number"),
    "a comprehension": ("return max([k * x for k in range(3)])  # here", "not on lists"),
    "a dictionary": ("return {1: x}[1]  # here", "not on dictionaries"),
    "an f-string": ("print(f'{x}')  # here\nreturn x", "a body has no text; print(x) shows a number"),
    "numpy's where": ("return np.where(x > 0.0, x, 0.1)  # here", "write x if x > 0.0 else 0.1"),
    "numpy's clip": ("return np.clip(x, 0.0, 1.0)  # here", "write min(max(x, 0.0), 1.0)"),
    "numpy's sqrt": ("return np.sqrt(x)  # here", "write math.sqrt(x)"),
    "numpy's sum": ("return np.sum(x)  # here", "write a loop: for c in range"),
    "numpy's zeros": ("t = np.zeros(3)  # here\nreturn t[0]", "write self.buffer(shape) in setup"),
    "random numbers": ("return x + np.random.rand()  # here", "words of rng.philox(key, pass, index)"),
    "a name that is None": ("return x + NOTHING  # here", "'NOTHING' is None; a body needs a number"),
    "None": ("return x if x is None else 0.0  # here", "a body has no None"),
    "self": ("return self.beta * x  # here", "no self; name the layer's parameter as an argument: def f(x, beta)"),
    "a global list": ("return x * NAMES[0]  # here", "'NAMES' is a list; make it np.array([...]), or a tuple"),
    "a global dictionary": ("return x * MEMO[0]  # here", "'MEMO' is a dict; a body reads numbers and small arrays"),
    "a large array": ("return x * LARGE[0]  # here", "'LARGE' is an array of more than 4096 elements"),
    "text": ("return x if TEXT else 0.0  # here", "'TEXT' is text; a body works on numbers"),
    "an undecorated function": ("return plain(x)  # here", "'plain' is a plain function; mark it @device"),
    "a lambda of the module": ("return doubled(x)  # here", "'doubled' is a lambda; write def doubled(...)"),
    "a lambda inside": ("g = lambda z: z  # here\nreturn g(x)", "a body has no lambda; write the function by itself"),
    "a missing return": ("if x > 0.0:  # here\n    return x", "where this ends without a return"),
    "a bare return": ("if x > 0.0:\n    return  # here\nreturn x", "return without a number"),
    "an int that becomes real": ("y = 0  # here\nfor k in range(3):\n    y += x\nreturn y", "write y = 0.0"),
    "a name of two kinds": ("y = x\nif x > 0.0:\n    y = (x, x)\nreturn y  # here", "'y' is "),
    "a shape": ("return x / x.shape[0]  # here", "a number has no shape; f sees one element, not the blob"),
    "a method": ("return x.sum()  # here", "a number has no sum; f sees one element"),
    "an index": ("return x[0]  # here", "a number has no elements; f sees one element, so write x, not x[i]"),
    "sigmoid": ("return math.sigmoid(x)  # here", "math has no 'sigmoid'; write 1.0 / (1.0 + math.exp(-x))"),
    "a slip in math": ("return math.squrt(x)  # here", "math has no 'squrt', did you mean 'sqrt'?"),
    "a complex number": ("return x * 1j  # here", "a body has no complex numbers"),
    "recursion": ("return x if x < 1.0 else f(x - 1.0)  # here", "a body has no recursion: write a loop"),
    "try": ("try:  # here\n    return x\nexcept ValueError:\n    return 0.0", "a body has no try; test beforehand"),
    "sum": ("return sum(x)  # here", "sum is Python's"),
    "import": ("import cmath  # here\nreturn x", "import stands at the top of the file"),
    "a sum with a tuple": ("return x + (1.0, 2.0)  # here", "both must be numbers"),
    "a callee without return": ("return 2.0 * silent(x)  # here", "one of the values is None: a return is missing"),
    "a tuple for an element": ("return x, 1.0", "this is a tuple; return one number"),
    "no return": ("y = x", "the function that is called has no return"),
    "too few arguments": ("a, b = pair(x)  # here\nreturn a", "pair takes 2 arguments (x, k), got 1"),
}


def load(path, text):
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
    return module


def scalar(body, args="x"):
    return HEAD + SCALAR.format(args=args, body=textwrap.indent(body, "    "))


def run(path, text):
    body = load(path, text).body
    y = np.zeros(3, np.float32)
    body[3](np.ones(3, np.float32), y)
    return y


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_at_its_line_with_what_to_write_instead(mistake, tmp_path):
    body, says = MISTAKES[mistake]
    text = scalar(body)
    lines = text.splitlines()
    line = next((n for n, words in enumerate(lines, 1) if words.endswith("# here")), len(lines))
    with pytest.raises(KernelError, match=re.escape(says)) as caught:
        run(tmp_path / "author.py", text)
    assert str(caught.value).startswith(f"{tmp_path / 'author.py'}:{line}: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "body",
    ["print(x)\nreturn x", "return np.maximum(x, 0.0)", "return TABLE[0]", "assert x > 0.0, 'less'\nreturn x"],
)
def test_what_works_is_not_refused(body, tmp_path):
    np.testing.assert_array_equal(run(tmp_path / "author.py", scalar(body)), np.ones(3))


@pytest.mark.parametrize("word", ["real", "unsigned", "team_sum", "math", "np"])
def test_an_argument_named_like_a_word_of_the_body_is_refused(word, tmp_path):
    says = f"its argument '{word}' hides the word {word}, which bodies use; call it {word}_"
    with pytest.raises(KernelError, match=re.escape(says)):
        run(tmp_path / "author.py", scalar(f"return {word}", args=word))


def test_a_sum_of_elements_that_starts_as_an_int_is_refused_in_a_row_body_too(tmp_path):
    text = HEAD + "@kernel\ndef body(row, x, y):\n    t = 0\n    t += x[row]\n    y[row] = t\n"
    with pytest.raises(KernelError, match=r"'t' starts as the whole number 0 .* write t = 0\.0"):
        run(tmp_path / "author.py", text)


def test_a_lambda_for_f_is_refused_with_what_to_write(tmp_path):
    text = "from nbcaffe import Activation\n\nclass Lambda(Activation):\n    f = staticmethod(lambda x: 2.0 * x)\n"
    with pytest.raises(KernelError, match=re.escape("author.py:4: a body must be a def of its own, not a lambda")):
        load(tmp_path / "author.py", text)


def test_a_body_without_a_text_says_where_to_write_it():
    scope = {}
    exec("from nbcaffe.kernel import device\n@device\ndef f(x):\n    return x\n", scope)
    with pytest.raises(KernelError, match=r"its text cannot be read.*write it in a file or a notebook cell"):
        _ = scope["f"].source


def test_numbas_own_complaint_shows_only_when_asked_for(tmp_path, root):
    (tmp_path / "author.py").write_text(scalar("return x.sum()"))
    run_it = "import author, numpy as np; author.body[1](np.ones(1, 'f'), np.ones(1, 'f'))"
    done = subprocess.run([sys.executable, "-c", run_it], cwd=tmp_path, capture_output=True, text=True)
    assert "a number has no sum" in done.stderr and "site-packages" not in done.stderr
    with pytest.raises(KernelError) as caught:
        run(tmp_path / "author.py", scalar("return x.sum()"))
    assert "numba" in type(caught.value.__context__).__module__ and caught.value.__suppress_context__


def test_a_check_says_once_what_does_not_compile(tmp_path):
    text = "from nbcaffe import Activation\n\nclass Sums(Activation):\n    @staticmethod\n    def f(x):\n"
    text += "        return x.sum()\n\n    @staticmethod\n    def df(x):\n        return 1.0\n"
    (tmp_path / "sums.py").write_text(text)
    command = [sys.executable, "-m", "nbcaffe", "check", "sums.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.count("a number has no sum") == 1 and "During:" not in done.stdout + done.stderr
    assert f"Sums: {tmp_path / 'sums.py'}:6: kernel 'sums' does not compile" in done.stdout
