"""What MAPDR writes is valid, whatever came in: DCMTK, GDCM, pydicom and a strict reader say so."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload, Treatment
from mapdr.kernel.registry import Registry
from mapdr.transform.pipeline import build_pipeline

from ..dicom.datasets import BIG, DEFLATED, EXPLICIT, IMPLICIT, SYNTAXES, element
from ..dicom.odd import SEQUENCES, Writer, data_set, forms
from .helpers import CODECS, Notebook, save
from .helpers import settings as stage_settings
from .judges import JUDGES, Strict
from .test_even import spooled

TAGS: dict[str, Any] = {
    "top": {"set": "PatientID", "to": "NEW"},
    "nested": {"set": "RequestAttributesSequence.ScheduledProcedureStepID", "to": "NEW"},
    "suffix": {"suffix": "InstitutionName", "with": "-X"},
    "private": {"remove": "private"},
    "group": {"remove": "group:0009"},
    "sequence": {"remove": "RequestAttributesSequence"},
    "utf8": {"set": "SpecificCharacterSet", "to": "ISO_IR 192"},
    "copy": {"copy": "PatientName", "to": "StationName", "if_empty": "skip"},
}
MORE = {
    "nothing": lambda w: b"",
    "odd LO": lambda w: w(0x00402017, "LO", b"abc"),
    "odd UI": lambda w: w(0x00402016, "UI", b"1.2.3"),
    "odd OB": lambda w: w(0x00420011, "OB", b"%PDF-"),
    "bytes under a sequence's tag": lambda w: w(0x00400555, "OB", b"12345678"),
    "a sequence under a text's tag": lambda w: w(0x00402017, "SQ", w.item()),
    "an open one": lambda w: w(0x00402017, "SQ", w.item(), 0xFFFFFFFF) + w.end,
    "a group length": lambda w: w(0x00420000, "UL", b"\1\0\0\0") + w(0x00420010, "ST", b"abcd"),
    "text with a backslash": lambda w: w(0x00402400, "LT", b"C:\\a"),
}
PLAIN = ("nothing", "odd LO", "odd UI", "odd OB", "text with a backslash")
"""Of these, what an edit may leave as it was is regular, or padded."""
PARKED = {"vr", "syntax", "bad-value", "character-set"}
"""Reasons for which an image of these may be parked; anything else is a fault."""


class Case(NamedTuple):
    """One image and what is done to it."""

    syntax: str
    form: str
    more: str
    behind: bytes
    tags: tuple[str, ...]
    compress: bool
    target: str


@st.composite
def cases(draw: st.DrawFn) -> Case:
    syntax = draw(st.sampled_from(SYNTAXES))
    compress = draw(st.integers(0, 4)) == 0
    return Case(
        syntax,
        draw(st.sampled_from(sorted(forms(syntax)))),
        draw(st.sampled_from(sorted(MORE))),
        draw(st.sampled_from((b"", bytes(4), bytes(12), "tail"))) or b"",  # type: ignore[arg-type]
        tuple(draw(st.lists(st.sampled_from(sorted(TAGS)), max_size=3, unique=True))),
        compress,
        "" if compress else draw(st.sampled_from(("", *SYNTAXES, DEFLATED))),
    )


def source(case: Case) -> bytes:
    behind = case.behind if isinstance(case.behind, bytes) else element(0xFFFCFFFC, "OB", b"\0", case.syntax)
    return data_set(forms(case.syntax)[case.form] + MORE[case.more](Writer(case.syntax)), case.syntax, behind)


def prepared(case: Case, folder: Path) -> Payload:
    steps = [{"type": "tags", "config": [TAGS[name] for name in case.tags]}] if case.tags else []
    if case.compress:
        steps.append({"type": "compress", "config": {"to": "jpeg2000-lossless"}})
    chain = build_pipeline({"steps": steps}, Registry(), stage_settings(folder), CODECS)
    _, instance = spooled(source(case), case.syntax, folder)
    return chain.prepare(instance, Notebook(), case.target)


def strictly(payload: Payload) -> None:
    raw = b"".join(payload.chunks())
    syntax = payload.transfer_syntax_uid
    if syntax == DEFLATED:
        raw = zlib.decompress(raw, -15)
    reader = Strict(raw, implicit=syntax == IMPLICIT, big=syntax == BIG)
    reader.data_set(0, len(raw))


class Written(NamedTuple):
    """A file, and whether all of it was written anew or has nothing odd: then everybody must read it."""

    case: Case
    path: Path
    sure: bool


def write(drawn: list[Case], folder: Path) -> list[Written]:
    """What becomes of the cases, but for what is parked and relayed; checked by the strict reader."""
    written: list[Written] = []
    (folder / "sure").mkdir()
    for number, case in enumerate(drawn):
        try:
            payload = prepared(case, folder)
        except Permanent as error:
            if error.reason not in PARKED or any(word in str(error) for word in ("SECRET", "WARD", "Süd")):
                raise AssertionError(f"{case} is parked: {error}") from error
            continue
        assert payload.length % 2 == 0, case
        if payload.treatment is Treatment.RELAYED:
            continue
        anew = payload.treatment in (Treatment.REENCODED, Treatment.TRANSCODED)
        if anew:
            try:
                strictly(payload)
            except AssertionError as error:
                raise AssertionError(f"{case}: {error}") from error
        plain = case.form.startswith("regular") and case.more in PLAIN and case.behind in (b"", "tail")
        sure = anew or plain
        path = save(payload, (folder / "sure" if sure else folder) / f"{number:03}.dcm")
        written.append(Written(case, path, sure))
    return written


@pytest.mark.peer("dcmdump", "gdcmdump")
@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(cases(), min_size=30, max_size=60))
def test_what_is_written_is_read_by_all(drawn: list[Case]) -> None:
    with tempfile.TemporaryDirectory() as name:
        written = write(drawn, Path(name))
        sure = [each for each in written if each.sure]
        rest = [each for each in written if not each.sure]
        for judge, reads in JUDGES.items():
            for chosen in (sure, rest):
                # GDCM ends itself over some odd forms: one process each would take long.
                if not chosen or (chosen is rest and judge == "gdcmdump"):
                    continue
                for each, is_read in zip(chosen, reads([each.path for each in chosen]), strict=True):
                    # An edit keeps what it does not name: who could not read the original may still not.
                    known = is_read or (not each.sure and not original_is_read(judge, each.case, Path(name)))
                    assert known, (judge, each.case)


def original_is_read(judge: str, case: Case, folder: Path) -> bool:
    raw = source(case)
    payload = Payload("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", case.syntax, (raw,), len(raw))
    return JUDGES[judge]([save(payload, folder / "original.dcm")])[0]


def test_the_strict_reader_finds_fault() -> None:
    for syntax in SYNTAXES:
        for form in forms(syntax):
            raw = data_set(forms(syntax)[form], syntax)
            reader = Strict(raw, implicit=syntax == IMPLICIT, big=syntax == BIG)
            if form.startswith("regular"):
                reader.data_set(0, len(raw))
            elif form in SEQUENCES and form != "odd length in the item" and syntax == EXPLICIT:
                with pytest.raises(AssertionError):
                    reader.data_set(0, len(raw))
