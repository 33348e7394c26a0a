"""Faults that are put in on purpose, to see that the simulator finds them."""

from __future__ import annotations

from collections.abc import Callable

IN_THE_CHILD: dict[str, Callable[[], None]] = {}
