"""The glossary tells every word in which commands and JSON say how something stands."""

from __future__ import annotations

import re
from pathlib import Path

from mapdr.operate.selection import STATES

ROOT = Path(__file__).resolve().parent.parent


def _states(key: str) -> set[str]:
    """The states that docs/json.md lists behind `key`; tests hold that list against what is printed."""
    told = (ROOT / "docs/json.md").read_text(encoding="utf-8").partition(f"`{key}`")[2]
    said = re.search(r"`state`\s+is\s+([^;:`\n]*(?:\n[^;:`\n]*)?)", told)
    assert said is not None
    return set(re.findall(r"[a-z]+", said[1].partition(";")[0])) - {"or"}


def test_every_state_is_told() -> None:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    told = set(re.findall(r"\*\*([a-z]+)\*\*", text))
    nodes, destinations = _states("node.name"), _states("destinations[].name")
    assert {"running", "silent"} < nodes
    assert {"untried", "down"} < destinations
    assert set(STATES) | nodes | destinations <= told


def test_the_readme_leads_to_it() -> None:
    assert "(docs/glossary.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
