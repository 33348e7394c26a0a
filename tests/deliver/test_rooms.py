"""The rooms of `deliver` form a line: none imports one that stands before it, nor the transforms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mapdr.deliver

FOLDER = Path(mapdr.deliver.__file__).parent
LINE = ("supervise", "send", "feed", "settle", "permit", "backoff")
"""Each may import itself and what stands to its right."""


def imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def against_the_line(room: str, source: str) -> list[str]:
    before = {f"mapdr.deliver.{name}" for name in LINE[: LINE.index(room)]}
    return [name for name in imports(source) if ".".join(name.split(".")[:3]) in before]


def test_every_module_stands_in_the_line() -> None:
    found = {path.relative_to(FOLDER).parts[0].removesuffix(".py") for path in FOLDER.rglob("*.py")}
    assert found == {*LINE, "__init__"}


@pytest.mark.parametrize("room", LINE)
def test_a_room_imports_none_before_it(room: str) -> None:
    module = FOLDER / f"{room}.py"
    paths = [module] if module.is_file() else sorted((FOLDER / room).glob("*.py"))
    assert paths
    assert [(path.name, name) for path in paths for name in against_the_line(room, path.read_text())] == []


def test_an_import_against_the_line_is_seen() -> None:
    source = "from mapdr.deliver.send.breaker import Breaker"
    assert against_the_line("feed", source)
    assert not against_the_line("supervise", source)
