"""Command sets: pynetdicom and pydicom as the independent reader and writer."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from mapdr.kernel.errors import RemoteProtocolError
from mapdr.wire import dimse

CT = "1.2.840.10008.5.1.4.1.1.2"
numbers = st.lists(st.integers(0, 99_999_999), min_size=1, max_size=6)
uids = numbers.map(lambda parts: ".".join(map(str, parts)))


def read(data: bytes) -> Dataset:
    return read_dataset(BytesIO(data), is_implicit_VR=True, is_little_endian=True)


def write(**elements: object) -> bytes:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    target = DicomBytesIO()
    target.is_implicit_VR = target.is_little_endian = True
    write_dataset(target, dataset)
    return target.getvalue()


@given(uids, uids, st.integers(1, 0xFFFF), st.none() | st.tuples(st.just("MOVER"), st.integers(0, 0xFFFF)))
def test_store_request_is_what_pydicom_reads(
    sop_class: str, instance: str, message_id: int, originator: tuple[str, int] | None
) -> None:
    data = dimse.store_request(message_id, sop_class, instance, originator)
    dataset = read(data)
    assert dataset.CommandGroupLength == len(data) - 12
    assert dataset.AffectedSOPClassUID == sop_class
    assert dataset.AffectedSOPInstanceUID == instance
    assert dataset.CommandField == 1
    assert dataset.MessageID == message_id
    assert dataset.Priority == 0
    assert dataset.CommandDataSetType != 0x0101
    assert list(dataset.keys()) == sorted(dataset.keys())
    if originator:
        assert dataset.MoveOriginatorApplicationEntityTitle == originator[0]
        assert dataset.MoveOriginatorMessageID == originator[1]
    command = dimse.parse(data)
    assert (command.field, command.message_id, command.has_data_set) == (1, message_id, True)
    assert (command.sop_class_uid, command.sop_instance_uid) == (sop_class, instance)


@given(uids, uids, st.integers(0, 0xFFFF), st.sampled_from([0, 0xA700, 0x0110, 0xC001]), st.text(max_size=80))
def test_response_is_what_pydicom_reads(
    sop_class: str, instance: str, message_id: int, status: int, comment: str
) -> None:
    request = dimse.parse(dimse.store_request(message_id, sop_class, instance))
    data = dimse.response(request, status, comment)
    dataset = read(data)
    assert dataset.CommandGroupLength == len(data) - 12
    assert dataset.CommandField == 0x8001
    assert dataset.MessageIDBeingRespondedTo == message_id
    assert dataset.CommandDataSetType == 0x0101
    assert dataset.Status == status
    assert dataset.AffectedSOPClassUID == sop_class
    assert dataset.AffectedSOPInstanceUID == instance
    assert ("ErrorComment" in dataset) == bool(comment)
    assert list(dataset.keys()) == sorted(dataset.keys())
    answer = dimse.parse(data)
    assert (answer.field, answer.message_id, answer.status) == (dimse.C_STORE_RSP, message_id, status)


def test_a_request_of_pydicom_is_read() -> None:
    data = write(
        AffectedSOPClassUID=CT,
        CommandField=1,
        MessageID=7,
        Priority=2,
        CommandDataSetType=1,
        AffectedSOPInstanceUID="1.2.3",
    )
    command = dimse.parse(data)
    assert (command.message_id, command.sop_class_uid, command.sop_instance_uid) == (7, CT, "1.2.3")


def test_order_and_group_length_are_not_held_against_a_peer() -> None:
    elements = [
        struct.pack("<HHLH", 0, dimse.DATA_SET_TYPE, 2, 1),
        struct.pack("<HHLH", 0, dimse.MESSAGE_ID, 2, 9),
        struct.pack("<HHLH", 0, dimse.COMMAND_FIELD, 2, 1),
        struct.pack("<HHLL", 0, 0, 4, 12345),
    ]
    assert dimse.parse(b"".join(elements)).message_id == 9


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\1", "inside an element's header"),
        (struct.pack("<HHLH", 8, 5, 2, 1), "outside of group 0000"),
        (struct.pack("<HHL", 0, 0x100, 0xFFFFFFFF), "longer than the set"),
        (b"", r"lacks \(0000,0100\)"),
        (struct.pack("<HHLL", 0, 0x100, 4, 1), r"lacks \(0000,0100\)"),
        (struct.pack("<HHLH", 0, 0x100, 2, 1), r"lacks \(0000,0110\)"),
        (struct.pack("<HHLH", 0, 0x100, 2, 0x8001), r"lacks \(0000,0120\)"),
    ],
)
def test_wrong_command_sets_are_named(data: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        dimse.parse(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_the_peers_fault(data: bytes) -> None:
    try:
        dimse.parse(data)
    except RemoteProtocolError:
        return


@given(st.data())
def test_a_damaged_command_is_a_command_or_the_peers_fault(data: st.DataObject) -> None:
    whole = bytearray(dimse.store_request(1, CT, "1.2.3"))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        command = dimse.parse(bytes(whole[:cut]))
        _ = command.sop_class_uid, command.sop_instance_uid
        dimse.response(command, 0)
    except RemoteProtocolError:
        return


def test_templates_do_not_keep_what_a_peer_makes_up() -> None:
    before = dimse._response_template.cache_info().currsize
    long = dimse.Command(0x20, 1, False, b"1" * 60000, b"2" * 60000)
    assert len(dimse.response(long, 0x0122)) > 120000
    assert dimse._response_template.cache_info().currsize == before


@pytest.mark.parametrize("value", [b"", b"\0", b"1.2\n3", b"1" * 65, "1.٣".encode(), b"../../etc"])
def test_what_is_not_a_uid_is_refused(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        dimse.uid_text(value)
