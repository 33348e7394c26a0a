"""explain says what the node does, for every object that the node takes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from mapdr.dicom.write import EXPLICIT_LITTLE, element, splice, walk
from mapdr.kernel.errors import Permanent
from mapdr.operate import explain as command
from mapdr.testing import generator
from paper.nodes import NodeFolder

LOSSY = '{ to = "jpeg2000", ratio = 10, max_error = 4000 }'


def _image() -> generator.GeneratedImage:
    return next(generator.study("CT", images=1, size=(64, 64)))


def _file(tmp_path: Path, data: bytes) -> Path:
    image = _image()
    whole = image.part10()
    path = tmp_path / "one.dcm"
    path.write_bytes(whole[: len(whole) - len(image.dataset)] + data)
    return path


def _with(**elements: bytes | None) -> bytes:
    """The generated image with elements by keyword put in, or taken out."""
    tags = {int(pydicom.datadict.tag_for_keyword(name) or 0): each for name, each in elements.items()}
    return splice(_image().dataset, tags)


def _pixels(value: bytes) -> bytes:
    data = _image().dataset
    (pixel,) = (each for each in walk(data, EXPLICIT_LITTLE) if each.tag == 0x7FE00010)
    return data[: pixel.start] + element(0x7FE00010, "OW", value)


def _behind(data: bytes, more: bytes) -> bytes:
    """`more` where it belongs by its tag (0009,xxxx): after group 0008."""
    at = next(each.start for each in walk(data, EXPLICIT_LITTLE) if each.tag >> 16 > 0x0009)
    return data[:at] + more + data[at:]


CASES: dict[str, Callable[[], bytes]] = {
    "no Rows": lambda: _with(Rows=None),
    "no PixelRepresentation": lambda: _with(PixelRepresentation=None),
    "no BitsAllocated": lambda: _with(BitsAllocated=None),
    "no SamplesPerPixel": lambda: _with(SamplesPerPixel=None),
    "Rows of another VR": lambda: _with(Rows=element(0x00280010, "UL", b"\x40\0\0\0")),
    "Rows of three bytes": lambda: _with(Rows=struct.pack("<HH2sH", 0x28, 0x10, b"US", 3) + b"\x40\0\0"),
    "empty PixelData": lambda: _pixels(b""),
    "short PixelData": lambda: _pixels(bytes(100)),
    "no PixelData": lambda: _with(PixelData=None),
    "a number that is none": lambda: _with(InstanceNumber=element(0x00200013, "IS", b"one ")),
    "text without its character set": lambda: _with(
        SpecificCharacterSet=None, InstitutionName=element(0x00080080, "LO", b"M\xfcnchen ")
    ),
    "an unknown character set": lambda: _with(
        SpecificCharacterSet=element(0x00080005, "CS", b"KLINGON "),
        InstitutionName=element(0x00080080, "LO", b"M\xfcnchen "),
    ),
    "a VR that does not exist": lambda: _behind(
        _image().dataset, struct.pack("<HH2sH", 9, 0x10, b"QQ", 2) + b"ab"
    ),
    "a sequence that holds no items": lambda: _behind(
        _image().dataset, struct.pack("<HH2sHL", 9, 0x10, b"SQ", 0, 8) + b"no items"
    ),
    "a private sequence in UN": lambda: _behind(
        _image().dataset,
        struct.pack("<HH2sHL", 9, 0x10, b"UN", 0, 0xFFFFFFFF) + bytes.fromhex("feffdde000000000"),
    ),
    "an element that comes twice": lambda: _behind(_image().dataset, element(0x00080080, "LO", b"twice ")),
}


def _told(node: NodeFolder, path: Path) -> dict[str, Any]:
    result = node.mapdr("explain", str(path), "--json", "--identify")
    assert result.exit_code in (0, 1), result.output
    told = json.loads(result.output)
    assert isinstance(told, dict)
    assert (result.exit_code == 1) == any(each["error"] for each in told["deliveries"])
    drawn = node.mapdr("explain", str(path), "--identify")
    assert drawn.exit_code == result.exit_code
    return told


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lossy", [False, True])
def test_it_says_what_the_node_makes_of_an_object_that_is_odd(
    node: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lossy: bool
) -> None:
    if lossy:
        text = node.config.read_text()
        node.config.write_text(text.replace('{ to = "jpeg2000-lossless" }', LOSSY))
    made: list[Any] = []
    build = command.build_pipeline

    def watched(*given: Any) -> Any:
        """The node's own chain; what it makes is kept, to be compared with what is told."""
        chain = build(*given)
        prepare = chain.prepare

        def kept(*words: Any) -> Any:
            try:
                made.append(prepare(*words))
            except Permanent as error:
                made.append(error)
                raise
            return made[-1]

        monkeypatch.setattr(chain, "prepare", kept)
        return chain

    monkeypatch.setattr(command, "build_pipeline", watched)
    told = _told(node, _file(tmp_path, CASES[name]()))
    assert [each["destination"] for each in told["deliveries"]] == ["telepacs", "archive"]
    for delivery, payload in zip(told["deliveries"], made, strict=False):
        if isinstance(payload, Permanent):
            assert delivery["error"] == f"{payload.reason}: {payload}"
        else:
            assert not delivery["error"]
            assert delivery["bytes"] == payload.length
            assert (delivery["treatment"], delivery["note"]) == (payload.treatment, payload.note)
    archive = told["deliveries"][1]
    # Nothing is asked for there; what is odd may be padded on its way, which changes no element.
    assert (archive["changes"], archive["unshown"]) == ([], "")


def test_a_change_is_shown_where_another_reader_would_give_up(node: NodeFolder, tmp_path: Path) -> None:
    told = _told(node, _file(tmp_path, CASES["no PixelRepresentation"]()))
    changed = {each["name"]: (each["before"], each["after"]) for each in told["deliveries"][0]["changes"]}
    assert changed["Accession Number"] == ("CT00000000", "CN-CT00000000")


def test_what_the_node_cannot_read_it_would_refuse(
    node: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: Any, **more: Any) -> Any:
        raise Permanent("no element at byte 7", reason="unreadable")

    monkeypatch.setattr(command, "read_file_header", fail)
    result = node.mapdr("explain", str(_file(tmp_path, _image().dataset)))
    assert result.exit_code == 1
    assert "the node would refuse it, as it cannot be read: no element at byte 7" in result.output


@pytest.mark.parametrize("name", ["no study", "cut"])
def test_what_the_node_refuses_is_told_as_refused(node: NodeFolder, tmp_path: Path, name: str) -> None:
    data = {"no study": _with(StudyInstanceUID=None), "cut": _image().dataset[:-100]}[name]
    result = node.mapdr("explain", str(_file(tmp_path, data)))
    assert result.exit_code == 1
    assert "the node would refuse it: the data set" in result.output


def test_a_transform_that_fails_unexpectedly_is_told_as_the_node_would(
    node: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: Any) -> Any:
        raise ValueError("QXNAMEQX")

    monkeypatch.setattr("mapdr.transform.header.tags.TagEditor.apply", fail)
    told = _told(node, _file(tmp_path, _image().dataset))
    assert told["deliveries"][0]["error"].startswith("unexpected: internal error: ValueError at ")
    assert "QXNAMEQX" not in json.dumps(told)
    assert not told["deliveries"][1]["error"]


def test_nested_text_and_binary_changes_are_told_and_moved_text_is_not(
    node: NodeFolder, tmp_path: Path
) -> None:
    edits = """tags = [
  { set = "InstitutionName", to = "Ωμέγα" },
  { set = "RequestAttributesSequence[0].RequestedProcedureID", to = "P1" },
  { remove = "Manufacturer" },
]"""
    text = node.config.read_text()
    start = text.index("tags = [")
    node.config.write_text(text[:start] + edits + text[text.index("\n", start) :], encoding="utf-8")
    item = bytes.fromhex("feff00e0") + struct.pack("<L", 10) + element(0x00401001, "SH", b"P0")
    data = _with(
        SpecificCharacterSet=element(0x00080005, "CS", b"ISO_IR 100"),
        StationName=element(0x00081010, "SH", b"B\xfcro"),
        RequestAttributesSequence=struct.pack("<HH2sHL", 0x40, 0x275, b"SQ", 0, len(item)) + item,
    )
    told = _told(node, _file(tmp_path, data))
    changed = {each["name"]: (each["before"], each["after"]) for each in told["deliveries"][0]["changes"]}
    assert changed["Specific Character Set"] == ("ISO_IR 100", "ISO_IR 192")
    assert changed["Institution Name"][1] == "Ωμέγα"
    assert changed["Request Attributes Sequence[0] / Requested Procedure ID"] == ("P0", "P1")
    assert changed["Manufacturer"][1] == ""
    assert "Station Name" not in changed


def test_quality_is_measured_as_the_node_s_guard_does(node: NodeFolder, tmp_path: Path) -> None:
    text = node.config.read_text()
    node.config.write_text(text.replace('{ to = "jpeg2000-lossless" }', LOSSY))
    measured = _told(node, _file(tmp_path, _image().dataset))["deliveries"][0]["quality"]
    assert measured["max_error"] > 0
    assert 20 < measured["psnr"] < 90
