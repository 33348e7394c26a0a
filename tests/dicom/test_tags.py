"""Tags have the names that the standard gives them."""

from __future__ import annotations

import pytest
from pydicom.datadict import keyword_for_tag

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
