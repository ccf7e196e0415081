"""One arena for what lives at different times: buffers that are alive together do not overlap."""

from collections.abc import Iterable
from dataclasses import dataclass, field

LINE = 64  # bytes; every buffer starts on a cache line


@dataclass
class Request:
    """Bytes wanted during some spans of a step; both ends of ``(first, last)`` count."""

    name: str
    size: int
    spans: list[tuple[int, int]] = field(default_factory=list)

    def meets(self, other: "Request") -> bool:
        return any(a <= d and c <= b for a, b in self.spans for c, d in other.spans)


def place(requests: Iterable[Request]) -> tuple[dict[str, int], int]:
    """Offset in bytes of each request, largest first where it fits first, and the size of the arena."""
    offsets: dict[str, int] = {}
    placed: list[Request] = []
    end = 0
    for request in sorted(requests, key=lambda r: -r.size):
        taken = sorted((offsets[p.name], offsets[p.name] + lines(p.size)) for p in placed if p.meets(request))
        at = 0
        for low, high in taken:
            if at + lines(request.size) <= low:
                break
            at = max(at, high)
        offsets[request.name] = at
        placed.append(request)
        end = max(end, at + lines(request.size))
    return offsets, end


def lines(size: int) -> int:
    return -(-size // LINE) * LINE
