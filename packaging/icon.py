"""Makes the icon of the Windows programs out of the page's: one drawing for both.

usage: python packaging/icon.py     (with cairosvg and Pillow, which nothing else needs)
"""

import io
from pathlib import Path

import cairosvg
from PIL import Image

HERE = Path(__file__).resolve().parent
DRAWING = HERE.parent / "web/mapdr_web/static/icon.svg"
SIZES = (16, 20, 24, 32, 40, 48, 64, 256)
"""Pixels: what Explorer, the task bar and the start menu show at 100 to 200 %."""

pictures = [
    Image.open(io.BytesIO(cairosvg.svg2png(url=str(DRAWING), output_width=size, output_height=size)))
    for size in SIZES
]
pictures[-1].save(
    HERE / "frozen/mapdr.ico", sizes=[(size, size) for size in SIZES], append_images=pictures[:-1]
)
