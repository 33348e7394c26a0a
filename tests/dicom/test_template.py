"""Text with placeholders."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.dicom.template import Template

VALUES = {(0x00080050,): "7", (0x00080060,): "CT"}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("CN-{AccessionNumber}", "CN-7"),
        ("{Modality}{(0008,0050)}", "CT7"),
        ("{{{Modality}}}", "{CT}"),
        ("plain", "plain"),
        ("", ""),
        ("{ Modality }", "CT"),
    ],
)
def test_renders(text: str, rendered: str) -> None:
    assert Template.parse(text).render(VALUES.__getitem__) == rendered


def test_plain_names_are_those_that_are_allowed() -> None:
    template = Template.parse("{images} of {Modality}", frozenset({"images", "series"}))
    assert template.names == {"images"}
    assert template.paths == {(0x00080060,)}
    assert template.render(VALUES.__getitem__, {"images": 28}) == "28 of CT"
    with pytest.raises(ValueError, match=r"did you mean \{images\}"):
        Template.parse("{image}", frozenset({"images"}))


@pytest.mark.parametrize("text", ["{", "}", "{Modality", "Modality}", "{}", "{Modalty}", "{{}"])
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"brace|placeholder"):
        Template.parse(text)


def test_one_placeholder_alone_is_told() -> None:
    assert Template.parse("{Modality}").sole == (0x00080060,)
    assert Template.parse("{images}", frozenset({"images"})).sole == "images"
    assert Template.parse("x{Modality}").sole is None
    assert Template.parse("x").constant == "x"
    assert Template.parse("x{Modality}").constant is None


@given(st.text(max_size=30))
def test_escaped_text_comes_out_as_it_was(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert Template.parse(escaped).constant == text


@given(st.text(alphabet="{}aModality().,0", max_size=20))
def test_any_text_is_a_template_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        Template.parse(text)
