"""Which methods there are on a node, why one is not, and what a plan is told of a document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from mapdr.dicom import uids
from mapdr.kernel.codec import Decoder, PixelRange
from mapdr.kernel.registry import Registry
from mapdr.transform.codecs.table import Codecs, Row
from mapdr.transform.document import OpenImage
from mapdr.transform.encode import named
from mapdr.transform.encode.methods import AUTO, AUTO_METHODS, METHODS, Method
from mapdr.transform.encode.plan import Wish
from mapdr.transform.encode.subject import subject_of, writers_of

from .helpers import EXPLICIT, image, payload_of, picture, settings
from .toy import Lossless, Lossy

ENCODER, LOSSY = Lossless(), Lossy()
J2K, J2K_LOSSY, PRIVATE = uids.JPEG2000_LOSSLESS, uids.JPEG2000, "1.2.826.0.1.3680043.9.9999.1"


def row(uid: str, encoder: Any = None, lossy: Any = None, packer: Any = None, why: str = "") -> Row:
    return Row(uid, f"syntax {uid[-2:]}", None, encoder, lossy, packer, no_encode=why)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A node with these rows, and these of plug-ins by name; an unavailable one is its reason."""

    def install(*rows: Row, **plugins: Any) -> None:
        own = {
            name: {each.uid: each for each in some}
            for name, some in plugins.items()
            if not isinstance(some, str)
        }
        codecs = SimpleNamespace(rows={each.uid: each for each in rows}, own=own)
        reasons = {name: some if isinstance(some, str) else "" for name, some in plugins.items()}
        registry = SimpleNamespace(
            names=lambda kind: ["jpeg2000", *plugins],
            plugin=lambda kind, name: SimpleNamespace(reason=reasons[name]),
        )
        monkeypatch.setattr(named, "Registry", lambda: registry)
        monkeypatch.setattr(named, "_installed", lambda names=(): codecs)

    return install


def test_names_are_mapdrs_and_those_of_plug_ins(installed: Callable[..., None]) -> None:
    installed(mine=[row(PRIVATE, ENCODER)])
    assert named.plugin_names() == ["mine"]
    assert [named.is_known(name) for name in ("auto", "rle", "mine", "yours")] == [True, True, True, False]
    assert named.methods_named(["rle", "yours", "mine"]) == (
        METHODS["rle"],
        Method("mine", '"mine"', PRIVATE, codec="mine"),
    )
    assert named.methods_named([AUTO]) == AUTO_METHODS
    with pytest.raises(KeyError):
        named.method_named("yours")


def test_the_method_of_a_plug_in_is_the_first_syntax_of_each_kind(installed: Callable[..., None]) -> None:
    installed(
        mine=[row(J2K_LOSSY, None, LOSSY), row(J2K, ENCODER), row(PRIVATE, ENCODER, LOSSY)],
        none="it is broken",
    )
    assert named.method_named("mine") == Method("mine", '"mine"', J2K, J2K_LOSSY, codec="mine")
    assert named.method_named("none") == Method("none", '"none"', "", "", codec="none")


def test_why_a_method_is_lacking(installed: Callable[..., None]) -> None:
    installed()
    assert named.lacking("jpeg2000") == named.lacking("jpegxl-recompress") == "no codec here knows it"
    assert named.lacking("deflated") == named.lacking("native") == ""
    installed(row(J2K, ENCODER), row(J2K_LOSSY, None, None, why="it is too slow"))
    assert named.lacking("jpeg2000-lossless") == ""
    assert named.lacking("jpeg2000") == "syntax 91 is not written here: it is too slow"
    installed(row(J2K), row(J2K_LOSSY, None, LOSSY))
    assert named.lacking("jpeg2000") == "syntax 90 is not written here: no codec writes it so"
    installed(row(J2K, ENCODER), row(J2K_LOSSY, None, LOSSY))
    assert named.lacking("jpeg2000") == ""
    packed = uids.JPEG_XL_JPEG_RECOMPRESSION
    installed(row(packed, packer=object()))
    assert named.lacking("jpegxl-recompress") == ""
    installed(row(packed, why="libjxl is missing"))
    assert named.lacking("jpegxl-recompress").endswith("libjxl is missing")


def test_why_a_plug_in_is_lacking(installed: Callable[..., None]) -> None:
    installed(
        writes=[row(PRIVATE, ENCODER)],
        loses=[row(PRIVATE, None, LOSSY)],
        reads=[row(PRIVATE, why="it is not offered")],
        broken="its module is missing",
        empty=[],
    )
    assert named.lacking("writes") == named.lacking("loses") == ""
    assert named.lacking("reads").endswith("is not written here: it is not offered")
    assert named.lacking("broken") == "its module is missing"
    assert named.lacking("empty") == "it cannot be built"


# What a plan is told

WISH = Wish((METHODS["jpeg2000"],), lossy=True)


def told(
    data: Dataset,
    syntax: str = EXPLICIT,
    wish: Wish = WISH,
    *,
    reads: bool = True,
    came: str = "",
    **more: Any,
):
    payload, instance = payload_of(data)
    payload = replace(payload, transfer_syntax_uid=syntax)
    codecs = Codecs(Registry(), settings())
    decoder = Decoder(lambda form, stream: stream) if reads else None
    codecs.__dict__.update(rows={syntax: Row(syntax, "", decoder, None, None)}, own={})
    with OpenImage(payload, codecs, **more) as document:
        return subject_of(document, replace(instance, transfer_syntax_uid=came or syntax), wish)


def ct(**elements: Any) -> Dataset:
    data = image(picture(4, 5, 0, 4000))
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def test_a_plain_image_is_told_as_it_is() -> None:
    found = told(ct())
    assert (found.sop_class_uid, found.transfer_syntax_uid, found.modality) == (
        ct().SOPClassUID,
        EXPLICIT,
        "CT",
    )
    assert found.form is not None
    assert (found.form.rows, found.form.stored, found.pixels, found.fault) == (4, 12, "integer", "")
    assert (found.is_readable, found.is_painted, found.was_deflated) == (True, False, False)
    assert not any((found.is_lossy, found.is_in_concatenation, found.is_multi_energy, found.has_signature))


@pytest.mark.parametrize(
    ("elements", "fact"),
    [
        ({"LossyImageCompression": "01"}, "is_lossy"),
        ({"ConcatenationUID": "1.2"}, "is_in_concatenation"),
        ({"MultienergyCTAcquisition": "YES"}, "is_multi_energy"),
        ({"DigitalSignaturesSequence": [Dataset()]}, "has_signature"),
        ({"MACParametersSequence": [Dataset()]}, "has_signature"),
    ],
)
def test_what_the_header_says_against_it_is_told(elements: dict[str, Any], fact: str) -> None:
    assert getattr(told(ct(**elements)), fact)
    for keyword in ("LossyImageCompression", "MultienergyCTAcquisition"):
        if keyword in elements:
            assert not getattr(told(ct(**{keyword: "00" if keyword[0] == "L" else "NO"})), fact)


def test_what_has_no_pixels_is_not_copied_for_a_codec() -> None:
    data = ct(LossyImageCompression="01")
    del data.PixelData
    found = told(data)
    assert (found.pixels, found.form, found.modality, found.is_lossy) == ("none", None, "", False)
    found = told(data, wish=Wish((METHODS["deflated"],)))
    assert (found.pixels, found.form, found.modality, found.is_lossy) == ("none", None, "CT", True)
    both = Wish((METHODS["jpeg2000"], METHODS["native"]))
    assert told(data, wish=both).modality == "CT"


def test_floats_faults_and_unknown_syntaxes_are_told() -> None:
    floats = ct(BitsAllocated=32)
    del floats.PixelData
    floats.FloatPixelData = bytes(80)
    assert told(floats).pixels == "float"
    assert (told(ct(Rows=0)).form, told(ct(Rows=0)).fault) == (None, "pixel-module")
    video = told(ct(), "1.2.840.10008.1.2.4.100", reads=False)
    assert not video.is_readable
    assert video.form is not None
    assert told(ct(), uids.RLE_LOSSLESS).is_readable
    # Colours that no native frame has.
    partial = image(
        picture(4, 6, 0, 255).reshape(4, 2, 3), allocated=8, stored=8, photometric="YBR_PARTIAL_420"
    )
    found = told(partial, uids.JPEG2000_LOSSLESS)
    assert (found.form, found.fault) == (None, "photometric")
    assert told(partial, uids.JPEG2000_LOSSLESS, reads=False).form is not None


def test_how_it_came_and_what_steps_do_with_it_is_told() -> None:
    deflated = uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    assert told(ct(), came=deflated).was_deflated
    assert told(ct(), paints=(lambda cells, form, index: cells,)).is_painted


def test_writers_are_those_of_the_rows_and_of_each_plug_in() -> None:
    grey = PixelRange(samples=(1,))
    private = Lossless()
    private.takes = grey
    codecs = Codecs(Registry(), settings())
    codecs.__dict__.update(
        rows={J2K: row(J2K, ENCODER), J2K_LOSSY: row(J2K_LOSSY, None, LOSSY)},
        own={"mine": {PRIVATE: row(PRIVATE, private)}},
    )
    found = writers_of(codecs)
    assert (dict(found.lossless), dict(found.lossy)) == ({J2K: ENCODER.takes}, {J2K_LOSSY: LOSSY.takes})
    assert dict(found.plugins["mine"].lossless) == {PRIVATE: grey}
    assert not found.plugins["mine"].lossy
