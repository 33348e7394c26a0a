"""DICOM files in zip archives, one after the other, never unpacked to the disk.

What an archive says of itself is looked at before anything is inflated: how many files it has, how many bytes
they are, and how many times larger than the archive that is. The names in it are used for nothing.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, BinaryIO

from pydantic import Field

from mapdr.config.units import Size
from mapdr.kernel.errors import Permanent
from mapdr.kernel.stage import StageConfig

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins, and an empty one."""

LARGEST_ENTRY = 1 << 10
"""Bytes that the directory of an archive may have for each file: names and comments are short."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, LookupError, ArithmeticError)
"""What reading an archive raises that is not one, is cut, or contradicts itself; RuntimeError as well."""

_END, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")


class ZipLimits(StageConfig):
    """The table `zip` of a folder's receiver: how much one archive may be."""

    files: int = Field(default=20_000, ge=1)
    size: Size = 50 * 1000**3
    ratio: int = Field(default=200, ge=2)


class Damaged(Exception):
    """The archive is none, cut, or was changed."""


def members(
    file: BinaryIO, limits: ZipLimits, begin: int = 0
) -> Iterator[tuple[int, Callable[[int], bytes]]]:
    """The files of an archive, from number `begin` on: each by a function that reads it, before the next one.

    Raises Permanent(reason="zip") for an archive that is not taken, before it yields any, and Damaged, which
    the functions raise as well.
    """
    with _damage():
        _look(file, limits)
        with zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _bound(infos, limits)
            for number, info in enumerate(infos[begin:], begin):
                with archive.open(info) as member:
                    yield number, partial(_read, member)


def _read(member: IO[bytes], size: int) -> bytes:
    with _damage():
        return member.read(size)


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, RuntimeError) as error:
        raise Damaged from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # an offset that no file has
            raise Damaged from error
        raise


def _look(file: BinaryIO, limits: ZipLimits) -> None:
    """Bound what the archive's directory takes in memory (APPNOTE.TXT, 4.3.16 and 4.3.14)."""
    size = file.seek(0, 2)
    start = max(0, size - (1 << 16) - _END.size)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise zipfile.BadZipFile
    _, _, _, _, count, length, _, _ = _END.unpack_from(tail, at)
    locator = start + at - _LOCATOR.size
    if locator >= 0:
        file.seek(locator)
        mark, _, where, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
        if mark == b"PK\x06\x07":
            if where > size:
                raise zipfile.BadZipFile
            file.seek(where)
            _, _, _, _, _, _, _, count, length, _ = _END64.unpack(file.read(_END64.size))
    file.seek(0)
    if count > limits.files or length > limits.files * LARGEST_ENTRY:
        raise _too("files", f"holds more than {limits.files} files")


def _bound(infos: list[zipfile.ZipInfo], limits: ZipLimits) -> None:
    if len(infos) > limits.files:
        raise _too("files", f"holds more than {limits.files} files")
    size = sum(info.file_size for info in infos)
    if size > limits.ratio * max(1, sum(info.compress_size for info in infos)):
        raise _too("ratio", f"inflates to more than {limits.ratio} times its size")
    if size > limits.size:
        raise _too("size", f"inflates to more than {limits.size / 1000**3:g} GB")
    if any(info.flag_bits & 1 for info in infos):
        raise Permanent("the archive is encrypted; unpack it", reason="zip")
    # The other methods may ask for any amount of memory, by what the archive says.
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        raise Permanent("the archive is neither stored nor deflated; pack it anew", reason="zip")


def _too(key: str, what: str) -> Permanent:
    return Permanent(f"the archive {what}; if that is meant, raise zip.{key} of the receiver", reason="zip")
