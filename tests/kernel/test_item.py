"""The nouns: payloads are read in order, in bounded pieces; routings say what became of an image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Payload, Routing, total_length
from mapdr.kernel.proof import Proof


def payload(*parts):
    return Payload("1.2", "1.2.3", "1.2.840.10008.1.2", parts, total_length(parts))


@given(
    st.lists(st.binary(max_size=40) | st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=6),
    st.integers(1, 30),
)
def test_a_payload_is_its_parts_in_order(tmp_path_factory, specs, size):
    content = bytes(range(100))
    path = tmp_path_factory.getbasetemp() / "spooled"
    path.write_bytes(content)
    parts = [each if isinstance(each, bytes) else FileSlice(path, *each) for each in specs]
    expected = b"".join(
        each if isinstance(each, bytes) else content[each[0] : each[0] + each[1]] for each in specs
    )
    made = payload(*parts)
    chunks = list(made.chunks(size))
    assert b"".join(chunks) == expected
    assert made.length == len(expected)
    assert all(len(chunk) <= max(size, 40) for chunk in chunks)


def test_a_file_that_ends_early_is_an_error_without_its_folder(tmp_path):
    path = tmp_path / "spooled"
    path.write_bytes(b"1234")
    with pytest.raises(EOFError, match="spooled ended 6 bytes early") as caught:
        list(payload(FileSlice(path, 0, 10)).chunks())
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(OSError, match="No such file"):
        list(payload(FileSlice(tmp_path / "gone", 0, 10)).chunks())


@pytest.mark.parametrize(("name", "reason"), [("spooled", "damaged"), ("gone", "missing")])
def test_a_file_of_the_spool_is_damaged_or_missing(tmp_path, name, reason):
    (tmp_path / "spooled").write_bytes(b"1234")
    proof = Proof(tmp_path / name, 0, 10, bytes(16))
    proof.proved = True
    with pytest.raises(Permanent) as caught:
        list(payload(FileSlice(tmp_path / name, 0, 10, proof)).chunks())
    assert caught.value.reason == reason


def test_an_image_that_no_rule_takes_is_unrouted():
    assert Routing().unrouted
    assert not Routing((), ("keep here",)).unrouted
    assert not Routing((), ("r",), returned=(("r", "pacs"),)).unrouted


@pytest.mark.parametrize("bad", ["", "1.2\xe9", "1.2 ", "1" * 65, "1.2\\3", "٣.٤"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_no_payload_is_made_with_a_uid_that_is_none(which, bad):
    uids = ["1.2", "1.2.3", "1.2.840.10008.1.2"]
    uids[which] = bad
    with pytest.raises(Permanent) as caught:
        Payload(*uids, (), 0)
    assert caught.value.reason == "uid"
    assert not bad.strip() or bad not in str(caught.value)
