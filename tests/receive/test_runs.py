"""Runs against the ordinary way of the same bytes: the same answers, files and index, whatever is sent."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapdr import _fast
from mapdr import store as store_module
from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Arrival, Instance
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.dicom.receiver import STAGE, DimseReceiver
from mapdr.store import Selection, Store
from mapdr.store import writer as writer_module
from mapdr.store.spool.files import MOST_WAITING, Spool
from mapdr.store.spool.headers import INDEX_TAGS
from mapdr.store.spool.runs import gather
from mapdr.testing import peer
from mapdr.testing.peer import Line
from mapdr.testing.wait import until
from mapdr.wire import dimse, pdu
from mapdr.wire.link import Limits
from peers.certificates import Authority
from receive.conversation import CONTEXTS, Came, Tls, converse, open_spool, session_over
from store.world import CT, SOURCE, To, data_set, element

MR = "1.2.840.10008.5.1.4.1.1.4"
RUNS = _fast.BACKENDS["C-STORE runs in"] == "cython" and os.name == "posix"
needs_runs = pytest.mark.skipif(not RUNS, reason="no compiled runs here")


def both(pieces: list[bytes], **options: Any) -> Came:
    """What came of it with runs, which must be what came of it without."""
    one, other = converse(pieces, runs=True, **options), converse(pieces, runs=False, **options)
    assert one.answers == other.answers
    assert one.kept == other.kept
    assert one.counters == other.counters
    return one


def message(
    data: bytes,
    uid: str = "1.2.3.4",
    *,
    number: int = 1,
    context: int = 3,
    cuts: tuple[int, ...] = (),
    together: bool = False,
    sop_class: str = CT,
    originator: tuple[str, int] | None = None,
) -> bytes:
    """A C-STORE-RQ whose data set is cut into PDVs at `cuts`; `together`: all of them in one P-DATA."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pdvs = [(context, 0, data[at:end]) for at, end in pairwise(places)]
    pdvs[-1] = (context, 2, pdvs[-1][2])
    command = (context, 3, dimse.store_request(number, sop_class, uid, originator))
    if together:
        return peer.p_data(command, *pdvs)
    return b"".join(map(peer.p_data, (command, *pdvs)))


def echo() -> bytes:
    """A C-ECHO-RQ."""
    return peer.p_data((1, 3, dimse.echo_request(7)))


@needs_runs
def test_what_is_whole_and_regular_is_taken_in_runs() -> None:
    stream = b"".join(
        message(data_set(f"1.2.{n}", pixels=200 * n), f"1.2.{n}", number=n, cuts=tuple(range(50, 900, 77)))
        for n in range(40)
    )
    came = both([stream + pdu.RELEASE_RQ_BYTES])
    assert came.in_runs == 40
    assert came.answers.endswith(pdu.RELEASE_RP_BYTES)
    assert came.counters["receive.modalities.stored"] == 40


@needs_runs
def test_a_ct_slice_and_a_colour_ultrasound_image_are_taken_in_runs() -> None:
    whole = [data_set("1.2.1", pixels=2 * 512 * 512), data_set("1.2.2", pixels=3 * 640 * 480)]
    steps = tuple(range(16_000, 1_000_000, 16_000))
    stream = b"".join(message(data, f"1.2.{n}", cuts=steps) for n, data in enumerate(whole, 1))
    assert both([stream]).in_runs == 2


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    pair = authority.sign("mapdr")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert, pair.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(authority.path)
    return server, client


@needs_runs
@pytest.mark.parametrize("step", [0, 10, 1000, 70_000])
def test_over_tls_runs_take_what_is_decrypted(tls: Tls, step: int) -> None:
    sizes = [200, 600_000, 900, 30_000, 3_000_000, 100]  # the fifth is too long for a run
    steps = tuple(range(16_000, 3_000_000, 16_000))
    stream = b"".join(
        message(data_set(f"1.2.{n}", pixels=size), f"1.2.{n}", number=n, cuts=steps, together=n == 3)
        for n, size in enumerate(sizes, 1)
    )
    spoiled = message(SPOILED["zeros behind it"](data_set("1.2.9")), "1.2.9")
    whole = stream + echo() + spoiled + pdu.RELEASE_RQ_BYTES
    pieces = [whole[at : at + step] for at in range(0, len(whole), step)] if step > 10 else [whole]
    if step == 10:
        pieces = [whole[at : at + step] for at in range(0, 3000, step)] + [whole[3000:]]
    one, other = converse(pieces, runs=True, tls=tls), converse([whole], runs=False)
    assert one.answers == other.answers
    assert one.kept == other.kept
    assert one.counters == other.counters
    assert one.in_runs == 5


def test_what_brings_no_image_is_answered_at_once_over_tls(tls: Tls, tmp_path: Path) -> None:
    spool = open_spool(tmp_path, lambda arrival: None)
    ours, theirs = socket.socketpair()
    session = session_over(theirs, spool, Watch(), Limits(linger=0), tls[0])
    receiver = threading.Thread(target=session.run)
    receiver.start()
    with Line(tls[1].wrap_socket(ours, server_hostname="127.0.0.1")) as line:
        line.send(peer.request(contexts=CONTEXTS))
        line.read_pdu()
        began = time.monotonic()
        for _ in range(20):
            line.send(echo())
            line.read_pdu()
        took = time.monotonic() - began
    receiver.join(10)
    assert took < 4, "each has waited a quarter of a second for a data set to follow"


def test_what_does_not_fit_goes_the_ordinary_way_between_runs() -> None:
    large = message(data_set("1.2.2", pixels=3_000_000), "1.2.2", cuts=tuple(range(0, 3_000_000, 100_000)))
    small = message(data_set("1.2.1"), "1.2.1") + large + message(data_set("1.2.3"), "1.2.3")
    assert len(both([small]).kept) == 3


def test_tags_behind_long_pixel_data_are_read_as_in_the_ordinary_way() -> None:
    trailing = element(0xFFFA0010, b"LO", b"AB")
    stream = message(data_set("1.2.1", pixels=100_000) + trailing, "1.2.1")
    both([stream + message(data_set("1.2.2") + trailing, "1.2.2")], more={(0xFFFA0010,)})


def test_more_tags_than_a_run_can_look_for() -> None:
    many = {(0x00210010 + number,) for number in range(300)}
    assert len(both([message(data_set("1.2.3.4"))], more=many).kept) == 1


@needs_runs
def test_two_versions_reach_the_index_in_the_order_of_their_answers() -> None:
    regular = message(data_set("1.2.3.4", name="OLD"))
    odd = data_set("1.2.3.4", name="NEW") + bytes(64)
    came = converse([(regular + message(odd)) * 20], runs=True)
    assert came.in_runs == 20
    assert [kept[-3][0x00100010,] for kept in came.kept] == [("OLD",), ("NEW",)] * 20


SPOILED = {
    "another UID than the command's": lambda data: data.replace(b"1.2.3.4\0", b"1.2.3.5\0"),
    "no UID": lambda data: data.replace(b"1.2.3.4\0", b"no UID! "),
    "another SOP class": lambda data: data.replace(b"5.1.4.1.1.2\0", b"5.1.4.1.1.4\0"),
    "cut short": lambda data: data[:-3],
    "cut within a header": lambda data: data[:30],
    "nothing": lambda data: b"",
    "no data set": lambda data: b"GET / HTTP/1.1\r\n\r\n" * 20,
    "tags out of order": lambda data: data + element(0x00080005, b"CS", b"ISO_IR 100"),
    "the UID twice": lambda data: element(0x00080018, b"UI", b"1.2.3.4") + data,
    "an unknown VR": lambda data: data.replace(b"\x60\x00CS", b"\x60\x00XY"),
    "zeros behind it": lambda data: data + bytes(64),
    "file meta within it": lambda data: element(0x00020010, b"UI", b"1.2.840.10008.1.2.1") + data,
    "a long value": lambda data: (
        data[:-76] + b"\x10\x00\x10\x40UT\0\0" + struct.pack("<L", 90_000) + bytes(90_000)
    ),
    "a character set": lambda data: element(0x00080005, b"CS", b"ISO_IR 100") + data.replace(b"A ", b"\xc4 "),
    "a padded UID": lambda data: data.replace(b"1.2.3.4\0", b"1.2.3.4 "),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_data_set_that_is_odd_is_handed_over(spoil: str) -> None:
    odd = SPOILED[spoil](data_set("1.2.3.4"))
    stream = message(data_set("1.2.1"), "1.2.1", number=1) + message(odd, number=2, cuts=(10, 90))
    both([stream + message(data_set("1.2.5"), "1.2.5", number=3) + pdu.RELEASE_RQ_BYTES])


def test_sequences_that_a_rule_reads_are_handed_over() -> None:
    inner = element(0x00400009, b"SH", b"STEP1")
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    sequence = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, len(item)) + item
    whole = data_set("1.2.3.4")
    came = both([message(whole[:-76] + sequence + whole[-76:]) + message(whole)], nested=True)
    assert [len(kept[-3]) for kept in came.kept] == [len(came.kept[1][-3]) + 1, len(came.kept[1][-3])]


VERIFIED = element(0x00080016, b"UI", peer.VERIFICATION.encode())

ODD_MESSAGES = {
    "echo between": peer.p_data((1, 3, dimse.echo_request(7))),
    "a context that was not accepted": message(data_set("1.2.3.4"), context=11),
    "another context for the data set": peer.p_data((3, 3, dimse.store_request(1, CT, "1.2.3.4")))
    + peer.p_data((5, 2, data_set("1.2.3.4"))),
    "a command set within the data set": peer.p_data((3, 3, dimse.store_request(1, CT, "1.2.3.4")))
    + peer.p_data((3, 0, b"ab"))
    + peer.p_data((3, 3, dimse.echo_request(1))),
    "a command set in two PDVs": peer.p_data((3, 1, dimse.store_request(1, CT, "1.2.3.4")[:40]))
    + peer.p_data((3, 3, dimse.store_request(1, CT, "1.2.3.4")[40:]))
    + peer.p_data((3, 2, data_set("1.2.3.4"))),
    "all in one P-DATA": message(data_set("1.2.3.4"), cuts=(5, 50), together=True),
    "two messages in one P-DATA": peer.p_data(
        (3, 3, dimse.store_request(1, CT, "1.2.3.4")),
        (3, 2, data_set("1.2.3.4")),
        (3, 3, dimse.store_request(2, CT, "1.2.3.4")),
        (3, 2, data_set("1.2.3.4")),
    ),
    "from a C-MOVE": message(data_set("1.2.3.4"), originator=("MOVER", 5)),
    "without a data set": peer.p_data((3, 3, peer.command(1))),
    "a UID that is none": message(data_set("1.2.3.4"), "1.2.x"),
    "a UID of 64 characters": message(data_set("1." + "2" * 62), "1." + "2" * 62),
    "a UID of 65 characters": message(data_set("1." + "2" * 63), "1." + "2" * 63),
    "another SOP class than the context's": message(
        data_set("1.2.3.4"), sop_class="1.2.840.10008.5.1.4.1.1.4"
    ),
    "for Verification": message(data_set("1.2.3.4"), context=1),
    "for Verification, and says so": message(
        data_set("1.2.3.4").replace(element(0x00080016, b"UI", CT.encode()), VERIFIED),
        context=1,
        sop_class=peer.VERIFICATION,
    ),
    "implicit by its context": message(data_set("1.2.3.4"), context=5),
    "deflated by its context": message(data_set("1.2.3.4"), context=7),
    "a P-DATA that is too long": struct.pack(">BxL", 4, 1 << 24) + bytes(100),
    "a PDV longer than its P-DATA": struct.pack(">BxLLBB", 4, 20, 40, 3, 3) + bytes(14),
    "a PDV of one byte": struct.pack(">BxLLBB", 4, 6, 1, 3, 3),
    "an abort": pdu.encode(pdu.Abort(0, 0)),
    "an association request": peer.request(),
    "1000 PDVs without a byte": message(data_set("1.2.3.4"), cuts=(0,) * 1000),
    "1001 PDVs without a byte": message(data_set("1.2.3.4"), cuts=(0,) * 1001),
    "no DICOM": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("odd", ODD_MESSAGES)
def test_a_message_that_is_odd_is_left_to_the_ordinary_way(odd: str) -> None:
    before, after = message(data_set("1.2.1"), "1.2.1"), message(data_set("1.2.2"), "1.2.2", number=2)
    both([before + ODD_MESSAGES[odd] + after + pdu.RELEASE_RQ_BYTES])


@pytest.mark.parametrize("syntax", ["implicit", "jpeg2000"])
def test_real_images_in_other_transfer_syntaxes(syntax: str) -> None:
    path = pydicom.data.get_testdata_file("MR_small_implicit.dcm" if syntax == "implicit" else "JPEG2000.dcm")
    image = pydicom.dcmread(str(path))
    with open(str(path), "rb") as file:
        content = file.read()
    start = 144 + int.from_bytes(content[140:144], "little")
    context = 5 if syntax == "implicit" else 9
    sop_class = {each.id: each.abstract_syntax for each in CONTEXTS}[context]
    both(
        [
            message(
                content[start:], image.SOPInstanceUID, context=context, sop_class=sop_class, cuts=(900, 901)
            )
        ]
    )


UNDEFINED = b"\xff\xff\xff\xff"
NO_ITEMS = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("tag", [0x00080016, 0x00080018])
@pytest.mark.parametrize("context", [3, 5])
def test_a_uid_of_undefined_length_is_no_uid(tag: int, context: int) -> None:
    """Bytes that ended the router: it looked for the end of a UID of 4 GiB."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + (b"UN\0\0" if context == 3 else b"")
    came = both(
        [
            message(head + UNDEFINED + NO_ITEMS, context=context),
            message(data_set("1.2.5"), "1.2.5", number=2),
            pdu.RELEASE_RQ_BYTES,
        ]
    )
    assert came.kept[-1][1] == "1.2.5"


def hostile_lengths(left: int) -> list[int]:
    """Lengths that a value of `left` bytes may be given by a peer that means harm, or is broken."""
    return [0, 1, left, left + 1, left + 2, 0x7FFFFFFF, 0xFFFF, 0xFFFE, 0xFFFFFFFE, 0xFFFFFFFF]


@st.composite
def hostile_data_sets(draw: st.DrawFn, explicit: bool) -> bytes:
    """Elements that a run looks at, some of which say a length that is not theirs."""
    out = b""
    for tag in sorted(draw(st.sets(st.sampled_from([0x00080000, 0x00080005, *LOOKED_AT]), max_size=8))):
        value = VALUES.get(tag) or draw(st.sampled_from([b"", b"1.2.3 ", bytes(4), NO_ITEMS]))
        right = st.just(len(value))
        length = draw(st.one_of(right, right, right, st.sampled_from(hostile_lengths(len(value)))))
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if not explicit:
            out += head + struct.pack("<L", length)
        elif vr := draw(st.sampled_from([b"UI", b"LO", b""])):
            out += head + vr + struct.pack("<H", length & 0xFFFF)
        else:
            out += head + draw(st.sampled_from([b"UN", b"SQ", b"OB"])) + b"\0\0" + struct.pack("<L", length)
        out += value + (NO_ITEMS if draw(st.booleans()) else b"")
    return out


VALUES = {0x00080016: CT.encode() + b"\0", 0x00080018: b"1.2.3.4\0"}
LOOKED_AT = (*VALUES, *(path[0] for path in INDEX_TAGS), 0x00100010, 0x00400275, 0x7FE00010, 0xFFFAFFFA)


@given(st.data(), st.booleans())
@settings(max_examples=150)
def test_any_length_of_any_element_that_a_run_looks_at(data: st.DataObject, explicit: bool) -> None:
    sets = data.draw(st.lists(hostile_data_sets(explicit), min_size=1, max_size=8))
    both([b"".join(message(each, context=3 if explicit else 5) for each in sets) + pdu.RELEASE_RQ_BYTES])


messages = st.one_of(
    st.builds(
        lambda uid, pixels, cuts, number, together, spoil: message(
            SPOILED[spoil](data_set(uid, pixels=pixels)) if spoil else data_set(uid, pixels=pixels),
            uid,
            number=number,
            cuts=tuple(cuts),
            together=together,
        ),
        st.from_regex(r"1\.[1-9][0-9]{0,9}(\.[1-9][0-9]{0,5})?", fullmatch=True),
        st.integers(0, 2000).map(lambda n: 2 * n),
        st.lists(st.integers(0, 4000), max_size=6),
        st.integers(0, 65535),
        st.booleans(),
        st.one_of(st.none(), st.sampled_from(sorted(SPOILED))),
    ),
    st.sampled_from(sorted(ODD_MESSAGES)).map(ODD_MESSAGES.__getitem__),
)


@given(st.lists(messages, min_size=1, max_size=6), st.lists(st.integers(0, 20_000), max_size=5))
@settings(max_examples=60)
def test_any_conversation_in_any_pieces(said: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(said) + pdu.RELEASE_RQ_BYTES
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    both([stream[at:end] for at, end in pairwise(places)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path, "node", durability="power-loss")
    opened.use("rev1", To("pacs"), {"r0": {"steps": []}})
    opened.start()
    yield opened
    opened.close()


@contextlib.contextmanager
def receiving(store: Store, watch: Watch, folder: Path, **limits: float) -> Iterator[DimseReceiver]:
    """A receiver over a real store."""
    config = STAGE.config.model_validate({"host": "127.0.0.1", "port": 0, **limits})
    built = STAGE.build(Settings("modalities", "node", folder, bytes(32), watch), config, store.spool)
    built.start()
    yield built
    built.stop(time.monotonic() + 2)


@pytest.fixture
def receiver(store: Store, watch: Watch, tmp_path: Path) -> Iterator[DimseReceiver]:
    """One whose patience outlasts a busy machine."""
    with receiving(store, watch, tmp_path, pdu_timeout=60, idle_timeout=60) as built:
        yield built


@pytest.fixture
def impatient(store: Store, watch: Watch, tmp_path: Path) -> Iterator[DimseReceiver]:
    """One that soon gives up on a message that stops."""
    with receiving(store, watch, tmp_path, pdu_timeout=1, idle_timeout=5) as built:
        yield built


def push(line: Line, uid: str) -> int:
    """Send one image; the receiver's status."""
    line.send(message(data_set(uid), uid))
    return line.response().status


def rows(store: Store) -> dict[str, Instance]:
    return {
        row.sop_instance_uid: store.instances.get(row.instance) for row in store.listing.select(Selection())
    }


def test_what_was_answered_is_in_the_index_soon(receiver: DimseReceiver, store: Store) -> None:
    with Line.associated(receiver.port) as line:
        for number in range(5):
            assert push(line, f"1.2.{number}") == 0
        until(lambda: len(rows(store)) == 5, 5)  # while the association stays open
        for uid, instance in rows(store).items():
            assert instance.path.read_bytes()[instance.data_offset :] == data_set(uid)
            assert (instance.study_instance_uid, instance.modality) == ("1.2.3", "CT")


@needs_runs
def test_who_hears_of_a_lane_finds_it_in_use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bool] = []
    assert store.spool._on_lane == store.writer.wake
    monkeypatch.setattr(store.spool, "_on_lane", lambda: heard.append(store.spool.runs.in_use))
    lane = store.spool.lane(SOURCE, {3: (CT, peer.EXPLICIT)})
    assert lane is not None
    assert heard == [True], "the writer would go on sleeping"
    store.use("rev2", To("pacs"), {"r0": {"steps": []}})
    assert store.spool.runs.in_use
    lane.close()
    assert not store.spool.runs.in_use


@needs_runs
def test_after_a_flush_that_failed_before_a_run_nothing_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ordinary way would ask for another flush of the hour's folder, and believe it."""
    spool = Spool(tmp_path, "node", submit=lambda arrival: None)
    lane = spool.lane(SOURCE, {3: (CT, peer.EXPLICIT)})
    assert lane is not None
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = _fast.Channel(theirs, max_receive=4096, grace=1.0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", _no_flush)
            assert lane.take(channel).stored == 0
    lane.close()
    with pytest.raises(Refused, match="a flush to the disk failed"):
        spool.begin(SOURCE, CT, "1.2.3", peer.EXPLICIT)


def _no_flush(file: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_silence_between_messages_ends_nothing(receiver: DimseReceiver, watch: Watch) -> None:
    with Line.associated(receiver.port) as line:
        for number in range(3):
            assert push(line, f"1.2.{number}") == 0
            line.sock.settimeout(0.4)  # longer than a run looks at an idle connection
            with pytest.raises(TimeoutError):
                line.read(1)
            line.sock.settimeout(10)
        line.send(pdu.RELEASE_RQ_BYTES)
        assert line.decoded() == pdu.ReleaseReply()
    until(lambda: receiver.associations == 0, 5)
    assert watch.counters()["receive.modalities.stored"] == 3


@pytest.mark.parametrize("part", [4, 40, 700])
def test_a_message_that_stops_is_closed_in_bounded_time(
    impatient: DimseReceiver, store: Store, part: int
) -> None:
    with Line.associated(impatient.port) as line:
        assert push(line, "1.2.1") == 0
        line.send(message(data_set("1.2.2", pixels=900), "1.2.2")[:part])
        line.sock.settimeout(8)
        line.closed()
    until(lambda: len(rows(store)) == 1, 5)


def test_a_byte_now_and_then_is_closed_in_bounded_time(impatient: DimseReceiver) -> None:
    with Line.associated(impatient.port) as line:
        assert push(line, "1.2.1") == 0
        began = time.monotonic()
        line.trickle(message(data_set("1.2.2", pixels=9000), "1.2.2")[:200], pause=0.1)
        line.closed()
        assert time.monotonic() - began < 10


@needs_runs
def test_a_peer_that_does_not_read_its_answers_is_closed(tmp_path: Path, watch: Watch) -> None:
    arrivals: list[Arrival] = []
    spool = open_spool(tmp_path, arrivals.append)
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    session = session_over(theirs, spool, watch, Limits(linger=0, pdu_timeout=0.3))
    thread = threading.Thread(target=session.run)
    thread.start()
    ours.settimeout(10)
    with contextlib.suppress(OSError):
        ours.sendall(peer.request())
        for number in range(1000):
            ours.sendall(message(data_set(f"1.2.{number}"), f"1.2.{number}"))
    thread.join(10)
    ours.close()
    assert not thread.is_alive()
    assert watch.counters()["receive.modalities.lost"] == 1
    taken = gather(spool.runs)
    assert 0 < len(taken) < 1000
    assert len(list(tmp_path.rglob("*.dcm"))) == len(taken) + len(arrivals)


def test_a_new_configuration_holds_from_the_next_message_on(receiver: DimseReceiver, store: Store) -> None:
    with Line.associated(receiver.port) as line:
        for number, revision in enumerate(("rev1", "rev2", "rev3")):
            store.use(revision, To(f"to {revision}"), {"r0": {"steps": []}})
            for each in range(20):
                assert push(line, f"1.{number + 1}.{each}") == 0
        until(lambda: len(rows(store)) == 60, 5)
    sent = {row.sop_instance_uid: row.destination for row in store.listing.select(Selection())}
    assert all(to == f"to rev{uid.split('.')[1]}" for uid, to in sent.items())


@needs_runs
def test_success_waits_while_the_index_is_far_behind(
    receiver: DimseReceiver, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, answered = MOST_WAITING + 300, 0
    monkeypatch.setattr(writer_module, "gather", lambda runs: [])
    stream = b"".join(message(data_set(f"1.2.{n}"), f"1.2.{n}") for n in range(images))
    with Line.associated(receiver.port) as line:
        thread = threading.Thread(target=line.send, args=(stream,))
        thread.start()
        line.sock.settimeout(1)
        # A second of silence is the end only when so many wait: a slow build is silent now and then.
        deadline = time.monotonic() + 120
        while answered < images and time.monotonic() < deadline:
            try:
                assert line.response().status == 0
                answered += 1
            except TimeoutError:
                if store.spool.runs.waiting == MOST_WAITING:
                    break
        # Now and then a message goes the ordinary way, between two runs; those are written.
        assert store.spool.runs.waiting == MOST_WAITING <= answered < images
        line.sock.settimeout(60)  # the writer takes thousands at once before the next is answered
        monkeypatch.undo()
        while answered < images:
            assert line.response().status == 0
            answered += 1
        thread.join()
    until(lambda: len(rows(store)) == images, 20)


@needs_runs
@pytest.mark.parametrize("end", ["interrupt", "the peer closes", "the peer stays"])
def test_an_index_that_stands_still_holds_no_association_for_ever(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(writer_module, "gather", lambda runs: [])
    monkeypatch.setattr(writer_module, "PATIENCE", 0.5)
    monkeypatch.setattr(store_module, "MOST_WAITING", 3)
    store = Store.open(tmp_path, "node", durability="process-crash")
    store.use("rev1", To("pacs"), {"r0": {"steps": []}})
    store.start()
    ours, theirs = socket.socketpair()
    session = session_over(theirs, store.spool, watch, Limits(linger=0))
    thread = threading.Thread(target=session.run)
    thread.start()
    line = Line(ours)
    line.send(peer.request() + b"".join(message(data_set(f"1.2.{n}"), f"1.2.{n}") for n in range(5)))
    line.read_pdu()
    assert [line.response().status for _ in range(3)] == [0, 0, 0]
    if end == "interrupt":
        session.interrupt()
    elif end == "the peer closes":
        line.close()
    else:
        assert [line.response().status for _ in range(2)] == [0xA700, 0xA700]
        line.send(pdu.RELEASE_RQ_BYTES)
    thread.join(5)
    assert not thread.is_alive()
    assert store.spool.runs.waiting == 3
    assert len(list(tmp_path.rglob("*.dcm"))) == 3, "what was not answered Success is not kept"
    line.close()
    monkeypatch.undo()
    store.close()


def taken_in_runs(folder: Path, limit: int, images: int) -> Spool:
    """A spool of which nobody drains the runs, after as many images as it takes."""
    spool = open_spool(folder, lambda arrival: None, runs=_fast.RunQueue(limit))
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=session_over(theirs, spool, Watch(), Limits(linger=0)).run)
    thread.start()
    line = Line(ours)
    line.send(peer.request() + b"".join(message(data_set(f"1.2.{n}"), f"1.2.{n}") for n in range(images)))
    line.send(pdu.RELEASE_RQ_BYTES)
    line.closed()
    thread.join(10)
    return spool


@needs_runs
def test_what_was_drained_counts_until_it_is_written(tmp_path: Path) -> None:
    runs = taken_in_runs(tmp_path, limit=5, images=8).runs
    assert runs.waiting == 5
    assert [runs.admit(), runs.backlog] == [False, 0]
    assert len(runs.drain()) == 5
    assert [runs.waiting, runs.backlog, runs.admit()] == [0, 5, False]
    runs.backlog = 3
    assert [runs.admit(), runs.admit(), runs.admit(), runs.backlog] == [True, True, False, 5]


@needs_runs
def test_an_image_that_cannot_be_told_of_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = importlib.import_module("mapdr._fast._receive_run")
    taken = module.StoredObject
    spool = taken_in_runs(tmp_path, limit=10, images=6)
    files = sorted(path.stem for path in tmp_path.rglob("*.dcm"))

    def told(id_: str, *facts: Any) -> Any:
        if id_ == files[1]:
            raise MemoryError
        return taken(id_, *facts)

    monkeypatch.setattr(module, "StoredObject", told)
    assert [arrival.id for arrival in gather(spool.runs)] == [files[0], *files[2:]]
    assert f"{files[1]}: set aside" in caplog.text
    assert not spool.runs.in_use


def test_a_store_that_takes_no_more_refuses(receiver: DimseReceiver, store: Store) -> None:
    with Line.associated(receiver.port) as line:
        assert push(line, "1.2.1") == 0
        store.writer.stop(time.monotonic() + 5)
        assert push(line, "1.2.2") == 0xA700
        assert push(line, "1.2.3") == 0xA700
    assert list(rows(store)) == ["1.2.1"]
    assert len(list(store.spool.folder.rglob("*.dcm"))) == 1


@pytest.mark.parametrize(
    "how",
    [
        "removed",
        "moved",
        pytest.param(
            "with all above it",
            marks=pytest.mark.skipif(os.name == "nt", reason="the claim in it is open, and stays there"),
        ),
    ],
)
def test_a_folder_that_is_gone_is_made_again(receiver: DimseReceiver, store: Store, how: str) -> None:
    with Line.associated(receiver.port) as line:
        assert push(line, "1.2.1") == 0
        until(lambda: len(rows(store)) == 1)
        (hour,) = store.spool.folder.glob("2*")
        if how == "moved":
            hour.rename(store.data / "elsewhere")
        else:
            shutil.rmtree(hour if how == "removed" else store.spool.folder)
        numbers = iter(range(2, 100))

        def stands() -> bool:
            # A run that has begun may still put one image into a folder that was moved away: it has it open.
            uid = f"1.2.{next(numbers)}"
            assert push(line, uid) == 0
            until(lambda: uid in rows(store))
            return rows(store)[uid].path.exists()

        until(stands, 5)
        assert stands(), "and from then on"


def test_a_full_disk_is_told(receiver: DimseReceiver, store: Store) -> None:
    with Line.associated(receiver.port) as line:
        assert push(line, "1.2.1") == 0
        store.spool.keep_free(1 << 62)
        until(lambda: push(line, "1.2.2") == 0xA700, 5)  # the room is measured twice a second
        store.spool.keep_free(0)
        assert push(line, "1.2.3") == 0


def test_many_associations_at_once(receiver: DimseReceiver, store: Store) -> None:
    def one(peer_number: int) -> None:
        with Line.associated(receiver.port) as line:
            for number in range(50):
                assert push(line, f"1.{peer_number}.{number}") == 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1, 9)))
    until(lambda: len(rows(store)) == 400, 10)
    ids = [row.instance for row in store.listing.select(Selection())]
    assert len(set(ids)) == 400


def test_a_stop_ends_a_busy_association_between_messages(receiver: DimseReceiver, store: Store) -> None:
    answered = 0
    with Line.associated(receiver.port) as line:
        assert push(line, "1.2.0") == 0
        stopper = threading.Thread(target=receiver.stop, args=(time.monotonic() + 5,))
        with contextlib.suppress(OSError, EOFError, AssertionError):
            for number in range(1, 100_000):
                if number == 20:
                    stopper.start()
                assert push(line, f"1.2.{number}") == 0
                answered = number
        stopper.join(10)
    until(lambda: len(rows(store)) > answered, 10)
    assert len(rows(store)) <= answered + 2
