"""What steps say of memory, to the byte, before they take it: a node refuses by these figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from mapdr.dicom import uids
from mapdr.dicom.scan import deflate_pieces, layout
from mapdr.kernel.budget import Allowance, Short
from mapdr.kernel.item import Instance, Payload, Treatment
from mapdr.transform.dataset import COPIES, DataSet
from mapdr.transform.header import deidentify, tags

from .helpers import Notebook, encoded, image, payload_of, picture, settings
from .test_deidentify_codestreams import COMMENT, JPEG, MARK, behind_soi, received

EXPLICIT, DEFLATED = uids.EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.1.99"
PADDING = b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0abcd"
"""An element behind the pixel data."""


class Noted(Allowance):
    """Gives everything, and keeps what was `said`; or refuses what makes it more than `limit` in all."""

    def __init__(self, limit: int = 1 << 60) -> None:
        super().__init__()
        self.said: list[int] = []
        self._limit = limit

    @property
    def most(self) -> int:
        return 1 << 60

    def _reaches(self, amount: int) -> bool:
        self.said.append(amount - sum(self.said))
        return amount <= self._limit


def edits(*written: dict[str, Any]) -> tags.TagEditor:
    return tags.STAGE.build(settings(), TypeAdapter(tags.STAGE.config).validate_python(written), None)


WITHOUT_A_PLAN = edits({"remove": "private"}, {"set": "StudyID", "to": "9"})
BASIC = deidentify.STAGE.build(
    settings(), TypeAdapter(deidentify.STAGE.config).validate_python({"profile": "basic"}), None
)


def of(blob: bytes, syntax: str = EXPLICIT, *, cut: int = 0) -> tuple[Payload, Instance]:
    """A payload of `blob`, in two parts if `cut` says where."""
    plain, instance = payload_of(image(picture(16, 16, 0, 4000)))
    parts = (blob[:cut], blob[cut:]) if cut else (blob,)
    return replace(plain, transfer_syntax_uid=syntax, parts=parts, length=len(blob)), instance


def said(step: Any, payload: Payload, instance: Instance) -> list[int]:
    """What a step says; nothing of it is taken before: a refusal of each figure ends the work."""
    whole = Noted()
    with whole.held():
        made = step.apply(payload, instance, Notebook())
    assert made.treatment is Treatment.EDITED
    for count in range(len(whole.said)):
        refused = Noted(sum(whole.said[: count + 1]) - 1)
        with refused.held(), pytest.raises(Short) as caught:
            step.apply(payload, instance, Notebook())
        assert caught.value.amount == sum(whole.said[: count + 1])
    return whole.said


def around(blob: bytes) -> int:
    """Bytes of a data set that are not its pixel data."""
    where = layout(blob, EXPLICIT)
    return where.size - (where.pixel_end - where.header_end)


@pytest.mark.parametrize("step", [WITHOUT_A_PLAN, BASIC], ids=["tags", "deidentify"])
def test_headers_count_as_often_as_they_are_copied(step: Any) -> None:
    blob = encoded(image(picture(16, 16, 0, 4000))) + PADDING
    assert around(blob) == len(blob) - 12 - 512
    assert said(step, *of(blob)) == [COPIES * around(blob)]
    assert said(step, *of(blob, cut=100)) == [len(blob), COPIES * around(blob)]
    packed = deflate_pieces([blob])
    assert said(step, *of(packed, DEFLATED)) == [len(blob), 2 * len(packed), COPIES * around(blob)]
    assert COPIES == tags.COPIES


def test_what_a_plan_edits_is_not_counted_and_odd_pixels_of_a_deflated_object_are_there_twice() -> None:
    by_plan = edits({"set": "StudyID", "to": "9"})
    assert by_plan._plan is not None
    blob = encoded(image(picture(16, 16, 0, 4000)))
    assert said(by_plan, *of(blob)) == []
    data = image(picture(16, 16, 0, 4000))
    del data.PixelData
    odd = encoded(data) + b"\xe0\x7f\x10\x00OB\0\0\x09\0\0\0" + bytes(range(9))
    packed = deflate_pieces([odd])
    assert said(WITHOUT_A_PLAN, *of(packed, DEFLATED)) == [
        len(odd),
        2 * len(packed),
        COPIES * around(odd),
        len(odd),
    ]


def test_codestreams_count_when_they_are_read_and_when_they_are_silenced() -> None:
    talking = behind_soi(JPEG, COMMENT)
    for frames, written in (([JPEG, JPEG], False), ([JPEG, talking, JPEG], True)):
        payload, instance = received(frames, uids.JPEG_BASELINE)
        (blob,) = payload.parts
        assert isinstance(blob, bytes)
        where = layout(blob, uids.JPEG_BASELINE)
        longest = max(len(frame) + len(frame) % 2 for frame in frames)
        pixels = [2 * (where.pixel_end - where.header_end)] if written else []
        assert said(BASIC, payload, instance) == [COPIES * around(blob), longest, *pixels]


def test_what_stands_behind_native_frames_counts_when_it_is_looked_at() -> None:
    data = image(picture(16, 16, 0, 4000))
    native = len(data.PixelData)
    for behind, figures in ((b"", []), (MARK + b"\1", [2 * (len(MARK) + 1)]), (bytes(8), [16])):
        data.PixelData = data.PixelData[:native] + behind
        blob = encoded(data)
        assert said(BASIC, *of(blob)) == [COPIES * around(blob), *figures]


@pytest.mark.parametrize("pixels", [True, False])
def test_an_open_data_set_says_what_is_copied_of_it_once(pixels: bool, tmp_path: Path) -> None:
    data = image(picture(16, 16, 0, 4000))
    if not pixels:
        del data.PixelData
    blob = encoded(data) + (PADDING if pixels else b"")
    asks: tuple[Callable[[DataSet], object], ...] = (
        lambda opened: opened.header(),
        lambda opened: opened.tail(b""),
        lambda opened: opened.is_regular,
    )
    for ask in asks:
        noted = Noted()
        with noted.held(), DataSet(of(blob)[0]) as opened:
            assert noted.said == []
            for _ in range(2):
                ask(opened)
        nothing_behind = not pixels and ask is asks[1]
        assert noted.said == ([] if nothing_behind else [COPIES * around(blob)])
