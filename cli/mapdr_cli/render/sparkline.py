"""Values over time as a row of bars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mapdr_cli.render.terminal import Glyphs


def sparkline(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """The last `width` values as bars of eight heights, scaled to the largest."""
    values = list(values)[-width:] if width > 0 else []
    top = max(values, default=0)
    steps = len(glyphs.bars) - 1
    bars = (
        glyphs.bars[0 if value <= 0 or not top else max(1, round(value / top * steps))] for value in values
    )
    return "".join(bars).rjust(width)


def condensed(values: Sequence[float], width: int) -> Sequence[float]:
    """All the values in at most `width`: where there is no room for each, the mean of several."""
    count = len(values)
    if count <= width or width <= 0:
        return values
    edges = [count * place // width for place in range(width + 1)]
    return [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
