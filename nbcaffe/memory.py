"""One arena for what lives at different times: buffers that are alive together do not overlap."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

LINE = 64  # bytes; every buffer starts on a cache line


@dataclass
class Request:
    """Bytes wanted during some spans of a step; both ends of ``(first, last)`` count."""

    name: str
    size: int
    spans: list[tuple[int, int]] = field(default_factory=list)


def place(requests: Iterable[Request]) -> tuple[dict[str, int], int]:
    """Offset in bytes of each request, largest first where it fits first, and the size of the arena."""
    offsets: dict[str, int] = {}
    end = 0
    ordered = sorted(requests, key=lambda r: -r.size)
    placed = np.zeros((sum(len(r.spans) for r in ordered), 4), np.int64)  # first, last, low, high of each span
    count = 0
    for request in ordered:
        size, known = lines(request.size), placed[:count]
        meets = np.zeros(count, bool)
        for first, last in request.spans:
            meets |= (known[:, 0] <= last) & (known[:, 1] >= first)
        taken = known[meets, 2:]
        taken = taken[np.argsort(taken[:, 0])]
        free = np.concatenate([[0], np.maximum.accumulate(taken[:, 1])])  # where a gap before, or after all, begins
        wide = np.flatnonzero(free[:-1] + size <= taken[:, 0])
        at = int(free[wide[0]] if len(wide) else free[-1])
        offsets[request.name] = at
        for first, last in request.spans:
            placed[count] = first, last, at, at + size
            count += 1
        end = max(end, at + size)
    return offsets, end


def lines(size: int) -> int:
    return -(-size // LINE) * LINE
