"""An activation as machine code over a stretch of floats: engines call it on what they have just written.

That is still in the cache then, so a forward pass over the blob is saved.  The scalar function is the layer's own, with
its parameters written into the text, and the bits are those of the layer's kernel.
"""

from functools import cache
from typing import Any

from ..elementwise import Elementwise
from ..emit import finish_module
from ..rewrite import Device, source_from


def code_of(layer: Elementwise) -> int:
    """The address of ``finish(first, count)``, which applies the layer's function in place."""
    function = layer.formula.f
    return compiled(f"def finish(i, y):\n    y[i] = {layer.call('f', function, ['y[i]'])}", function).address


@cache
def compiled(text: str, f: Device) -> Any:
    return finish_module(source_from(text, {"f": f})).run
