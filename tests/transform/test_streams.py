"""Codestreams while they are made: what is in memory, what in a file, and what the payload gets of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapdr.kernel.item import FileSlice, Part
from mapdr.transform.encode.streams import Streams, merged
from mapdr.transform.fragments import encapsulate
from mapdr.transform.scratch import Scratch


def bytes_of(part: Part) -> bytes:
    return part if isinstance(part, bytes) else b"".join(part.chunks(1 << 20))


def filled(held: int, folder: Path, frames: dict[int, bytes]) -> Streams:
    streams = Streams(Scratch(held, folder))
    for index, frame in frames.items():
        streams.put(index, frame)
    return streams


FRAMES = {2: b"ccc", 0: b"aaaa", 1: b"bbbbb"}


@pytest.mark.parametrize(("held", "in_memory"), [(12, 12), (11, 0), (0, 0)])
def test_they_are_in_memory_up_to_a_size_and_beyond_that_in_a_file(
    held: int, in_memory: int, tmp_path: Path
) -> None:
    streams = filled(held, tmp_path, FRAMES)
    assert (streams.size, len(streams), streams.in_memory) == (12, 3, in_memory)
    assert bool(list(tmp_path.iterdir())) == (not in_memory)
    assert streams.indexes == [0, 1, 2]
    assert [index in streams for index in range(4)] == [True, True, True, False]
    assert [streams.length(index) for index in range(3)] == [4, 5, 3]
    assert [streams[index] for index in range(3)] == list(streams) == [b"aaaa", b"bbbbb", b"ccc"]
    parts = [streams.fragment(index) for index in range(3)]
    assert all(isinstance(part, bytes) == bool(in_memory) for each in parts for part in each)
    assert [b"".join(map(bytes_of, each))[8:] for each in parts] == [b"aaaa", b"bbbbb\0", b"ccc\0"]
    head, fragments = encapsulate([b"aaaa", b"bbbbb", b"ccc"])
    made = streams.encapsulated()
    assert (made[0], b"".join(map(bytes_of, made[1]))) == (head, b"".join(map(bytes_of, fragments)))


def test_one_alone_stays_in_memory_and_goes_with_the_second(tmp_path: Path) -> None:
    streams = filled(3, tmp_path, {4: b"aaaa"})
    assert (streams.in_memory, list(tmp_path.iterdir())) == (4, [])
    streams.put(3, b"")
    assert streams.in_memory == 0
    assert (list(streams), streams.indexes, streams.length(3)) == ([b"", b"aaaa"], [3, 4], 0)


def test_what_was_closed_is_no_more_written(tmp_path: Path) -> None:
    streams = filled(0, tmp_path, FRAMES)
    streams.encapsulated()
    with pytest.raises(ValueError, match="closed"):
        streams.put(3, b"x")
    filled(99, tmp_path, FRAMES).close()


def slice_of(start: int, stop: int, path: str = "one", keeper: object = None) -> FileSlice:
    return FileSlice(Path(path), start, stop - start, keeper=keeper)


def test_slices_of_a_file_that_follow_each_other_are_one() -> None:
    keeper, other = object(), object()
    parts = merged(
        iter([slice_of(0, 4, keeper=keeper), slice_of(4, 9, keeper=keeper), slice_of(9, 10, keeper=keeper)])
    )
    assert parts == (slice_of(0, 10),)
    assert [part.keeper for part in parts if isinstance(part, FileSlice)] == [keeper]
    for apart in (
        [slice_of(0, 4), slice_of(5, 9)],
        [slice_of(4, 9), slice_of(0, 4)],
        [slice_of(0, 4), slice_of(4, 9, "two")],
        [slice_of(0, 4, keeper=keeper), slice_of(4, 9, keeper=other)],
        [slice_of(0, 4), b"between", slice_of(4, 9)],
        [b"one", b"two"],
        [b"one", slice_of(0, 4)],
    ):
        assert merged(iter(apart)) == tuple(apart)
