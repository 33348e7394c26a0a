from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Source
from mapdr.kernel.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from mapdr.store.spool import filemeta
from store.world import CT, EXPLICIT, SOURCE, data_set

META = filemeta.encode(SOURCE, CT, "1.2.3", EXPLICIT, revision="abc", received_at=1.5)


def test_another_program_reads_the_file() -> None:
    read = pydicom.dcmread(io.BytesIO(META + data_set("1.2.3")))
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert read.file_meta.TransferSyntaxUID == EXPLICIT
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert read.file_meta.SendingApplicationEntityTitle == "CT1"
    assert read.file_meta.ReceivingApplicationEntityTitle == "MAPDR"
    assert read.SOPInstanceUID == "1.2.3"
    assert len(read.PixelData) == 64


@given(
    st.builds(
        Source,
        st.text(max_size=40),
        st.text(max_size=20),
        st.text(max_size=20),
        st.text(max_size=50),
        protocol=st.sampled_from(["dicom", "dicomweb", "folder"]),
        credential=st.text(max_size=40),
    ),
    st.floats(0, 4e9),
)
def test_what_is_written_is_read_back(source: Source, at: float) -> None:
    written = filemeta.encode(source, "1.2", "1.2.34", EXPLICIT, revision="r", received_at=at)
    read = filemeta.decode(io.BytesIO(written + b"data set"))
    assert read.source == source
    assert (read.sop_class_uid, read.sop_instance_uid, read.transfer_syntax_uid) == (
        "1.2",
        "1.2.34",
        EXPLICIT,
    )
    assert (read.revision, read.received_at) == ("r", at)
    assert read.data_offset == len(written)


@given(st.integers(0, len(META) - 1))
def test_a_file_that_is_cut_short_is_told(length: int) -> None:
    with pytest.raises(Permanent) as caught:
        filemeta.decode(io.BytesIO(META[:length]))
    assert caught.value.reason == "spool-file"


@given(st.integers(0, len(META) - 1), st.integers(0, 255))
def test_any_damage_is_permanent_or_harmless(at: int, value: int) -> None:
    damaged = bytearray(META)
    damaged[at] = value
    with contextlib.suppress(Permanent):
        filemeta.decode(io.BytesIO(bytes(damaged)))


def test_a_file_of_dimse_says_no_more_than_it_always_did() -> None:
    """Files that say neither a protocol nor a credential are older, or have nothing else to say."""
    assert b'"address":"10.1.2.3","revision":"abc"' in META
    assert filemeta.decode(io.BytesIO(META)).source == Source(
        "modalities", "CT1", "MAPDR", "10.1.2.3", "dicom", ""
    )


def test_an_address_of_another_protocol_is_no_dicom_address() -> None:
    source = Source("web", "", "", "10.1.2.3", "dicomweb", "token:clinic")
    written = filemeta.encode(source, CT, "1.2.3", EXPLICIT, revision="abc", received_at=1.5)
    assert b"dicom://10.1.2.3" in META
    assert b"dicom://" not in written
    assert filemeta.decode(io.BytesIO(written)).source == source


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "1.2.3456", "1.2.34567"])
@pytest.mark.parametrize("title", ["CT1", "CT12"])
def test_every_element_has_its_tag_and_an_even_length(uid: str, title: str) -> None:
    """PS3.10, section 7.1; UIDs and bytes are padded with zeros, text with blanks (PS3.5, section 6.2)."""
    source = Source("modalities", title, title, "10.1.2.3")
    written = filemeta.encode(source, CT, uid, EXPLICIT, revision="r", received_at=1.5)
    (length,) = struct.unpack_from("<I", written, 140)
    assert length == len(written) - 144
    values = filemeta._elements(written[144:])
    text = {number: value for number, value in values.items() if number != 0x0102}
    even = title.encode() + b" " * (len(title) % 2)
    assert text == {
        0x0001: b"\0\1",
        0x0002: CT.encode() + b"\0" * (len(CT) % 2),
        0x0003: uid.encode() + b"\0" * (len(uid) % 2),
        0x0010: EXPLICIT.encode() + b"\0" * (len(EXPLICIT) % 2),
        0x0012: IMPLEMENTATION_CLASS_UID.encode() + b"\0" * (len(IMPLEMENTATION_CLASS_UID) % 2),
        0x0013: IMPLEMENTATION_VERSION_NAME.encode() + b" " * (len(IMPLEMENTATION_VERSION_NAME) % 2),
        0x0016: even,
        0x0017: even,
        0x0018: even,
        0x0026: b"dicom://10.1.2.3",
        0x0100: filemeta.PRIVATE_CREATOR_UID.encode() + b"\0" * (len(filemeta.PRIVATE_CREATOR_UID) % 2),
    }
    assert len(values[0x0102]) % 2 == 0
    seal = len(written) - filemeta.SEAL_FROM_END
    sealed = written[:seal] + filemeta.seal(b"\xab" * 16) + written[seal + 32 :]
    assert len(sealed) == len(written)
    read = filemeta.decode(io.BytesIO(sealed))
    assert (read.sop_class_uid, read.sop_instance_uid, read.digest) == (CT, uid, b"\xab" * 16)
    assert read.data_offset == len(written)
    assert filemeta.decode(io.BytesIO(written)).digest == b""
    for tag_and_vr in (b"\x01\x00OB", b"\x26\x00UR", b"\x02\x01OB"):
        at = written.index(b"\x02\x00" + tag_and_vr) + 6
        assert written[at : at + 2] == bytes(2), "reserved (PS3.5, section 7.1.2)"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda meta: b"",
        lambda meta: meta[:143],
        lambda meta: meta[:144],
        lambda meta: meta[:-1],
        lambda meta: bytes(128) + meta[:128],
        lambda meta: meta[:140] + struct.pack("<I", (1 << 20) + 1) + meta[144:] + bytes(1 << 20),
        lambda meta: meta[:144] + b"\x08" + meta[145:],
        lambda meta: meta[:152] + struct.pack("<I", len(meta)) + meta[156:],
        lambda meta: meta[:152] + struct.pack("<I", len(meta) - 144 - 12 + 1) + meta[156:],
        lambda meta: meta.replace(b'"receiver"', b'"reviecer"'),
        lambda meta: meta.replace(b'"digest":"', b'"digest":"x'),
        lambda meta: meta.replace(b'{"receiver"', b'["receiver"'),
    ],
)
def test_what_is_not_ours_is_no_file_of_the_spool(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Permanent) as caught:
        filemeta.decode(io.BytesIO(spoil(META)))
    assert caught.value.reason == "spool-file"
