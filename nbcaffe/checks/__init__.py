"""What a layer has to get right: one table of checks, for ``nbcaffe check``, a prompt and the tests."""

from .case import Case
from .finding import Finding
from .table import CHECKS, Check, examine

__all__ = ["CHECKS", "Case", "Check", "Finding", "examine"]
