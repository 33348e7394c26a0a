"""Odd lengths: padded wherever MAPDR sends them, or parked where the rule says so."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Instance, Payload, Treatment
from mapdr.kernel.registry import Registry
from mapdr.transform.even import evened
from mapdr.transform.header import odd_lengths
from mapdr.transform.pipeline import build_pipeline

from ..dicom.datasets import BIG, DEFLATED, EXPLICIT, IMPLICIT, JPEG, UNDEFINED, element
from ..dicom.odd import CLASS_UID, INSTANCE_UID, SEQUENCE, STEP, Writer, data_set
from .helpers import CODECS, Notebook, instance_of, read, settings

SYNTAXES = (EXPLICIT, IMPLICIT, BIG)


def spooled(raw: bytes, syntax: str, folder: Path) -> tuple[Payload, Instance]:
    path = folder / "spooled.dcm"
    path.write_bytes(raw)
    head = pydicom.Dataset()
    head.SOPClassUID, head.SOPInstanceUID = CLASS_UID, INSTANCE_UID
    instance = instance_of(head, syntax, path, 0, len(raw))
    return Payload(CLASS_UID, INSTANCE_UID, syntax, (FileSlice(path, 0, len(raw)),), len(raw)), instance


def prepared(raw: bytes, syntax: str, folder: Path, *steps: tuple[str, object]) -> Payload:
    recipe = {"steps": [{"type": kind, "config": config} for kind, config in steps]}
    chain = build_pipeline(recipe, Registry(), settings(folder), CODECS)
    return chain.prepare(spooled(raw, syntax, folder)[1], Notebook())


def odd_elements(syntax: str) -> dict[str, bytes]:
    w = Writer(syntax)
    return {
        "LO": w(0x00400280, "ST", b"abc"),
        "UI": w(0x0040A124, "UI", b"1.2.3"),
        "OB": w(0x00420011, "OB", b"%PDF-"),
        "in a sequence": w.sequence(w.item(w(STEP, "SH", b"S12"))),
        "in an open sequence": w.open_sequence(
            w(0xFFFEE000, "", w(STEP, "SH", b"S12"), UNDEFINED) + w.item_end
        )
        + w.end,
    }


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("which", odd_elements(EXPLICIT))
def test_a_relayed_odd_length_is_padded_and_shown(which: str, syntax: str, tmp_path: Path) -> None:
    raw = data_set(odd_elements(syntax)[which], syntax)
    assert len(raw) % 2 == 1
    payload = prepared(raw, syntax, tmp_path)
    assert (payload.length % 2, payload.treatment) == (0, Treatment.EDITED)
    found = read(payload)
    assert (found[0x00880140].value, len(found.PixelData)) == ("1.2.9", 4096)
    if SEQUENCE in found:
        assert found[SEQUENCE].value[0][STEP].value == "S12"
        assert payload.length == len(raw) + 1
    pads = {"LO": b"abc ", "UI": b"1.2.3\0", "OB": b"%PDF-\0"}
    if which in pads:
        assert pads[which] in b"".join(payload.chunks())


def test_a_rule_may_park_it(tmp_path: Path) -> None:
    raw = data_set(odd_elements(EXPLICIT)["LO"], EXPLICIT)
    with pytest.raises(Permanent) as caught:
        prepared(raw, EXPLICIT, tmp_path, ("odd_lengths", "park"))
    assert caught.value.reason == "odd-length"
    even = data_set(b"", EXPLICIT)
    assert prepared(even, EXPLICIT, tmp_path, ("odd_lengths", "park")).treatment is Treatment.RELAYED
    assert prepared(raw, EXPLICIT, tmp_path, ("odd_lengths", "pad")).treatment is Treatment.EDITED
    known, instance = spooled(raw, EXPLICIT, tmp_path)
    for length in range(1, 5):
        payload = replace(known, length=length)
        assert odd_lengths.build(settings(), "pad", None).apply(payload, instance, Notebook()) is payload
        gate = odd_lengths.build(settings(), "park", None)
        if length % 2:
            with pytest.raises(Permanent):
                gate.apply(payload, instance, Notebook())
        else:
            assert gate.apply(payload, instance, Notebook()) is payload


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_edited_is_even_throughout(syntax: str, count: int, tmp_path: Path) -> None:
    odd = odd_elements(syntax)
    raw = data_set(odd["LO"] + (odd["UI"] if count == 2 else b""), syntax)
    edit = [{"set": "PatientID", "to": "NEW1"}]
    payload = prepared(raw, syntax, tmp_path, ("tags", edit))
    whole = b"".join(payload.chunks())
    w = Writer(syntax)
    assert w(0x00400280, "ST", b"abc ") in whole
    assert (w(0x0040A124, "UI", b"1.2.3\0") in whole) == (count == 2)
    assert read(payload).PatientID == "NEW1"
    without = raw[: -4096 - (8 if syntax == IMPLICIT else 12)]
    payload = prepared(without, syntax, tmp_path, ("tags", edit))
    assert (len(payload.parts), payload.length % 2) == (1, 0)
    assert read(payload).PatientID == "NEW1"
    assert "PixelData" not in read(payload)


def test_native_pixel_data_of_odd_length(tmp_path: Path) -> None:
    raw = data_set(b"", EXPLICIT)[: -4096 - 12] + element(0x7FE00010, "OB", b"\7" * 4095)
    payload = prepared(raw, EXPLICIT, tmp_path)
    assert read(payload).PixelData == b"\7" * 4095 + b"\0"
    assert isinstance(payload.parts[2], FileSlice)
    for vr, written in (("OB", "OB"), ("UN", "UN"), ("US", "US"), ("ZZ", "OW")):
        long = vr not in ("US", "ZZ")
        head = b"\xe0\x7f\x10\x00" + vr.encode() + (b"\0\0\3\0\0\0" if long else b"\3\0")
        payload = evened(
            spooled(data_set(b"", EXPLICIT)[: -4096 - 12] + head + b"abc", EXPLICIT, tmp_path)[0]
        )
        whole = b"".join(payload.chunks())
        size = b"\4\0" if written == "US" else b"\0\0\4\0\0\0"
        assert whole.endswith(b"\xe0\x7f\x10\x00" + written.encode() + size + b"abc\0"), vr


def test_one_fragment_of_odd_length_gets_its_byte(tmp_path: Path) -> None:
    for size in (1, 3, 5, 7):
        pixels = element(0x7FE00010, "OB", b"", length=UNDEFINED) + element(0xFFFEE000, "", b"")
        pixels += element(0xFFFEE000, "", b"\7" * size) + element(0xFFFEE0DD, "", b"")
        raw = data_set(b"", JPEG)[: -4096 - 12] + pixels
        whole = b"".join(evened(spooled(raw, JPEG, tmp_path)[0]).chunks())
        assert len(whole) == len(raw) + 1
        assert element(0xFFFEE000, "", b"\7" * size + b"\0") in whole


def test_pixel_data_of_even_length_stays_as_it_is_beside_what_is_odd(tmp_path: Path) -> None:
    odd = data_set(odd_elements(EXPLICIT)["LO"], EXPLICIT)[: -4096 - 12]
    native = element(0x7FE00010, "OB", b"\7" * 4094)
    packed = element(0x7FE00010, "OB", b"", length=UNDEFINED) + element(0xFFFEE000, "", b"")
    packed += element(0xFFFEE000, "", b"\xff\xd8ab") + element(0xFFFEE0DD, "", b"")
    for pixels, syntax in ((native, EXPLICIT), (packed, JPEG)):
        payload = evened(spooled(odd + pixels, syntax, tmp_path)[0])
        assert isinstance(payload.parts[1], FileSlice)
        assert b"".join(payload.parts[1].chunks(9999)) == pixels


@pytest.mark.parametrize("extended", [False, True])
def test_fragments_of_odd_length_and_their_tables(extended: bool, tmp_path: Path) -> None:
    frames = [b"\xff\xd8abc", b"\xff\xd8defg", b"\xff\xd8\0hi"]
    header = data_set(b"", JPEG)[: -4096 - 12]
    offsets = (0, 13, 27)
    table = b"" if extended else struct.pack("<3L", *offsets)
    if extended:
        header += element(0x7FE00001, "OB", struct.pack("<3Q", *offsets)).replace(b"OB", b"OV")
        header += element(0x7FE00002, "OB", struct.pack("<3Q", 5, 6, 5)).replace(b"OB", b"OV")
    pixels = element(0x7FE00010, "OB", b"", length=UNDEFINED) + element(0xFFFEE000, "", table)
    pixels += b"".join(element(0xFFFEE000, "", frame) for frame in frames) + element(0xFFFEE0DD, "", b"")
    for tail in (b"", element(0xFFFCFFFC, "OB", b"\0")):
        payload = evened(spooled(header + pixels + tail, JPEG, tmp_path)[0])
        assert payload.length % 2 == 0
        found = read(payload)
        whole = bytes(found.PixelData)
        at = 8 + len(table)
        base = at
        starts = []
        for frame in frames:
            padded = frame + b"\0" * (len(frame) % 2)
            assert whole[at : at + 8] == struct.pack("<HHL", 0xFFFE, 0xE000, len(padded))
            assert whole[at + 8 : at + 8 + len(padded)] == padded
            starts.append(at - base)
            at += 8 + len(padded)
        if extended:
            assert struct.unpack("<3Q", found[0x7FE00001].value) == tuple(starts)
            assert struct.unpack("<3Q", found[0x7FE00002].value) == (6, 6, 6)
        else:
            assert struct.unpack("<3L", whole[8:20]) == tuple(starts)


def test_a_deflated_stream_gets_its_padding(tmp_path: Path) -> None:
    payload, _ = spooled(b"\x03\x00\x00", DEFLATED, tmp_path)
    assert b"".join(evened(payload).chunks()) == b"\x03\x00\x00\x00"


def test_pixel_data_that_is_cut_off_is_not_padded(tmp_path: Path) -> None:
    payload, _ = spooled(data_set(b"", EXPLICIT)[:-3], EXPLICIT, tmp_path)
    with pytest.raises(Permanent) as caught:
        evened(payload)
    assert caught.value.reason == "odd-length"


def test_an_even_data_set_costs_nothing(tmp_path: Path) -> None:
    raw = data_set(b"", EXPLICIT)
    payload, instance = spooled(raw, EXPLICIT, tmp_path)
    chain = build_pipeline({"steps": []}, Registry(), settings(tmp_path), CODECS)
    assert chain.quick(instance)
    assert not chain.quick(replace(instance, size=instance.size + 1))
    assert chain.prepare(instance, Notebook()) == payload
    assert pydicom.dcmread(BytesIO(raw), force=True)
