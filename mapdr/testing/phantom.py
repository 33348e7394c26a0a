"""Pixels that look like a scan: ellipses of tissue, shading and noise, in numpy alone.

The statistics matter more than the beauty: codecs find in these images about what they find in clinical
ones (smooth tissue, sharp edges, noise in the low bits, much air), so ratios and errors are realistic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint16]
Colour = NDArray[np.uint8]
Field = NDArray[np.float32]
Grid = tuple[Field, Field]

AIR, LUNG, FAT, MUSCLE, BLOOD, BONE = -1000.0, -820.0, -100.0, 50.0, 160.0, 700.0
"""Hounsfield units."""


def thorax(rows: int, columns: int, z: float, random: np.random.Generator) -> Image:
    """A CT slice at height `z` (0 to 1) of a chest: uint16 in 0..4095, HU + 1024, noise of 12 HU."""
    y, x = grid = _grid(rows, columns)
    hu = np.full((rows, columns), AIR, np.float32)
    wide = 0.82 + 0.06 * np.sin(3 * z)
    _ellipse(hu, grid, (0.0, 0.0), (0.62, wide), FAT)
    _ellipse(hu, grid, (0.0, 0.0), (0.56, wide - 0.06), MUSCLE)
    lung = 0.20 + 0.16 * np.sin(np.pi * min(max(z, 0.05), 0.95))
    for side in (-1, 1):
        _ellipse(hu, grid, (-0.04, side * 0.40), (lung + 0.08, lung), LUNG)
        for vessel in range(5):
            angle = vessel * 1.26 + 4 * z
            centre = (-0.04 + 0.2 * np.sin(angle), side * 0.40 + 0.16 * np.cos(angle))
            _ellipse(hu, grid, centre, (0.018, 0.018), MUSCLE)
        for rib in range(5):
            angle = -1.0 + 0.5 * rib + 0.3 * z
            centre = (0.51 * np.sin(angle), side * (wide - 0.10) * np.cos(angle))
            _ellipse(hu, grid, centre, (0.035, 0.03), BONE)
    _ellipse(hu, grid, (-0.10, 0.08), (0.20, 0.17), BLOOD * (0.3 + 0.7 * z))
    _ellipse(hu, grid, (0.20, -0.07), (0.05, 0.05), BLOOD)
    _ellipse(hu, grid, (0.34, 0.0), (0.10, 0.09), BONE * 0.6)
    _ellipse(hu, grid, (0.34, 0.0), (0.07, 0.06), 220.0)
    table = (np.abs(y - 0.72 - 0.05 * x * x) < 0.012) & (np.abs(x) < 0.8)
    hu[table] = 100.0
    hu = _smooth(hu)
    hu += _smooth(random.normal(0, 24, (rows, columns)).astype(np.float32))
    hu[y * y + x * x > 1] = AIR - 24
    return _stored(hu + 1024)


def head(rows: int, columns: int, z: float, random: np.random.Generator) -> Image:
    """A T2-weighted MR slice of a head: uint16 in 0..4095, with coil shading and Rician noise."""
    y, x = grid = _grid(rows, columns)
    signal = np.zeros((rows, columns), np.float32)
    scale = 0.55 + 0.40 * np.sin(np.pi * (0.1 + 0.8 * z))
    _ellipse(signal, grid, (0.0, 0.0), (0.86 * scale, 0.70 * scale), 900.0)
    _ellipse(signal, grid, (0.0, 0.0), (0.80 * scale, 0.64 * scale), 80.0)
    _ellipse(signal, grid, (0.0, 0.0), (0.76 * scale, 0.60 * scale), 1300.0)
    _ellipse(signal, grid, (0.0, 0.0), (0.72 * scale, 0.56 * scale), 620.0)
    folds = np.sin(24 * np.arctan2(y, x)) * np.sin(30 * np.hypot(y / 0.72, x / 0.56))
    brain = (y / 0.72) ** 2 + (x / 0.56) ** 2 < scale * scale
    signal[brain] += 60 * folds[brain]
    _ellipse(signal, grid, (0.0, 0.0), (0.52 * scale, 0.38 * scale), 460.0)
    for side in (-1, 1):
        _ellipse(signal, grid, (-0.04, side * 0.10), (0.22 * scale, 0.06 * scale), 1450.0)
        _ellipse(signal, grid, (0.05, side * 0.22), (0.10 * scale, 0.07 * scale), 540.0)
    signal = _smooth(signal)
    signal *= 1.0 - 0.18 * (y * y + x * x)
    noise = random.normal(0, 5, (2, rows, columns)).astype(np.float32)
    return _stored(np.hypot(signal + noise[0], noise[1]))


def sector(rows: int, columns: int, z: float, random: np.random.Generator) -> Colour:
    """An ultrasound sector with speckle and a patch of colour Doppler: uint8, rows x columns x 3."""
    y, x = grid = _grid(rows, columns)
    depth = np.hypot(x, y + 1.15)
    inside = (np.abs(np.arctan2(x, y + 1.15)) < 0.55) & (depth > 0.25) & (depth < 2.0)
    tissue = np.full((rows, columns), 70.0, np.float32)
    _ellipse(tissue, grid, (0.0, 0.15), (0.35, 0.42), 105.0)
    _ellipse(tissue, grid, (0.12 + 0.05 * z, -0.22), (0.16, 0.12), 6.0)
    _ellipse(tissue, grid, (0.40, 0.18), (0.05, 0.22), 180.0)
    speckle = _smooth(random.rayleigh(1.0, (rows, columns)).astype(np.float32))
    grey = np.clip(tissue * speckle * (1.15 - 0.35 * depth), 0, 255) * inside
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    flow = inside & (((y - 0.10) / 0.10) ** 2 + ((x - 0.20) / 0.08) ** 2 < 1)
    colour[flow] = np.stack([160 + 40 * speckle[flow], 30 * speckle[flow], 20 + 0 * speckle[flow]], axis=-1)
    bar = slice(rows // 4, 3 * rows // 4)
    colour[bar, columns - 24 : columns - 12] = np.linspace(255, 0, bar.stop - bar.start)[:, None, None]
    pixels: Colour = np.clip(colour, 0, 255).astype(np.uint8)
    return pixels


def _stored(values: Field) -> Image:
    pixels: Image = np.clip(np.rint(values), 0, 4095).astype(np.uint16)
    return pixels


@lru_cache(maxsize=8)
def _grid(rows: int, columns: int) -> Grid:
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    return np.broadcast_to(y, (rows, columns)), np.broadcast_to(x, (rows, columns))


def _ellipse(
    field: Field, grid: Grid, centre: tuple[float, float], radii: tuple[float, float], value: float
) -> None:
    """Set the pixels of an ellipse; only its bounding box is touched, for small ones are many."""
    y, x = grid
    rows, columns = field.shape
    top, bottom = _span(centre[0], radii[0], rows)
    left, right = _span(centre[1], radii[1], columns)
    box = (slice(top, bottom), slice(left, right))
    inside = ((y[box] - centre[0]) / radii[0]) ** 2 + ((x[box] - centre[1]) / radii[1]) ** 2 < 1
    field[box][inside] = value


def _span(centre: float, radius: float, length: int) -> tuple[int, int]:
    first = int((centre - radius + 1) / 2 * (length - 1))
    last = int((centre + radius + 1) / 2 * (length - 1)) + 2
    return max(0, min(first, length)), max(0, min(last, length))


def _smooth(field: Field) -> Field:
    """A small separable blur (1 2 1): edges of a scanner are never one pixel sharp."""
    padded = np.pad(field, 1, mode="edge")
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    smoothed: Field = ((down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 16).astype(np.float32)
    return smoothed
