"""Plots as inline SVG in HTML: bars, with the figures behind them as a table.

The bars stretch with the page; labels are text beside them, which does not. The page's style gives colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import count

_WIDTH, _HEIGHT = 1000, 160
_TICKS = 4
_LABELS = 7
"""Labels below the bars at most: more do not fit on a phone."""


def bars(title: str, of: str, labels: Sequence[str], values: Sequence[int]) -> str:
    """A figure with one bar for each label; `of` is what the values count, e.g. images.

    Who cannot see it hears its sum and its highest bar, and finds every figure in the table.
    """
    top = scale(max(values, default=0))
    said = escape(_said(title, of, labels, values))
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><div class="plot">'
        f'<div class="y" aria-hidden="true">{_ticks(top)}</div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f"{_lines()}{_rectangles(labels, values, top)}</svg>"
        f'<div class="x" aria-hidden="true">{_marks(labels)}</div></div>'
        f"{_table(title, of, labels, values)}</figure>"
    )


def scale(highest: int) -> int:
    """The top of an axis for these values: a round number of which a fourth is whole."""
    tops = (step * 10**power // 10 for power in count() for step in (10, 12, 16, 20, 40, 60, 80))
    return int(next(top for top in tops if top >= max(4, highest) and top % _TICKS == 0))


def _said(title: str, of: str, labels: Sequence[str], values: Sequence[int]) -> str:
    highest = max(values, default=0)
    if not highest:
        return f"{title}: none"
    return f"{title}: {sum(values):,} {of} in all, the most {highest:,} at {labels[values.index(highest)]}"


def _ticks(top: int) -> str:
    return "".join(f"<span>{round(top * step / _TICKS):,}</span>" for step in range(_TICKS, -1, -1))


def _lines() -> str:
    path = "".join(f"M0 {_HEIGHT * step // _TICKS}H{_WIDTH}" for step in range(_TICKS + 1))
    return f'<path class="grid" d="{path}"/>'


def _rectangles(labels: Sequence[str], values: Sequence[int], top: int) -> str:
    step = _WIDTH / max(1, len(values))
    found = []
    for number, (label, value) in enumerate(zip(labels, values, strict=True)):
        if value:
            height = max(1.0, _HEIGHT * value / top)
            found.append(
                f'<rect x="{step * (number + 0.12):.1f}" y="{_HEIGHT - height:.1f}" width="{step * 0.76:.1f}"'
                f' height="{height:.1f}"><title>{escape(label)}: {value:,}</title></rect>'
            )
    return "".join(found)


def _marks(labels: Sequence[str]) -> str:
    """Some of the labels, each at its bar."""
    every = -(-len(labels) // _LABELS)
    step = _WIDTH / max(1, len(labels))
    marks = "".join(
        f'<text x="{(number + 0.5) * step / _WIDTH * 100:.1f}%" y="13">{escape(label)}</text>'
        for number, label in enumerate(labels)
        if number % every == 0
    )
    return f'<svg width="100%" height="18">{marks}</svg>'


def _table(title: str, of: str, labels: Sequence[str], values: Sequence[int]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td>{value:,}</td></tr>'
        for label, value in zip(labels, values, strict=True)
    )
    return (
        f"<details><summary>Figures of this plot</summary><table><caption>{escape(title)}</caption>"
        f'<thead><tr><th scope="col">when</th><th scope="col">{escape(of)}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></details>"
    )
