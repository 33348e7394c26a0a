"""The demo's judge: it finds every fault that is made on purpose, and none where there is none."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate

from mapdr.dicom.uids import JPEG2000, JPEG2000_LOSSLESS
from mapdr.testing import generator
from mapdr.testing.sink import Stored
from mapdr_cli.demo.balance import Books, as_json, balance_table, so_far
from mapdr_cli.demo.compare import Compared, compare, pixels, read
from mapdr_cli.render.terminal import UNICODE
from paper import draw

EDITS = {"InstitutionName": "North"}


def _image(modality: str = "CT") -> generator.GeneratedImage:
    return next(generator.study(modality, images=1, size=(32, 32)))


def _changed(image: generator.GeneratedImage, change: Callable[[Any], None]) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(image.part10()))
    ds.InstitutionName = "North"
    change(ds)
    return generator.encode(ds, image.transfer_syntax_uid)


def _judge(image: generator.GeneratedImage, arrived: bytes, syntax: str = generator.EXPLICIT) -> Compared:
    return compare((image.dataset, image.transfer_syntax_uid), (arrived, syntax), edits=EDITS, max_error=8)


def _nothing(ds: Any) -> None:
    return


def test_an_edit_as_ruled_is_no_fault() -> None:
    image = _image()
    result = _judge(image, _changed(image, _nothing))
    assert (result.faults, result.way, result.max_error) == ((), "exact", 0)


def _flip_a_pixel(ds: Any) -> None:
    array = ds.pixel_array.copy()
    array[3, 4] ^= 1
    ds.PixelData = array.tobytes()


def _fewer_rows(ds: Any) -> None:
    ds.Rows = 16
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_flip_a_pixel, "a pixel differs by 1"),
        (_fewer_rows, "the image has another size"),
        (lambda ds: setattr(ds, "InstitutionName", "South"), "InstitutionName is not what the rule says"),
        (lambda ds: setattr(ds, "PatientID", "other"), "(0010,0020) changed though no rule names it"),
        (lambda ds: delattr(ds, "StudyID"), "(0020,0010) changed though no rule names it"),
        (lambda ds: setattr(ds, "StationName", ""), "(0008,1010) changed though no rule names it"),
        (lambda ds: setattr(ds, "SOPInstanceUID", "1.2.3"), "a lossless image has another UID"),
        (
            lambda ds: setattr(ds.RequestAttributesSequence[0], "RequestedProcedureID", "x"),
            "(0040,0275) changed",
        ),
    ],
)
def test_each_fault_is_found(change: Callable[[Any], None], fault: str) -> None:
    image = _image()
    assert any(fault in found for found in _judge(image, _changed(image, change)).faults)


def _lossy(ds: Any, *, attributes: bool) -> None:
    uid = ds.SOPInstanceUID
    stream = imagecodecs.jpeg2k_encode(ds.pixel_array, level=72, codecformat="j2k", bitspersample=12)
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.LossyImageCompression = "01"
    if attributes:
        ds.SOPInstanceUID = "2.25.1"
        ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        ds.LossyImageCompressionRatio, ds.LossyImageCompressionMethod = "5", "ISO_15444_1"
        source = pydicom.Dataset()
        source.ReferencedSOPInstanceUID = uid
        ds.SourceImageSequence = [source]


def test_a_lossy_image_needs_its_attributes() -> None:
    image = _image()
    right = _judge(image, _changed(image, lambda ds: _lossy(ds, attributes=True)), JPEG2000)
    assert (right.faults, right.way) == ((), "lossy")
    assert 0 < right.max_error <= 8
    wrong = _judge(image, _changed(image, lambda ds: _lossy(ds, attributes=False)), JPEG2000)
    assert len(wrong.faults) == 5


@pytest.mark.parametrize("modality", ["CT", "US"])
def test_lossless_jpeg_2000_is_decoded_and_compared(modality: str) -> None:
    image = _image(modality)

    def encode(ds: Any) -> None:
        stream = imagecodecs.jpeg2k_encode(ds.pixel_array, level=0, codecformat="j2k", reversible=True)
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True

    result = _judge(image, _changed(image, encode), JPEG2000_LOSSLESS)
    assert (result.faults, result.way) == ((), "exact")


def test_pixels_of_every_native_form() -> None:
    for modality, shape in (("CT", (32, 32)), ("US", (32, 32, 3))):
        image = _image(modality)
        ds = read(image.dataset, image.transfer_syntax_uid)
        assert pixels(ds).shape == shape
    ds.PlanarConfiguration = 1
    ds.PixelData = np.moveaxis(pixels(read(image.dataset, image.transfer_syntax_uid)), -1, 0).tobytes()
    assert np.array_equal(pixels(ds), pixels(read(image.dataset, image.transfer_syntax_uid)))


def _books(image: generator.GeneratedImage) -> Books:
    books = Books(lambda image: EDITS, 8)
    books.sent(image)
    return books


class Pacs:
    """What `Books.audit` wants of a sink."""

    def __init__(self, *requests: Stored) -> None:
        self.requests = list(requests)


def _stored(image: generator.GeneratedImage, dataset: bytes) -> Stored:
    return Stored(image.sop_class_uid, "", generator.EXPLICIT, "MAPDR", 0, len(dataset), 0.0, None, dataset)


def test_a_balance_that_holds() -> None:
    image = _image()
    books = _books(image)
    books.audit(Pacs(_stored(image, _changed(image, _nothing))))  # type: ignore[arg-type]
    books.accounts["CT"].received = books.accounts["CT"].delivered = books.stored = books.answered = 1
    assert books.missing() == []
    drawn = draw.text_of(balance_table(books, UNICODE), draw.make_console(80))
    assert "nothing is missing" in drawn


def test_what_the_rules_do_is_told_while_images_arrive() -> None:
    image = _image()
    books = _books(image)
    assert so_far(books, "two tags set", 0) == [
        "tags         two tags set: right in 0 images",
        "compression  -",
        "RIS          told that 0 of 1 study have arrived",
    ]
    books.audit(Pacs(_stored(image, _changed(image, _nothing))))  # type: ignore[arg-type]
    tags, compression, ris = so_far(books, "two tags set", 1)
    assert tags == "tags         two tags set: right in 1 image"
    assert compression == "compression  CT 1.0:1 lossless"
    assert ris == "RIS          told that 1 of 1 study have arrived"


def test_wrong_tags_are_told_while_images_arrive() -> None:
    image = _image()
    books = _books(image)
    books.audit(Pacs(_stored(image, _changed(image, _flip_a_pixel))))  # type: ignore[arg-type]
    assert so_far(books, "two tags set", 0)[0] == "tags         two tags set: right in 0 images, wrong in 1"


@pytest.mark.parametrize("broken", ["received", "delivered", "stored", "answered", "arrived", "altered"])
def test_a_balance_that_does_not_hold_says_where(broken: str) -> None:
    image = _image()
    books = _books(image)
    change = _flip_a_pixel if broken == "altered" else _nothing
    arrived = [] if broken == "arrived" else [_stored(image, _changed(image, change))]
    books.audit(Pacs(*arrived))  # type: ignore[arg-type]
    account = books.accounts["CT"]
    account.received, account.delivered = int(broken != "received"), int(broken != "delivered")
    books.stored, books.answered = int(broken != "stored"), int(broken != "answered")
    assert books.missing()
    assert as_json(books)["missing"]
    drawn = draw.text_of(balance_table(books, UNICODE), draw.make_console(80))
    assert "The balance does not hold." in drawn


def test_an_image_that_arrives_before_its_sender_knows_is_not_lost() -> None:
    image = _image()
    books = Books(lambda image: EDITS, 8)
    pacs = Pacs(_stored(image, _changed(image, _nothing)))
    books.audit(pacs)  # type: ignore[arg-type]
    books.sent(image)
    assert books.waiting == 1
    books.audit(pacs)  # type: ignore[arg-type]
    assert books.waiting == 0


def test_repeats_are_counted_and_no_fault() -> None:
    image = _image()
    books = _books(image)
    once = _stored(image, _changed(image, _nothing))
    books.audit(Pacs(once, once))  # type: ignore[arg-type]
    assert (books.repeats, books.faults) == (1, [])
