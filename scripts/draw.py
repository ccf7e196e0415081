"""``python scripts/draw.py ...`` is ``nbcaffe draw ...``, also from a checkout that is not installed."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("nbcaffe") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    from nbcaffe.cli import main

    sys.exit(main(["draw", *sys.argv[1:]]))
