"""Every example of the guide and the how-tos is done, as it is printed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from docs.examples import DONE, Reader, examples

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDES = [DOCS / "guide.md", *sorted((DOCS / "howto").glob("*.md"))]
LEFT_OUT = {"guide.md": ["console"], "run-as-a-service.md": ["console"]}
"""Blocks that a test cannot do, by document."""

pytestmark = [
    pytest.mark.peer("storescp", "storescu", "dcmdump"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.name == "nt", reason="the examples are those of a shell"),
]


@pytest.mark.parametrize("document", GUIDES, ids=lambda path: path.stem)
def test_what_a_document_says_happens(document: Path, tmp_path: Path) -> None:
    blocks = examples(document)
    assert any(block.kind.startswith("sh") for block in blocks)
    with Reader(tmp_path) as reader:
        reader.do(blocks)


@pytest.mark.parametrize("document", GUIDES, ids=lambda path: path.stem)
def test_few_examples_are_left_out(document: Path) -> None:
    left = [block.kind for block in examples(document) if block.kind not in DONE]
    assert left == LEFT_OUT.get(document.name, [])
