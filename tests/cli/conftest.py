"""Comparing with the drawings that were looked at and kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a drawing with `golden/NAME.txt`; MAPDR_UPDATE_GOLDEN=1 writes it, to be looked at."""

    def check(name: str, drawn: str) -> None:
        path = GOLDEN / f"{name}.txt"
        drawn = "".join(line.rstrip() + "\n" for line in drawn.splitlines())
        if os.environ.get("MAPDR_UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(drawn, encoding="utf-8", newline="\n")
        assert drawn == path.read_text(encoding="utf-8")

    return check
