"""What is fuzzed: each target takes any bytes, and may raise nothing but what its contract names.

What is a stream is given whole, byte by byte, and with trailing bytes that must be left alone. Where there
is a compiled twin, both must say the same.
"""

from __future__ import annotations

import ctypes
import io
import socket
import struct
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pydicom.data
import xxhash
from pydicom.filereader import dcmread
from pydicom.filewriter import write_dataset

from egress.dicomweb import answers
from fuzz import structure
from mapdr import _fast
from mapdr._fast import _command_py, _rewrite_py, _scan_py
from mapdr.dicom.edit.tree import apply_edits
from mapdr.dicom.edit.verbs import PREFIX, REMOVE, SET
from mapdr.dicom.path import parse_edit_path
from mapdr.dicom.recode import recode
from mapdr.dicom.scan import MAX_VALUE, NeedMore, ScannedHeader, Unreadable, header_tree, layout, scan
from mapdr.dicom.tags import PIXEL_DATA
from mapdr.dicom.template import Template
from mapdr.dicom.write import Element, encoding_of
from mapdr.egress.dicomweb.answer import Stored, read_answer
from mapdr.kernel.errors import Permanent, RemoteProtocolError
from mapdr.kernel.item import is_uid
from mapdr.net.multipart import Limits as MultipartLimits
from mapdr.operate import part10
from mapdr.receive.dicomweb.parts import PartResult, PartStore
from mapdr.store.spool import filemeta
from mapdr.store.spool.journal import record
from mapdr.store.spool.runs import gather
from mapdr.testing import peer
from mapdr.transform.fragments import frame_spans
from mapdr.wire import dimse, pdu
from mapdr.wire.acceptor import Acceptor
from mapdr.wire.link import Limits, LinkLost
from net import bodies
from receive.conversation import converse, open_spool
from receive.fakes import FakeIntake
from store import segments
from store.world import SOURCE, data_set
from wire.streams import Tape, ways

SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
WANTED = frozenset(
    [
        (0x00080018,),
        (0x00080060,),
        (0x00100010,),
        (0x0020000D,),
        (0x00400275, 0x00400009),
        (0x00081140, 0x00081155),
    ]
)
LIMITS = Limits(max_pdu=4096, linger=0)
PLACES = (0x00080005, 0x00080016, 0x00080018, 0x00080050, 0x00100010, 0x00100020)
"""What a rewrite looks for."""
EDITS = (
    SET(parse_edit_path("PatientID"), Template.parse("NEW")),
    PREFIX(parse_edit_path("AccessionNumber"), Template.parse("A-")),
    REMOVE(parse_edit_path("RequestAttributesSequence.ScheduledProcedureStepID")),
)


class Target(NamedTuple):
    """What is fuzzed, what mutations begin with, and what draws inputs that have its structure."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    draw: Callable[[Random], bytes] | None = None


def store_answers(data: bytes) -> None:
    """The reader of STOW-RS answers: what is called stored stands in the answer, in the right sequence."""
    try:
        answer = read_answer(data)
    except RemoteProtocolError:
        return
    plain = not any(escape in data for escape in (b"\\u", b"&#", b"\0"))
    for uid, said in answer.instances.items():
        assert is_uid(uid)
        assert said.reason is None or 0 <= said.reason <= 0xFFFF
        assert isinstance(said.words, str)
        if plain and isinstance(said, Stored):
            assert answers.REFERENCED.encode() in data
            assert b"<" in data or uid.encode() in data  # a comment may part it in XML


def multiparts(data: bytes) -> None:
    """The reader of multipart bodies: the same parts, or the same error, however a body is cut."""
    limits = MultipartLimits(header=200, fields=5, parts=20, around=200, padding=4)

    def said(chunks: list[bytes]) -> object:
        try:
            return bodies.parts(chunks, limits)
        except RemoteProtocolError as error:
            return str(error)

    whole = said([data])
    assert said([data[at : at + 1] for at in range(len(data))]) == whole
    assert said([data[at : at + 7] for at in range(0, len(data), 7)]) == whole
    if isinstance(whole, list):
        written = bodies.body_of(whole)
        assert said([written]) == whole


def stow_bodies(data: bytes) -> None:
    """The parts of a STOW-RS request: what is called stored is what was kept, however the body is cut."""

    def said(size: int) -> list[PartResult]:
        intake = FakeIntake()
        store = PartStore(intake, SOURCE, bodies.B)
        words = ""
        try:
            for at in range(0, len(data), size):
                store.feed(data[at : at + size])
            store.end()
        except RemoteProtocolError as error:
            words = str(error)
        store.close(words)
        assert len([each for each in store.results if each.reason is None]) == len(intake.kept)
        assert intake.begun == len(intake.kept) + intake.aborted
        return store.results

    assert said(len(data) + 1) == said(7) == said(1)


def stow_body(chance: Random) -> bytes:
    """Files as parts, mostly whole."""
    files = [({}, structure.file_meta(chance)) for _ in range(chance.randint(1, 4))]
    body = b"\r\n" + bodies.body_of(files)
    return body[: chance.randint(0, len(body))] if chance.random() < 0.2 else body


def tight(data: bytes) -> Any:
    """`data` on the heap with nothing behind it: a sanitizer sees the first byte that is read too far."""
    if not data:
        return data
    return memoryview((ctypes.c_ubyte * len(data)).from_buffer_copy(data)).cast("B")


def pdus(data: bytes) -> None:
    """The PDU reader: a header, a body; what decodes can be encoded, and decodes to the same again."""
    if len(data) < 6:
        return  # the stream reader never hands over less
    try:
        kind, _ = pdu.check_header(data[:6])
        decoded = pdu.decode(kind, data[6:])
    except RemoteProtocolError:
        return
    if isinstance(decoded, pdu.AssociateAccept) and not all(each.transfer_syntax for each in decoded.results):
        return  # a UID that is none was left out: it cannot come back
    if isinstance(decoded, pdu.AssociateRequest) and not all(
        each.abstract_syntax for each in decoded.contexts
    ):
        return
    try:
        encoded = pdu.encode(decoded)
    except (ValueError, RemoteProtocolError):
        return  # what a peer may say and MAPDR would not: too long a title, too many contexts
    # What MAPDR does not repeat (a version, an odd title) is lost the first time, and nothing the second.
    again = pdu.decode(encoded[0], encoded[6:])
    encoded = pdu.encode(again)
    assert pdu.decode(encoded[0], encoded[6:]) == again


def commands(data: bytes) -> None:
    """The command reader: a command, of which a response can be made, or a protocol error."""
    one, other = (reason(twin, data) for twin in (_fast.command_elements, _command_py.command_elements))
    assert one == other, "the twins differ"
    try:
        command = dimse.parse(data)
    except RemoteProtocolError:
        return
    try:
        answer = dimse.response(command, 0x0110, "comment")
    except RemoteProtocolError:
        return
    assert dimse.parse(answer).field == command.field | dimse.RESPONSE


def associations(data: bytes) -> None:
    """The state machine with the P-DATA path: a peer's whole conversation, as a receiver has it."""
    for pieces in ways(data, b"\5\0\0\0\0\4\0\0\0\0"):
        with Tape(pieces) as tape:
            link = Acceptor(tape, LIMITS)
            try:
                link.accept(link.wait())
                while (message := link.read_message(5)) is not None:
                    context, command = message
                    if command.has_data_set:
                        link.read_data(context, len)
                    link.send_command(context, dimse.response(command, 0))
            except (LinkLost, RemoteProtocolError):
                pass
            link.abort()
            assert link.machine.idle


def runs(data: bytes) -> None:
    """What follows an association request, in runs and in the ordinary way: the same comes of it."""
    half = len(data) // 2
    one, other = (converse([data[:half], data[half:]], runs=runs) for runs in (True, False))
    assert (one.answers, one.kept, one.counters) == (other.answers, other.kept, other.counters)


def data_sets(data: bytes) -> None:
    """A data set in each encoding: scanned, received, rewritten, edited, written anew."""
    headers(data)
    for flags in (0, 1):
        take(data, flags)
        rewrite(data, flags)
    for syntax in SYNTAXES[:3]:
        reason(layout, tight(data), syntax)
        edited = reason(apply_edits, data, syntax, EDITS)
        if not isinstance(edited, str):
            # What an edit wrote can be read, and the same edit then finds it done.
            again = apply_edits(edited.header, syntax, EDITS[:1])
            assert again.header == edited.header
        for target in SYNTAXES[:2]:
            reason(recode, data, encoding_of(syntax), encoding_of(target))


def take(data: bytes, flags: int) -> None:
    """One image for a run: what it takes is kept byte for byte, and told as the plain scan tells it."""
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as folder, ours, theirs:
        spool = open_spool(Path(folder), lambda arrival: None)
        lane = spool.lane(SOURCE, {3: (peer.CT, SYNTAXES[flags])})
        if lane is None:
            return
        ours.sendall(peer.store(data))
        ours.shutdown(socket.SHUT_WR)
        run = lane.take(_fast.Channel(theirs, max_receive=1 << 20, grace=1.0))
        arrivals = gather(spool.runs)
        lane.close()
        assert len(arrivals) == run.stored == len(list(Path(folder).rglob("*.dcm")))
        if run.unstored is not None:
            assert bytes(run.unstored.data_set) == data
        for arrival in arrivals:
            assert spool.path(arrival.id).read_bytes()[arrival.data_offset :] == data
            tree, size = header_tree(spool.reading.wanted), len(data)
            values, walked = _scan_py.collect(data, size, size, flags, tree, beyond=True, max_value=MAX_VALUE)
            told, plain = arrival.header, ScannedHeader(values, walked)
            assert all(getattr(told, name) == getattr(plain, name) for name in ScannedHeader.__slots__)


def rewrite(data: bytes, flags: int) -> None:
    """Both twins find the same places, and put the same bytes there."""
    found, other = (
        twin(tight(data), len(data), flags, PLACES) for twin in (_fast.locate, _rewrite_py.locate)
    )
    assert found == other, "the twins differ"
    if found is None:
        return
    changes = [(PLACES[3], b"SH", found.spans[3], b"ACC2"), (PLACES[5], b"LO", found.spans[5], None)]
    one, other = (
        twin(tight(data[: found.header_end]), found.header_end, flags, changes)
        for twin in (_fast.assemble, _rewrite_py.assemble)
    )
    assert one == other, "the twins differ"


def frames(data: bytes) -> None:
    """Encapsulated pixel data: every frame's fragments lie within it, in order, and not within each other."""
    try:
        where = layout(data, SYNTAXES[1])
        values = scan(data, SYNTAXES[1], frozenset([(0x00280008,)]), complete=True)
    except Permanent:
        return
    value = values.pixel_value
    if value is None or not values.encapsulated:
        return
    end = where.pixel_end + where.truncated
    pixel = Element(PIXEL_DATA, values.pixel_vr, where.header_end, value, end, True)
    said = values.text((0x00280008,))
    extended = table_of(data, where.header_end)
    for count in {1, 2, 3, int(said) if said.isdecimal() else 1}:
        spans = reason(frame_spans, data, pixel, count, extended)
        if isinstance(spans, str):
            continue
        assert len(spans) == count
        flat = [span for frame in spans for span in frame]
        assert all(value <= begin <= end <= len(data) for begin, end in flat)
        assert all(before[1] <= after[0] for before, after in pairwise(flat))


def table_of(data: bytes, end: int) -> bytes:
    """The value of the Extended Offset Table, as far as it is there."""
    at = data.find(struct.pack("<HH2s", 0x7FE0, 0x0001, b"OV"), 0, end)
    if at < 0:
        return b""
    (length,) = struct.unpack_from("<L", data.ljust(at + 12, b"\0"), at + 8)
    return data[at + 12 : at + 12 + length]


def files(data: bytes) -> None:
    """A file with File Meta Information: as `mapdr send` reads it, and as a start-up reads its own."""
    reason(filemeta.decode, io.BytesIO(data))
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        found = reason(part10.locate, Path(file.name))
    if not isinstance(found, str):
        assert 0 <= found.offset <= len(data)
        assert found.offset + found.length == len(data)


def journal(data: bytes) -> None:
    """A segment of the journal, as a disk gives it: records lie within it, one behind the other."""
    found = segments.read_records(data)
    for one, body in found:
        assert one.at - record.HEAD >= record.BLOCK
        assert one.at + one.offset + one.size <= len(data)
        assert one.digest == xxhash.xxh3_128_digest(body)
        assert data[one.at + one.offset :][: one.size] == body
    for (before, _), (after, _) in pairwise(found):
        assert before.end <= after.at - record.HEAD
        assert before.sequence < after.sequence
    record.read_checkpoint_block(data)


def reason(call: Callable[..., Any], *args: Any) -> Any:
    """The result, or what the refusal says."""
    try:
        return call(*args)
    except (Permanent, RemoteProtocolError) as error:
        return f"{type(error).__name__}: {error}"


def headers(data: bytes) -> None:
    """The header scan: every encoding, whole and by growing pieces; both twins say the same."""
    for syntax in SYNTAXES:
        whole = said(lambda syntax=syntax: scan(data, syntax, WANTED, complete=True))
        assert whole != "more", "a complete data set asked for more"
        available = min(len(data), 64)
        while True:
            part = data[:available]
            answer = said(
                lambda part=part, syntax=syntax: scan(part, syntax, WANTED, complete=False, size=len(data))
            )
            if answer != "more" or available == len(data):
                break
            available = min(len(data), available * 2)
    for flags in (0, 1, 2, 3):
        for beyond in (False, True):
            walk(data, flags, beyond)


def walk(data: bytes, flags: int, beyond: bool) -> None:
    tree = {0x00080018: {}, 0x00400275: {0x00400009: {}}}
    one, other = (
        said(
            lambda twin=twin: twin(
                tight(data), len(data), len(data), flags, tree, beyond=beyond, max_value=256
            )
        )
        for twin in (_fast.walk, _scan_py.walk)
    )
    assert one == other, "the twins differ"


def said(call: Callable[[], object]) -> object:
    """The result, "more", or the reason of a refusal."""
    try:
        return call()
    except NeedMore:
        return "more"
    except Unreadable as error:
        return error.reason


def pdu_seeds() -> list[bytes]:
    """One of each PDU."""
    results = (pdu.ContextResult(1, 0, peer.IMPLICIT), pdu.ContextResult(3, 3, peer.IMPLICIT))
    return [
        peer.request(),
        pdu.encode(pdu.AssociateAccept("A", "B", results)),
        pdu.encode(pdu.AssociateReject(1, 1, 1)),
        pdu.RELEASE_RQ_BYTES,
        pdu.RELEASE_RP_BYTES,
        pdu.encode(pdu.Abort(2, 1)),
        peer.p_data((1, 3, peer.command(0x0030))),
    ]


def command_seeds() -> list[bytes]:
    """Requests and responses."""
    return [peer.command(field, data_set=True) for field in (0x0001, 0x0030, 0x0020, 0x8001, 0x0FFF)] + [
        dimse.store_request(1, peer.CT, "1.2.3.4"),
        dimse.echo_request(7),
    ]


def association_seeds() -> list[bytes]:
    """Conversations, whole and in parts."""
    echo = peer.p_data((1, 3, dimse.echo_request(1)))
    return [
        peer.request() + echo + peer.store(b"data" * 100) + pdu.RELEASE_RQ_BYTES,
        peer.request() + peer.store(b"") + peer.p_data((3, 2, b"late")) + pdu.encode(pdu.Abort(0, 0)),
        peer.request() + peer.p_data((3, 3, dimse.store_request(1, peer.CT, "1.2.3"))),
        echo,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]


def run_seeds() -> list[bytes]:
    """Images one after the other, in one P-DATA and in many, with something else between them."""
    small, other = data_set("1.2.3.4"), data_set("1.2.3.5", pixels=600)
    pieces = [other[at : at + 90] for at in range(0, len(other), 90)]
    command = (3, 3, dimse.store_request(2, peer.CT, "1.2.3.5"))
    parts = [(3, 2 if piece is pieces[-1] else 0, piece) for piece in pieces]
    return [
        peer.store(small) * 2 + peer.p_data((1, 3, dimse.echo_request(1))) + pdu.RELEASE_RQ_BYTES,
        peer.store(small) + b"".join(map(peer.p_data, [command, *parts])) + pdu.RELEASE_RQ_BYTES,
        peer.p_data(command, *parts) + peer.store(small, 3) + pdu.RELEASE_RQ_BYTES,
    ]


def header_seeds() -> list[bytes]:
    """Small real data sets without their pixels, in three encodings."""
    seeds = []
    for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "nested_priv_SQ.dcm", "reportsi.dcm"):
        path = pydicom.data.get_testdata_file(name, download=False)
        if path is None:
            continue
        data_set = dcmread(Path(str(path)), stop_before_pixels=True)
        for implicit, little in ((True, True), (False, True), (False, False)):
            out = pydicom.filebase.DicomFileLike(io.BytesIO())
            out.is_implicit_VR, out.is_little_endian = implicit, little
            write_dataset(out, data_set)
            seeds.append(out.parent.getvalue()[:6000])  # type: ignore[attr-defined]
    deep = b""
    for _ in range(200):
        deep = (
            struct.pack("<HH2sHLHHL", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) + deep
        )
    return [*seeds, deep]


def file_seeds() -> list[bytes]:
    """A file of the spool, and small ones of pydicom's."""
    meta = filemeta.encode(SOURCE, peer.CT, "1.2.3.4", peer.EXPLICIT, revision="r", received_at=1.5)
    meta = meta[: -filemeta.SEAL_FROM_END] + filemeta.seal(bytes(16)) + meta[len(meta) - 2 :]
    return [meta + data_set("1.2.3.4"), *(structure.file_meta(Random(number)) for number in range(5))]


def drawn(draw: Callable[[Random], bytes]) -> Callable[[], list[bytes]]:
    """Seeds for mutations from a generator."""
    return lambda: [draw(Random(number)) for number in range(20)]


def association(chance: Random) -> bytes:
    """A peer's whole conversation."""
    request = peer.request() if chance.random() < 0.7 else structure.associate(chance)
    return request + structure.conversation(chance)


TARGETS = {
    "pdu": Target(pdus, pdu_seeds, structure.pdu),
    "command": Target(commands, command_seeds, structure.command_set),
    "association": Target(associations, association_seeds, association),
    "scan": Target(headers, header_seeds, structure.data_set),
    "runs": Target(runs, run_seeds, structure.conversation),
    "elements": Target(data_sets, drawn(structure.data_set), structure.data_set),
    "meta": Target(files, file_seeds, structure.file_meta),
    "answer": Target(store_answers, drawn(answers.draw), answers.draw),
    "multipart": Target(multiparts, drawn(bodies.draw), bodies.draw),
    "stow": Target(stow_bodies, drawn(stow_body), stow_body),
    "journal": Target(journal, drawn(segments.draw), segments.draw),
    "frames": Target(frames, drawn(structure.frames), structure.frames),
}
"""Name to what is fuzzed."""
