from __future__ import annotations

import pytest

from mapdr.net.ae_title import ae_title


@pytest.mark.parametrize("text", ["PACS1", "  PACS 1 ", "A" * 16, " " + "A" * 16 + " ", "a~!"])
def test_spaces_around_a_title_mean_nothing(text: str) -> None:
    assert ae_title(text) == text.strip(" ")


@pytest.mark.parametrize("text", ["", "   ", "A" * 17, "A\\B", "P\u00c4CS", "A\tB", "A\n", "A\x7f", "A\0"])
def test_what_is_none_is_refused_with_the_cure(text: str) -> None:
    with pytest.raises(ValueError, match="is not an AE title; write 1 to 16 ASCII characters"):
        ae_title(text)
