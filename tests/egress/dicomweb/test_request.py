"""STOW-RS request bodies: what another parser finds in them, and how images are put into requests."""

from __future__ import annotations

import email
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.test_part10 import payload
from mapdr.egress.dicomweb.request import StowRequest, batches
from mapdr.egress.part10 import file_meta
from mapdr.kernel.item import FileSlice, Payload, Proof


def parts_by_email(request: StowRequest, body: bytes) -> list[tuple[str, bytes]]:
    """Content type and body of each part, as the standard library's parser finds them."""
    message = email.message_from_bytes(f"Content-Type: {request.content_type}\r\n\r\n".encode() + body)
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/dicom"
    assert not message.defects
    parts = message.get_payload()
    assert isinstance(parts, list)
    return [(part["Content-Type"], part.get_payload(decode=True)) for part in parts]


LINES = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"\r\n--", b"x"]), max_size=20).map(b"".join)


@given(st.lists(st.binary(max_size=200) | LINES, min_size=1, max_size=5))
def test_each_image_is_a_part_with_its_transfer_syntax(data_sets: list[bytes]) -> None:
    payloads = [payload(data, f"1.2.{number}") for number, data in enumerate(data_sets, 1)]
    request = StowRequest(payloads)
    body = b"".join(request)
    assert len(body) == request.length
    assert parts_by_email(request, body) == [
        (
            f"application/dicom; transfer-syntax={each.transfer_syntax_uid}",
            file_meta(each) + data,
        )
        for each, data in zip(payloads, data_sets, strict=True)
    ]
    assert b"".join(request) == body  # as often as it is sent


def test_boundaries_differ_and_do_not_occur() -> None:
    made = {StowRequest([payload(b"x")]).content_type for _ in range(100)}
    assert len(made) == 100
    assert all(len(each.rpartition("=")[2]) == 32 for each in made)


def test_an_image_of_half_a_gigabyte_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = 1 << 29
    with path.open("wb") as out:
        out.truncate(size)
    large = Payload("1.2", "1.2.9", "1.2.4", (FileSlice(path, 0, size),), size)
    tracemalloc.start()
    try:
        request = StowRequest([large, payload(b"small")])
        assert sum(map(len, request)) == request.length > size
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_who_is_to_blame_is_known(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    gone = Payload("1.2", "1.2.9", "1.2.4", (FileSlice(path, 0, 5, Proof(path, 0, 5, b"")),), 5)
    request = StowRequest([payload(b"x" * 100_000), gone, payload(b"z", "1.2.5")])
    with pytest.raises(Exception, match="is gone"):
        list(request)
    assert request.reading is gone
    request = StowRequest([payload(b"x")])
    list(request)
    assert request.reading is None


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 100)), max_size=30),
    st.integers(1, 6),
    st.integers(1, 300),
)
def test_batches_hold_all_in_order_within_their_limits(
    images: list[tuple[int, int]], most: int, size: int
) -> None:
    payloads = [payload(bytes(length), f"1.2.{uid}") for uid, length in images]
    found = list(batches(payloads, images=most, size=size))
    assert [each for batch in found for each in batch] == payloads
    for batch in found:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(each.length for each in batch) <= size
        assert len({each.sop_instance_uid for each in batch}) == len(batch)
    for batch, after in pairwise(found):
        full = len(batch) == most or sum(each.length for each in batch) + after[0].length > size
        assert full or after[0].sop_instance_uid in {each.sop_instance_uid for each in batch}
