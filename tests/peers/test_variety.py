"""The files made here cover what MAPDR handles, and MAPDR reads from each what was put in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pydicom
import pytest

from mapdr.dicom import transfer_syntax
from mapdr.kernel.item import FileSlice, Payload
from mapdr.transform.codecs.foreign import close_decoders
from mapdr.transform.dataset import DataSet
from mapdr.transform.encode import policy
from mapdr.transform.image import Attributes
from peers import variety
from peers.part10 import StoredObject, read, write
from peers.variety import EXPLICIT, KINDS, Kind
from transform.helpers import CODECS, to_syntax

NATIVE_KINDS = [kind for kind in KINDS if kind.transfer_syntax_uid in transfer_syntax.NATIVE]
DECODED_KINDS = [kind for kind in KINDS if CODECS.reads(kind.transfer_syntax_uid)]
EXACT = transfer_syntax.NATIVE | transfer_syntax.LOSSLESS_COMPRESSED


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoredObject]:
    return {path.name: read(path) for path in variety.write(tmp_path_factory.mktemp("variety"))}


def test_every_transfer_syntax_of_a_table_has_a_file(files: dict[str, StoredObject]) -> None:
    tables = (
        transfer_syntax.NATIVE,
        {uid for uid in transfer_syntax.LOSSLESS_COMPRESSED if CODECS.reads(uid)},
        transfer_syntax.MAYBE_LOSSY,
        CODECS.rows.keys(),
        transfer_syntax.IMPLICIT,
    )
    assert not set().union(*tables) - {item.transfer_syntax_uid for item in files.values()}


def test_every_sop_class_of_a_table_has_a_file(files: dict[str, StoredObject]) -> None:
    tables = policy.MAY_BE_LOSSY | policy.NEVER_LOSSY.keys() | policy.NEVER_TOUCHED.keys()
    assert not tables - {item.sop_class_uid for item in files.values()}


def test_every_photometric_interpretation_has_a_file_of_each_form() -> None:
    native = {kind.photometric for kind in NATIVE_KINDS}
    assert native >= policy.PHOTOMETRIC.keys() - {"YBR_RCT"}
    assert native >= {"YBR_FULL", "YBR_FULL_422"}
    encapsulated = {kind.photometric for kind in DECODED_KINDS}
    assert encapsulated >= policy.PHOTOMETRIC.keys() - {"PALETTE COLOR"}
    assert encapsulated >= {"YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"}


def test_every_depth_sign_and_layout_has_a_file() -> None:
    assert {kind.stored for kind in NATIVE_KINDS} >= {1, 8, 10, 12, 16, 32}
    assert {kind.stored for kind in DECODED_KINDS} >= {8, 12, 16, 32}
    for kinds in (NATIVE_KINDS, DECODED_KINDS):
        assert {kind.signed for kind in kinds} == {False, True}
        assert any(kind.frames > 1 for kind in kinds)
    for syntax in transfer_syntax.NATIVE:
        here = [kind for kind in KINDS if kind.transfer_syntax_uid == syntax]
        assert {kind.planar for kind in here} == {0, 1}
        assert {kind.signed for kind in here} == {False, True}
    assert {kind.stored for kind in KINDS if kind.signed} >= {8, 12, 16}


def payload_of(item: StoredObject) -> Payload:
    size = item.path.stat().st_size - item.offset
    parts = (FileSlice(item.path, item.offset, size),)
    return Payload(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, parts, size)


def test_every_object_can_be_opened(files: dict[str, StoredObject]) -> None:
    made = [item for item in files.values() if item.path.parent.name == "variety"]
    assert len(made) > len(KINDS)
    for item in made:
        with DataSet(payload_of(item)) as data:
            assert (data.pixel is None) == (item.path.name in variety.NO_IMAGES), item.path.name
            assert Attributes(data.header()).text(0x00080018) == item.sop_instance_uid


def native(item: StoredObject) -> pydicom.Dataset:
    """What MAPDR makes of a file for a receiver that takes explicit VR little endian alone."""
    data = b"".join(to_syntax(payload_of(item), EXPLICIT).chunks())
    return pydicom.dcmread(write(item.path.with_suffix(".native"), EXPLICIT, data))


@pytest.fixture(scope="module")
def decoded(files: dict[str, StoredObject]) -> Iterator[dict[str, StoredObject]]:
    """The files, while one decoder process lives: it is started before the first test looks for leaks."""
    native(files[DECODED_KINDS[0].name])
    yield files
    close_decoders()


@pytest.mark.parametrize("kind", [*NATIVE_KINDS, *DECODED_KINDS], ids=lambda kind: kind.name)
def test_mapdr_reads_the_pixels_that_were_put_in(kind: Kind, decoded: dict[str, StoredObject]) -> None:
    found = native(decoded[kind.name])
    if kind.syntax in variety.PROGRESSIVE:
        assert found.pixel_array.shape == (16, 16)
        assert len(np.unique(found.pixel_array)) > 50
        return
    seen, expected = pydicom.pixels.pixel_array(found, raw=True), kind.pixels()
    seen = seen if kind.frames > 1 else seen[None]
    if kind.transfer_syntax_uid not in EXACT:
        span = int(expected.max() - expected.min())
        assert np.abs(seen.astype(np.int64) - expected).mean() < span / 50
    elif kind.photometric == "YBR_FULL_422":
        assert np.array_equal(seen[..., 0], variety.ybr_full(expected)[..., 0])
    else:
        whole = variety.ybr_full(expected) if kind.photometric == "YBR_FULL" else expected
        assert np.array_equal(seen, whole)
