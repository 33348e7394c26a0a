"""A file holds what was received, or it is told why it does not: once a process, a piece at a time."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import xxhash

from mapdr.kernel import files
from mapdr.kernel import proof as proof_module
from mapdr.kernel.errors import Permanent
from mapdr.kernel.proof import Proof, damaged, missing, unreadable

BEFORE, DATA, BEHIND = b"before" * 7, bytes(range(100)), b"behind it"


@pytest.fixture(params=["pread", "seek and read"])
def path(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(proof_module, "_CHUNK", 30)
    if request.param != "pread":  # as on Windows
        monkeypatch.setattr(files, "_pread", None)
    made = tmp_path / "file"
    made.write_bytes(BEFORE + DATA + BEHIND)
    return made


def of(path: Path) -> Proof:
    return Proof(path, len(BEFORE), len(DATA), xxhash.xxh3_128_digest(DATA))


def test_a_file_is_read_once_whatever_stands_around_the_data_set(path: Path) -> None:
    proof = of(path)
    assert not proof.proved
    proof.check()
    assert proof.proved
    path.unlink()
    proof.check()


@pytest.mark.parametrize("at", [0, 29, 30, 99])
def test_one_other_byte_is_damage_each_time(path: Path, at: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(BEFORE) + at] ^= 1
    path.write_bytes(whole)
    proof = of(path)
    for _ in range(2):
        with pytest.raises(Permanent) as caught:
            proof.check()
        assert caught.value.reason == "damaged"
    assert not proof.proved
    assert proof.holds() is False


@pytest.mark.parametrize("left", [0, 10, len(BEFORE), len(BEFORE) + 1, len(BEFORE) + 99])
def test_a_file_that_is_cut_is_damaged(path: Path, left: int) -> None:
    path.write_bytes(path.read_bytes()[:left])
    assert of(path).holds() is False


def test_a_file_that_is_gone_is_missing_and_one_that_cannot_be_read_is_neither(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = of(path)
    path.unlink()
    with pytest.raises(Permanent) as caught:
        proof.check()
    assert caught.value.reason == "missing"

    def fails(*_: object) -> int:
        raise OSError(errno.EIO, "error")

    monkeypatch.setattr(proof_module.os, "open", fails)
    with pytest.raises(OSError, match="error"):
        proof.check()


def test_which_error_of_a_file_is_told_how(path: Path) -> None:
    """Of what is not in the spool nothing is known."""
    gone, short, other = FileNotFoundError(), EOFError(), OSError(errno.EIO, "error")
    assert str(unreadable(gone, of(path))) == str(missing())
    assert str(unreadable(short, of(path))) == str(damaged())
    assert unreadable(other, of(path)) is other
    for error in (gone, short, other):
        assert unreadable(error, None) is error
