"""Known to be incomplete means 0xC000 and a comment, on every way in; what is whole is taken."""

from __future__ import annotations

import ssl
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mapdr.kernel.item import Payload
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.dicom.receiver import STAGE
from mapdr.store.spool.files import Spool
from mapdr.testing import peer
from mapdr.wire import dimse
from mapdr.wire.requestor import Requestor
from peers.certificates import self_signed
from receive.conversation import CONTEXTS, HANGING_PROTOCOL, PRIVATE, converse

MR = "1.2.840.10008.5.1.4.1.1.4"
CONTEXT = {"explicit": 3, "implicit": 5, "deflated": 7, "encapsulated": 9, "big endian": 13}
UNDEFINED = 0xFFFFFFFF
SIZES = {"small": 400, "behind the prefix": 100_000, "larger than the inbox": 1_200_000}
_LONG = (b"OB", b"OW", b"SQ", b"UN")

Spoil = Callable[["Image"], bytes]


class Image:
    """A data set of a chosen encoding, of which each part can be spoiled."""

    def __init__(self, encoding: str, pixels: int = 400) -> None:
        self.encoding = encoding
        self.order = ">" if encoding == "big endian" else "<"
        self.sop_class = (MR if encoding == "encapsulated" else peer.CT).encode()
        self.uid = b"1.2.3.4"
        self.study: bytes | None = b"1.2.3"
        self.pixels = pixels
        self.tail = self.element(0xFFFCFFFC, b"OB", bytes(40))

    def element(self, tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
        """One element; `length` is what its head says, if not the value's."""
        value += b" " * (len(value) % 2)
        stated = len(value) if length is None else length
        head = struct.pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)
        if self.encoding == "implicit":
            return head + struct.pack("<L", stated) + value
        if vr in _LONG:
            return head + vr + b"\0\0" + struct.pack(f"{self.order}L", stated) + value
        return head + vr + struct.pack(f"{self.order}H", stated) + value

    def item(self, value: bytes, tag: int = 0xFFFEE000, length: int | None = None) -> bytes:
        stated = len(value) if length is None else length
        return struct.pack(f"{self.order}HHL", tag >> 16, tag & 0xFFFF, stated) + value

    def header(self) -> bytes:
        study = b"" if self.study is None else self.element(0x0020000D, b"UI", self.study)
        return b"".join(
            (
                self.element(0x00080016, b"UI", self.sop_class),
                self.element(0x00080018, b"UI", self.uid),
                self.element(0x00081140, b"SQ", self.item(b"", 0xFFFEE0DD), UNDEFINED),
                self.element(0x00100010, b"PN", b"A^B"),
                study,
            )
        )

    def pixel_data(self) -> bytes:
        if self.encoding != "encapsulated":
            return self.element(0x7FE00010, b"OW", bytes(self.pixels))
        half = bytes(self.pixels // 2)
        frames = self.item(b"") + self.item(half) + self.item(half) + self.item(b"", 0xFFFEE0DD)
        return self.element(0x7FE00010, b"OB", frames, UNDEFINED)

    def data_set(self) -> bytes:
        return self.deflate(self.header() + self.pixel_data() + self.tail)

    def deflate(self, data: bytes) -> bytes:
        if self.encoding != "deflated":
            return data
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(data) + packer.flush()


def cut(image: Image, behind: bytes, count: int) -> bytes:
    """The data set up to `count` bytes behind the first `behind`."""
    whole = image.header() + image.pixel_data() + image.tail
    return image.deflate(whole[: whole.index(behind) + len(behind) + count])


def spoiled(image: Image, **facts: bytes | None) -> bytes:
    for name, value in facts.items():
        setattr(image, name, value)
    return image.data_set()


def open_sequence(image: Image) -> bytes:
    inner = image.item(image.element(0x00400009, b"SH", b"STEP"), length=UNDEFINED)
    return image.deflate(image.header() + image.element(0x00400275, b"SQ", inner, UNDEFINED))


CUT: dict[str, Spoil] = {
    "inside a value": lambda image: cut(image, b"A^B", -1),
    "inside an element head": lambda image: cut(image, b"A^B ", 3),
    "a sequence that never ends": open_sequence,
    "nothing": lambda image: b"",
    "one byte": lambda image: b"\x08",
}
UNKNOWN: dict[str, Spoil] = {
    "no Study Instance UID": lambda image: spoiled(image, study=None),
    "an empty Study Instance UID": lambda image: spoiled(image, study=b""),
    "a Study Instance UID of 84 characters": lambda image: spoiled(image, study=b"1." + b"2" * 82),
    "a Study Instance UID above 0x7F": lambda image: spoiled(image, study=b"1.2.\xe4.3"),
    "a SOP Class UID above 0x7F": lambda image: spoiled(image, sop_class=b"1.2.840.\xe4"),
    "a SOP Class UID of 100 characters": lambda image: spoiled(image, sop_class=b"1." + b"2" * 98),
    "a SOP Instance UID of 100 characters": lambda image: spoiled(image, uid=b"1." + b"2" * 98),
}


def push(
    data: bytes, context: int, *, runs: bool, sop_class: str = "", uid: str = "1.2.3.4"
) -> dimse.Command:
    """Send one object behind one that is good, and before another; the answer to it, and to nothing else."""
    good = Image("explicit").data_set()
    sop_class = sop_class or {each.id: each.abstract_syntax for each in CONTEXTS}[context]
    pdvs = [data[at : at + 16000] for at in range(0, len(data), 16000)] or [b""]
    middle = peer.p_data((context, 3, dimse.store_request(2, sop_class, uid)))
    middle += b"".join(peer.p_data((context, 2 * (piece is pdvs[-1]), piece)) for piece in pdvs)
    came = converse([peer.store(good, 1) + middle + peer.store(good, 3)], runs=runs)
    answers = [peer_answer for peer_answer in came.commands if peer_answer.field == dimse.C_STORE_RSP]
    assert [answer.message_id for answer in answers] == [1, 2, 3]
    assert answers[0].status == answers[2].status == 0
    assert len(came.kept) == 2 + (answers[1].status == 0)
    return answers[1]


def is_refused(answer: dimse.Command) -> bool:
    assert answer.status != 0xC000 or 0 < len(answer.comment) <= 64
    return answer.status == 0xC000


@pytest.mark.parametrize("runs", [True, False], ids=["runs", "ordinary"])
@pytest.mark.parametrize("encoding", CONTEXT)
@pytest.mark.parametrize("what", [*CUT, *UNKNOWN])
def test_what_is_incomplete_is_refused(encoding: str, what: str, runs: bool) -> None:
    data = {**CUT, **UNKNOWN}[what](Image(encoding))
    assert is_refused(push(data, CONTEXT[encoding], runs=runs))


@pytest.mark.parametrize("runs", [True, False], ids=["runs", "ordinary"])
@pytest.mark.parametrize("encoding", CONTEXT)
@pytest.mark.parametrize("size", SIZES)
def test_pixel_data_that_is_cut_is_refused(encoding: str, size: str, runs: bool) -> None:
    image = Image(encoding, SIZES[size])
    whole = image.header() + image.pixel_data()
    context = CONTEXT[encoding]
    for data in (whole[:-100], whole[:-1], whole + image.tail[:-2], whole + image.tail[:5]):
        if encoding == "deflated" and data.startswith(whole):
            continue  # its end is known by the stream's
        assert is_refused(push(image.deflate(data), context, runs=runs))
    assert push(image.deflate(whole), context, runs=runs).status == 0
    assert push(image.data_set(), context, runs=runs).status == 0


@pytest.mark.parametrize("size", SIZES)
def test_a_deflated_stream_that_is_cut_is_refused(size: str) -> None:
    data = Image("deflated", SIZES[size]).data_set()
    assert is_refused(push(data[:-3], CONTEXT["deflated"], runs=True))


def test_more_is_not_inflated_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.dicom.scan.MAX_INFLATED", 1 << 20)
    data = Image("deflated", 8 << 20).data_set()
    assert push(data[:-3], CONTEXT["deflated"], runs=True).status == 0


@pytest.mark.parametrize("runs", [True, False], ids=["runs", "ordinary"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("end", ["no delimiter", "inside a fragment", "inside a fragment's head"])
def test_fragments_that_never_end_are_refused(end: str, size: str, runs: bool) -> None:
    image = Image("encapsulated", SIZES[size])
    whole = image.header() + image.pixel_data()
    left = {"no delimiter": 8, "inside a fragment": 108, "inside a fragment's head": 3}[end]
    assert is_refused(push(whole[:-left], 9, runs=runs))


@pytest.mark.parametrize("runs", [True, False], ids=["runs", "ordinary"])
@pytest.mark.parametrize(("context", "sop_class"), [(15, HANGING_PROTOCOL), (17, PRIVATE)])
def test_objects_that_may_have_no_study_are_asked_for_none(context: int, sop_class: str, runs: bool) -> None:
    image = Image("explicit")
    image.sop_class, image.study, image.pixels = sop_class.encode(), None, 0
    assert push(image.data_set(), context, runs=runs).status == 0
    image.study = b"1." + b"2" * 82
    assert is_refused(push(image.data_set(), context, runs=runs))


def test_over_tls_it_is_the_same(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    spool = Spool(tmp_path, "node", "process-crash", submit=lambda arrival: None)
    config = STAGE.config.model_validate(
        {"host": "127.0.0.1", "port": 0, "tls": {"cert": str(cert), "key": str(key)}}
    )
    receiver = STAGE.build(Settings("modalities", "node", tmp_path, bytes(32), Watch()), config, spool)
    receiver.start()
    context = ssl.create_default_context(cafile=str(cert))
    proposals = ((peer.CT, (peer.EXPLICIT,)),)
    try:
        link = Requestor.connect(
            "127.0.0.1", receiver.port, calling_ae="CT1", called_ae="MAPDR", proposals=proposals, tls=context
        )
        for what, spoil in {**CUT, **UNKNOWN}.items():
            if data := spoil(Image("explicit")):
                assert link.c_store(payload(data)).status == 0xC000, what
        assert link.c_store(payload(Image("explicit").data_set())).status == 0
        link.release()
    finally:
        receiver.stop(time.monotonic() + 2)


def payload(data: bytes) -> Payload:
    return Payload(peer.CT, "1.2.3.4", peer.EXPLICIT, (data,), len(data))
