"""``nbcaffe new-layer``: a file with an activation that works at once."""

import keyword
from argparse import Namespace
from pathlib import Path

from . import layers  # noqa: F401  (defines the built-in types)
from .errors import ConfigError
from .layer import REGISTRY, snake

TEXT = '''\
from nbcaffe import Activation, Float


class {name}(Activation):
    """x where x > 0, else slope * x / (1 + |x|): replace this by your own."""

    slope = Float(0.5, doc="slope just below 0")
    examples = ({{}}, {{"slope": 0.25}})

    @staticmethod
    def f(x, slope):
        return x if x > 0.0 else slope * x / (1.0 + abs(x))
'''


def run(args: Namespace) -> int:
    """Write the file and say what to do with it."""
    complain(args.name)
    path = Path(args.to or f"{snake(args.name)}.py")
    if path.exists():
        raise ConfigError(f"{path}: is there already; name another file with --to")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} is not there")
    path.write_text(TEXT.format(name=args.name), encoding="utf-8")
    print(f"wrote {path}. Edit f, then:\n")
    print(f"  nbcaffe check {path}\n")
    print("A net uses it by naming the file, relative to its own folder:\n")
    print(f"  import: [{path.name}]\n  layers:\n    - {{name: act, type: {args.name}, slope: 0.1}}")
    return 0


def complain(name: str) -> None:
    """Raise where ``name`` cannot be a layer type."""
    if keyword.iskeyword(name):
        raise ConfigError(f"new-layer: {name!r} is a word of Python; call the layer {name.capitalize()}Act, say")
    if not name.isidentifier():
        good = "".join(c if c.isalnum() or c == "_" else "" for c in name).lstrip("0123456789_") or "MyAct"
        raise ConfigError(f"new-layer: {name!r} is no class name: letters, digits and _ only; try {good!r}")
    if name in REGISTRY:
        raise ConfigError(f"new-layer: {name!r} is a layer type of nbcaffe already; try 'My{name}'")
    if name in ("Activation", "Float"):
        raise ConfigError(f"new-layer: {name!r} is a name that the file imports; try 'My{name}'")
