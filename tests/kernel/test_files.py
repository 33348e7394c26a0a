"""Reading at a place: with `pread` and without, in pieces, and past the end."""

import os
from pathlib import Path

import pytest

from mapdr.kernel import files
from mapdr.kernel.files import READ, read_at


@pytest.mark.parametrize("pread", [files._pread, None], ids=["pread", "seek"])
@pytest.mark.parametrize("most", [1, 3, 1 << 30])
def test_a_place_is_read_whole_or_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pread: object, most: int
) -> None:
    monkeypatch.setattr(files, "_pread", pread)
    monkeypatch.setattr(files, "_MOST", most)
    path = tmp_path / "file"
    path.write_bytes(b"0123456789\r\n\x1a")  # of which a text file of Windows would make something else
    file = os.open(path, READ)
    try:
        assert read_at(file, 4, 3) == b"3456"
        assert read_at(file, 4, 0) == b"0123"
        assert read_at(file, 99, 8) == b"89\r\n\x1a"
        assert read_at(file, 99, 13) == read_at(file, 0, 0) == b""
    finally:
        os.close(file)
