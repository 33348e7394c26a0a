"""The sign in the tray: the program's icon with a badge whose shape tells the standing; colour helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapdr.operate.glance import Standing

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 64
_FINE = 4
"""Drawn so many times larger, for smooth edges."""
_GROUND, _PALE, _INK = "#1c5fd4", "#6b7480", "#ffffff"
_COLOURS = {"receiving": "#4cc38a", "waiting": "#f0b357", "stuck": "#ff5a4f", "stopped": "#c3c9d1"}
_LETTER = ((7, 23), (7, 9), (16, 18), (25, 9), (25, 23))
"""The M of `icon.svg`, on its 32 x 32."""
_BADGE = (15.0, 15.0, 32.0, 32.0)


def icon(standing: Standing, size: int = SIZE) -> Image:
    """The icon, `size` pixels square: a disc, a half disc, a triangle, or a square on a pale ground."""
    from PIL import Image, ImageDraw  # only who has a tray needs it

    scale = size * _FINE / 32
    image = Image.new("RGBA", (size * _FINE, size * _FINE))
    draw = ImageDraw.Draw(image)

    def at(*numbers: float) -> list[float]:
        return [number * scale for number in numbers]

    ground = _PALE if standing == "stopped" else _GROUND
    draw.rounded_rectangle(at(0, 0, 32, 32), 7 * scale, fill=ground)
    draw.line(
        [(x * scale, y * scale) for x, y in _LETTER], fill=_INK, width=round(3.4 * scale), joint="curve"
    )
    left, top, right, bottom = _BADGE
    draw.ellipse(at(left - 2, top - 2, right + 2, bottom + 2), fill=ground)
    colour, middle = _COLOURS[standing], (left + right) / 2
    if standing == "receiving":
        draw.ellipse(at(left, top, right, bottom), fill=colour)
    elif standing == "waiting":
        draw.ellipse(at(left, top, right, bottom), outline=colour, width=round(2.2 * scale))
        draw.pieslice(at(left, top, right, bottom), 90, 270, fill=colour)
    elif standing == "stuck":
        draw.polygon(at(middle, top - 1, right, bottom, left, bottom), fill=colour)
        draw.line(at(middle, top + 6, middle, top + 11), "#1d0503", round(2.2 * scale))
        draw.ellipse(at(22.4, 28, 24.6, 30.2), fill="#1d0503")
    else:
        draw.rectangle(at(left + 1, top + 1, right - 1, bottom - 1), fill=colour)
    return image.resize((size, size), Image.Resampling.LANCZOS)
