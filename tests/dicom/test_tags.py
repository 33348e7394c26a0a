"""Tags have the names that the standard gives them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from pydicom.datadict import keyword_for_tag

import mapdr
from mapdr.dicom import tags

OWN_NAMES = {"ITEM_END": "ItemDelimitationItem", "SEQUENCE_END": "SequenceDelimitationItem"}
TAGS = {
    name: tag for name, tag in vars(tags).items() if name.isupper() and isinstance(tag, int) and tag > 0xFFFF
}


@pytest.mark.parametrize("name", TAGS)
def test_a_tag_has_its_keyword(name: str) -> None:
    keyword = keyword_for_tag(TAGS[name])
    if name.endswith("_GROUP_LENGTH"):
        assert not TAGS[name] & 0xFFFF
        return
    assert OWN_NAMES.get(name, name.replace("_", "").lower()).lower() == keyword.lower()


def literals(pattern: str) -> list[tuple[str, str]]:
    """(file, match) of a pattern in the modules of the package; `_fast` shares its tables with C."""
    root = Path(mapdr.__file__).parent
    files = [path for path in sorted(root.rglob("*.py")) if path.parent.name != "_fast"]
    assert len(files) > 100
    return [
        (path.relative_to(root).as_posix(), found)
        for path in files
        for found in re.findall(pattern, path.read_text(encoding="utf-8"))
    ]


def test_a_tag_is_written_in_one_module() -> None:
    found = literals(r"\b0x(?:00[0-9A-Fa-f]{6}|7FE0[0-9A-Fa-f]{4}|FFFE[0-9A-Fa-f]{4})\b")
    elsewhere = [each for each in found if each[0] not in ("dicom/tags.py", "kernel/item.py")]
    assert not elsewhere


def test_a_uid_is_written_once() -> None:
    found = Counter(uid for _, uid in literals(r"\"(1\.2\.840\.1[0-9.]+[0-9])\""))
    assert found["1.2.840.10008.1.2"] == 1
    assert not {uid for uid, times in found.items() if times > 1}
