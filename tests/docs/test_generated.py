"""The documents that are made of the code are those that it makes now, and the guide knows every key."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mapdr.config.units import BYTES, SECONDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCES = ROOT / "packaging/documents"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the documents as the program writes them now."""
    folder = tmp_path_factory.mktemp("documents")
    subprocess.run([sys.executable, SOURCES, folder], check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def reference() -> Iterator[Any]:
    """The module that makes the reference."""
    sys.path.insert(0, str(SOURCES))
    try:
        import reference as module  # type: ignore[import-not-found]

        yield module
    finally:
        sys.path.remove(str(SOURCES))


@pytest.mark.parametrize("name", ["conformance.md", "reference.md", "api.md", "compression.md"])
def test_a_document_is_what_the_code_makes_now(made: Path, name: str) -> None:
    kept, new = ((folder / name).read_text(encoding="utf-8") for folder in (DOCS, made))
    assert kept == new, "run: make documents"


def test_the_guide_explains_every_key(reference: Any) -> None:
    guide = (DOCS / "configuration.md").read_text(encoding="utf-8")
    explained = list(reference.explained(guide))
    assert len({(key.table, key.name) for key, _, _ in explained}) > 100
    assert [f"{key.table}: {key.name}" for key, _, meaning in explained if not meaning] == []


def value(text: str) -> object:
    """A default as the guide or the reference writes it, durations and sizes as numbers; None for words, such
    as the name of another key."""
    found = re.fullmatch(r"`(.*[^a-z_].*|true|false)`", text)
    if found is None:
        return None
    read = tomllib.loads(f"value = {found[1]}")["value"]
    number, _, unit = read.partition(" ") if isinstance(read, str) else ("", "", "")
    units = {**SECONDS, **BYTES}
    return float(number) * units[unit] if number.isdigit() and unit in units else read


def test_the_guide_names_the_defaults_of_the_code(reference: Any) -> None:
    guide = (DOCS / "configuration.md").read_text(encoding="utf-8")
    compared, wrong = 0, []
    for key, said, _ in reference.explained(guide):
        told, real = value(said), value(key.default)
        if told is not None and key.name != "type":
            compared += 1
            if told != real and str(told) != str(real):
                wrong.append(f"{key.table} {key.name}: the guide says {said}, the code {key.default}")
    assert compared > 60
    assert wrong == []


def test_every_document_leads_to_files_that_exist() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in (ROOT / "README.md", *DOCS.glob("*.md"))
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert wrong == []


def test_the_list_of_documents_has_all_of_them() -> None:
    listed = set(re.findall(r"\]\(([^)#]+)", (DOCS / "README.md").read_text(encoding="utf-8")))
    assert {path.name for path in DOCS.glob("*.md")} - listed == {"README.md"}
