"""What is read in STOW-RS answers: what each image was told, whatever servers do to the form of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egress.dicomweb.answers import FAILED, OTHER, REFERENCED, WRONG, Entry, draw, in_json, in_xml
from mapdr.egress.dicomweb import reasons
from mapdr.egress.dicomweb.answer import Failed, StoreAnswer, Stored, read_answer
from mapdr.egress.dicomweb.native import LARGEST
from mapdr.kernel.errors import RemoteProtocolError

UID, OTHER_UID = "1.2.3", "1.2.4"
URL = f"https://pacs.example/studies/1/series/2/instances/{UID}"

FORMS = pytest.mark.parametrize("written", [in_json, in_xml], ids=["json", "xml"])
Written = Callable[[Sequence[Entry]], bytes]


@FORMS
@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([Entry(REFERENCED, UID, url=URL)], Stored()),
        ([Entry(REFERENCED, UID, warning=0xB000)], Stored(0xB000)),
        ([Entry(FAILED, UID, failure=0xA700)], Failed(0xA700)),
        ([Entry(FAILED, UID)], Failed(None)),
        ([], None),
        ([Entry(REFERENCED, OTHER_UID)], None),
        # Padding that a data set has, and JSON and XML should not.
        ([Entry(REFERENCED, UID + " ")], Stored()),
        ([Entry(REFERENCED, f" {UID}\n")], Stored()),
        # Both name it, one names it twice, it is stored for a reason why it failed: not delivered.
        ([Entry(REFERENCED, UID), Entry(FAILED, UID, failure=272)], Failed(272, contradicted=True)),
        ([Entry(FAILED, UID, failure=272), Entry(REFERENCED, UID)], Failed(272, contradicted=True)),
        ([Entry(REFERENCED, UID, failure=272)], Failed(272, contradicted=True)),
        ([Entry(REFERENCED, UID, failure=1 << 20)], Failed(None, contradicted=True)),
        ([Entry(REFERENCED, UID, failure=0)], Stored()),
        ([Entry(REFERENCED, UID), Entry(REFERENCED, UID, warning=0xB007)], Stored(0xB007)),
        ([Entry(FAILED, UID, failure=0xC000), Entry(FAILED, UID, failure=272)], Failed(0xC000)),
        # Another sequence, or the look of success among the failed: owed.
        ([Entry(WRONG, UID)], None),
        ([Entry(FAILED, UID, warning=0xB000, url=URL)], Failed(None)),
        ([Entry(OTHER, UID, failure=272)], None),
        # No name but the place where it is.
        ([Entry(REFERENCED, None, url=URL)], Stored()),
        ([Entry(REFERENCED, None, url=URL + "/")], Stored()),
        ([Entry(REFERENCED, None, url="https://pacs.example/studies/1")], None),
        ([Entry(FAILED, None, url=URL)], None),
        ([Entry(REFERENCED, OTHER_UID, url=URL)], None),
        ([Entry(REFERENCED, f"{UID}\\{OTHER_UID}")], None),
        # Numbers as text.
        ([Entry(FAILED, UID, failure="272")], Failed(272)),
        ([Entry(FAILED, UID, failure="A700H")], Failed(None)),
        ([Entry(FAILED, UID, failure=-1)], Failed(None)),
        ([Entry(FAILED, UID, failure=65536)], Failed(None)),
    ],
)
def test_an_image_is_what_its_own_item_says(
    written: Written, entries: list[Entry], said: Stored | Failed | None
) -> None:
    assert read_answer(written(entries)).of(UID) == said


@FORMS
def test_each_image_is_answered_for_itself(written: Written) -> None:
    answer = read_answer(
        written(
            [
                Entry(REFERENCED, "1.2.1"),
                Entry(FAILED, "1.2.2", failure=0x0122),
                Entry(REFERENCED, "1.2.3", warning=0xB006),
                Entry(OTHER, None, failure=272),
                Entry(FAILED, "no uid", failure=1),
                Entry(REFERENCED, None),
            ]
        )
    )
    assert answer == StoreAnswer(
        {"1.2.1": Stored(), "1.2.2": Failed(0x0122), "1.2.3": Stored(0xB006)}, others=(272,), nameless=2
    )


ENTRIES = st.lists(
    st.builds(
        Entry,
        st.sampled_from((REFERENCED, FAILED)),
        st.sampled_from(("1.2.1", "1.2.2", "1.2.3")),
        st.none() | st.integers(1, 0xFFFF),
        st.none() | st.integers(1, 0xFFFF),
    ),
    max_size=8,
)


@given(ENTRIES, st.sampled_from(["", "http://dicom.nema.org/PS3.19/models/NativeDICOM"]), st.booleans())
def test_json_and_xml_say_the_same_and_stored_is_the_rarest_word(
    entries: list[Entry], namespace: str, prefixed: bool
) -> None:
    read = read_answer(in_json(entries))
    prefix = "dcm" if prefixed and namespace else ""
    assert read_answer(in_xml(entries, namespace, prefix)) == read
    for uid in ("1.2.1", "1.2.2", "1.2.3"):
        mine = [each for each in entries if each.uid == uid]
        stored = bool(mine) and all(each.sequence == REFERENCED and each.failure is None for each in mine)
        assert isinstance(read.of(uid), Stored) == stored
        assert (read.of(uid) is None) == (not mine)


@given(ENTRIES, st.booleans(), st.data())
def test_a_cut_answer_names_nobody(entries: list[Entry], xml: bool, data: st.DataObject) -> None:
    body = in_xml(entries) if xml else in_json(entries)
    cut = body[: data.draw(st.integers(1, len(body) - 1))]
    with pytest.raises(RemoteProtocolError):
        read_answer(cut)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"\xef\xbb\xbf", b"{}", b"[]", b"[{}]"])
def test_an_empty_answer_names_nobody(body: bytes) -> None:
    assert read_answer(body) == StoreAnswer()


def test_only_a_retrieve_url_names_nobody() -> None:
    body = in_json([], **{"00081190": {"vr": "UR", "Value": ["https://pacs.example/studies/1"]}})
    assert read_answer(body) == StoreAnswer()


def test_data_sets_in_an_array_are_one_answer() -> None:
    body = b"[" + in_json([Entry(REFERENCED, UID)]) + b"," + in_json([Entry(FAILED, OTHER_UID)]) + b"]"
    assert read_answer(body).instances == {UID: Stored(), OTHER_UID: Failed()}


@pytest.mark.parametrize(
    "element",
    [
        {"Value": [{"00081155": {"Value": UID}}]},
        {"Value": {"00081155": {"Value": [UID]}}},
        [{"00081155": [UID]}],
        {"Value": [None, 5, {}, {"00081155": {"vr": "UI", "Value": [UID + "\0"]}}]},
    ],
)
def test_json_that_is_sloppy_is_read(element: object) -> None:
    assert read_answer(json.dumps({REFERENCED: element}).encode()).of(UID) == Stored()


def test_tags_in_lower_case_are_read() -> None:
    body = in_json([Entry(OTHER, None, failure=272)]).replace(b"0008119A", b"0008119a")
    assert read_answer(body).others == (272,)


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><body>Welcome</body></html>",
        b"<html><head></head></html>",
        b'<?xml version="1.0"?><studies/>',
        b"OK",
        b'"1.2.3"',
        b"[1]",
        b'["a"]',
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"00081197": ' + b"9" * 5000 + b"}",
        b'{"00081199": {}, "00081199": {"Value": []}}',
        b'{"0008119a": {}, "0008119A": {"Value": []}}',
        b'<!DOCTYPE a [<!ENTITY b "c">]><NativeDicomModel/>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
        b"<NativeDicomModel>&x;</NativeDicomModel>",
        b"<NativeDicomModel>" + b"<a>" * 100_000,
        b"<NativeDicomModel>" + 2 * b"<DicomAttribute tag='00081199'/>" + b"</NativeDicomModel>",
        b'<?xml version="1.0" encoding="nonsense"?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="utf-7"?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="hex"?><NativeDicomModel/>',
        b"\x1f\x8b\x08",
        bytes(10),
        b"{" + b" " * LARGEST,
        b"<" + b" " * LARGEST,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_what_is_no_answer_says_nothing_and_is_not_repeated(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_answer(body)
    assert len(str(caught.value)) < 100
    assert caught.value.__cause__ is None


def test_a_billion_laughs_are_none() -> None:
    entities = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    body = f'<!DOCTYPE a [<!ENTITY a0 "ha">{entities}]><NativeDicomModel>&a9;</NativeDicomModel>'
    with pytest.raises(RemoteProtocolError):
        read_answer(body.encode())


def test_utf_16_is_xml_too() -> None:
    text = in_xml([Entry(REFERENCED, UID)]).decode().replace("UTF-8", "UTF-16")
    assert read_answer(text.encode("utf-16")).of(UID) == Stored()


def test_text_in_another_character_set_takes_nothing_from_the_answer() -> None:
    body = in_json([Entry(REFERENCED, UID)])[:-1] + b', "00000902": {"vr": "LO", "Value": ["f\xfcr"]}}'
    assert read_answer(body).of(UID) == Stored()


def test_text_around_and_elements_inside_take_nothing_from_xml() -> None:
    body = (
        b"<NativeDicomModel>text<DicomAttribute tag='00100010' vr='PN'><PersonName><Alphabetic><FamilyName>A"
        b"</FamilyName></Alphabetic></PersonName></DicomAttribute><DicomAttribute tag='00081199' vr='SQ'>"
        b"<Item><DicomAttribute tag='00081155'><Value>1.2<!-- no -->.3<b>9</b></Value></DicomAttribute>"
        b"<Other><DicomAttribute tag='00081197'><Value>272</Value></DicomAttribute></Other></Item>"
        b"</DicomAttribute></NativeDicomModel>"
    )
    assert read_answer(body).instances == {UID: Stored()}


@given(st.binary(max_size=300) | st.randoms(use_true_random=False).map(draw))
@example(b"\xff\xfe<\x00")
def test_any_bytes_are_an_answer_or_the_peer_s_fault(body: bytes) -> None:
    try:
        read_answer(body)
    except RemoteProtocolError:
        return


def test_the_generator_draws_answers_that_are_read() -> None:
    read = [read_answer(draw(Random(number))) for number in range(200)]
    said = [each for answer in read for each in answer.instances.values()]
    assert {type(each) for each in said} == {Stored, Failed}
    assert any(isinstance(each, Failed) and each.contradicted for each in said)


@pytest.mark.parametrize(
    ("reason", "cause", "words"),
    [
        (0xA700, reasons.Cause.TROUBLE, "out of resources (0xA700)"),
        (0xA7FF, reasons.Cause.TROUBLE, "out of resources (0xA7FF)"),
        (0xA900, reasons.Cause.REFUSED, "the data set does not match its SOP class (0xA900)"),
        (0xC123, reasons.Cause.REFUSED, "the receiver cannot understand the data set (0xC123)"),
        (0xC122, reasons.Cause.SYNTAX, "transfer syntax not supported (0xC122)"),
        (0x0110, reasons.Cause.TROUBLE, "processing failure (0x0110)"),
        (0x0122, reasons.Cause.REFUSED, "SOP class not supported (0x0122)"),
        (0x0111, reasons.Cause.DUPLICATE, "the receiver already has this SOP instance (0x0111)"),
        (45070, reasons.Cause.DUPLICATE, "the receiver already has this SOP instance (0xB00E)"),
        (0xB000, reasons.Cause.UNKNOWN, "failed for a reason that the standard does not define (0xB000)"),
        (None, reasons.Cause.UNKNOWN, "failed without a reason"),
    ],
)
def test_each_reason_has_a_class_and_words(reason: int | None, cause: reasons.Cause, words: str) -> None:
    assert reasons.cause(reason) is cause
    assert Failed(reason).words == words


def test_a_contradiction_and_a_warning_are_said() -> None:
    assert Failed(272, contradicted=True).words.endswith("; the answer calls it stored as well")
    assert Stored(0xB000).words == "accepted, and the receiver changed data elements (0xB000)"
    assert Stored(7).words == "accepted with a warning (0x0007)"
    assert Stored().words == ""
