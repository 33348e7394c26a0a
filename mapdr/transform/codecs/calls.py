"""What the encoders have in common: how they call their library, and what stands in its cells."""

from __future__ import annotations

import numpy as np

from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.errors import OwnFault, Permanent, is_own_fault
from mapdr.kernel.privacy import system_says


class Calling:
    """Makes of whatever a library raises a Permanent(reason="codec"); `what` says what it cannot do.

    Of the error its type alone is told: its text may quote what it was given. A MemoryError stays one: it
    says how this machine is, not what the image is; and so does the system's for want of files or memory,
    which becomes an OwnFault.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and is_own_fault(error):
            raise OwnFault(f"{self._what}: {system_says(error)}") from error
        if isinstance(error, Exception) and not isinstance(error, MemoryError):
            raise Permanent(f"{self._what}: {type(error).__name__}", reason="codec") from error


def unsigned_cells(pixels: Pixels, form: FrameFormat) -> Pixels:
    """A frame in the smallest cells for its bits, negative values as the bits of their cells: for codestreams
    that know no sign."""
    size = 1 if form.stored <= 8 else 2
    return np.ascontiguousarray(pixels, f"<{'ui'[form.signed]}{size}").view(f"<u{size}")


def with_sign(pixels: Pixels, form: FrameFormat) -> Pixels:
    """What was `unsigned_cells`, read as the format has it."""
    cells = np.ascontiguousarray(pixels)
    return cells.view(f"i{cells.itemsize}") if form.signed else cells
