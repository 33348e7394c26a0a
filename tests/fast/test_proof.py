"""Both twins compare bytes with what was received while they go out, before the last of them does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from fast.test_send_run import TWINS, answer, message, run
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Payload
from mapdr.kernel.proof import Proof, damaged

BEFORE = 300
"""Bytes of a spool file before the data set."""


def spooled(folder: Path, data: bytes, *, damage: int | None = None) -> FileSlice:
    """A spool file with `data`, one bit of it flipped or not, and the digest of what was received."""
    path = folder / f"{len(data)}-{damage}"
    kept = bytearray(data)
    if damage is not None:
        kept[damage] ^= 1
    path.write_bytes(bytes(BEFORE) + bytes(kept))
    proof = Proof(path, BEFORE, len(data), xxhash.xxh3_128_digest(data))
    return FileSlice(path, BEFORE, len(data), proof)


def ended(name: str, *messages: Any, max_length: int = 1 << 16) -> tuple[Any, list[int], int]:
    """How a run of `messages` ended, what was answered, and how many bytes went out."""
    answers = [answer(one.id) for one in messages]
    how, statuses, *_, sent = run(name, messages, answers, max_length=max_length, tick=0.1)
    return how, statuses, len(sent)


def is_damage(how: Any) -> bool:
    return isinstance(how, tuple) and how[:2] == (Permanent, str(damaged()))


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("size", [2, 5_000, 700_000])
def test_whole_files_go_out_and_are_proved(name: str, size: int, tmp_path: Path) -> None:
    part = spooled(tmp_path, bytes(range(256)) * (size // 256) + bytes(size % 256))
    _, statuses, sent = ended(name, message(1, part))
    assert (statuses, sent > size) == ([0], True)
    assert part.proof is not None
    assert part.proof.proved
    part.path.write_bytes(bytes(BEFORE + size))
    assert ended(name, message(2, part))[1] == [0], "compared once a process"


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("size", [5_000, 700_000])
@pytest.mark.parametrize("damage", [0, 1, -1, 2_500])
def test_a_flipped_bit_never_leaves_whole(name: str, size: int, damage: int, tmp_path: Path) -> None:
    part = spooled(tmp_path, bytes(size), damage=damage % size)
    good = spooled(tmp_path, bytes(100))
    how, statuses, sent = ended(name, message(1, good), message(2, part), message(3, good))
    assert is_damage(how)
    assert statuses == [0]
    assert sent < size
    assert part.proof is not None
    assert not part.proof.proved


@pytest.mark.parametrize("name", TWINS)
def test_what_an_edit_left_out_is_compared_too(name: str, tmp_path: Path) -> None:
    """Of an edited image only the pixels are sent from the file; its header must be the one that was read."""
    for damage in (0, 50, 5_000, 99_999):
        part = spooled(tmp_path, bytes(100_000), damage=damage)
        assert is_damage(ended(name, message(1, b"header", part.cut(100, 99_000), b"tail"))[0])
    part = spooled(tmp_path, bytes(100_000))
    assert ended(name, message(1, b"header", part.cut(100, 99_000), b"tail"))[1] == [0]
    assert part.proof is not None
    assert part.proof.proved


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=3_000), st.data())
def test_both_twins_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, draw: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    damage = draw.draw(st.none() | st.integers(0, len(data) - 1))
    start = draw.draw(st.integers(0, len(data) - 1))
    stop = draw.draw(st.integers(start + 1, len(data)))
    cut = draw.draw(st.none() | st.integers(0, len(data) - 1))
    seen = []
    for name in TWINS:
        part = spooled(folder, data, damage=damage)
        if cut is not None:
            part.path.write_bytes(part.path.read_bytes()[: BEFORE + cut])
        how, statuses, _ = ended(name, message(1, part.cut(start, stop)))
        assert part.proof is not None
        seen.append((how, statuses, part.proof.proved))
        if damage is not None or cut is not None:
            assert not part.proof.proved
    if cut is None:  # of a file that is too short each twin says so in its own words
        assert seen[0] == seen[1]


def test_the_plain_way_to_read_a_payload_compares_too(tmp_path: Path) -> None:
    part = spooled(tmp_path, bytes(1_000_000), damage=999_999)
    with pytest.raises(Permanent) as caught:
        list(Payload("1", "2", "3", (part,), part.length).chunks())
    assert caught.value.reason == "damaged"
    part.path.unlink()
    with pytest.raises(Permanent) as caught:
        list(Payload("1", "2", "3", (part,), part.length).chunks())
    assert caught.value.reason == "missing"
