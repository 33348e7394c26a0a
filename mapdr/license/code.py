"""The request code: facts of a machine as short, keyed hashes, to be read over the telephone.

    bits  4    6         30     6 x 20
          form presence  salt   one hash for each kind of fact, 0 where it cannot be read

160 bits are 32 characters of Crockford's base 32 (no I, L, O, U), in eight groups of four, each with a fifth
that checks it: one wrong character of a group, two that are swapped, and swapped groups are found, and it is
known in which group.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from mapdr.kernel.errors import MapdrError

KINDS = ("machine", "firmware", "board", "disk", "cpu", "network")
"""The kinds of facts, in the order of the code."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ = str.maketrans({"I": "1", "L": "1", "O": "0", "U": "V"})
_FORM = 1
_HASH_BITS, _SALT_BITS = 20, 30
_GROUPS, _DATA = 8, 4


class WrongCode(MapdrError):
    """What was given is no request code."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a code says of a machine: the hash of each fact by its kind, made with `salt`."""

    salt: int
    hashes: Mapping[str, int]


def fingerprint(facts: Mapping[str, str], salt: int | None = None) -> Fingerprint:
    """The fingerprint of a machine by its facts (kind to value); a new salt unless one is given."""
    chosen = secrets.randbits(_SALT_BITS) if salt is None else salt
    return Fingerprint(chosen, {kind: _hash(kind, facts[kind], chosen) for kind in KINDS if kind in facts})


def written(found: Fingerprint) -> str:
    """The code of a fingerprint: eight groups of five characters, with hyphens."""
    present = sum(1 << index for index, kind in enumerate(KINDS) if kind in found.hashes)
    number = (_FORM << 6 | present) << _SALT_BITS | found.salt
    for kind in KINDS:
        number = number << _HASH_BITS | found.hashes.get(kind, 0)
    digits = [number >> 5 * place & 31 for place in reversed(range(_GROUPS * _DATA))]
    groups = (digits[start : start + _DATA] for start in range(0, len(digits), _DATA))
    return "-".join(_text([*group, _check(index, group)]) for index, group in enumerate(groups))


def read(text: str) -> Fingerprint:
    """The fingerprint that a code says, however it is spaced, in small or large letters. Raises WrongCode,
    with the number of the group that is wrong."""
    plain = "".join(text.upper().split()).replace("-", "").translate(_READ)
    if len(plain) != _GROUPS * (_DATA + 1):
        raise WrongCode(f"a request code has {_GROUPS} groups of {_DATA + 1} characters")
    number = 0
    for index in range(_GROUPS):
        group = plain[index * (_DATA + 1) : (index + 1) * (_DATA + 1)]
        digits = [_ALPHABET.find(each) for each in group]
        if -1 in digits or _check(index, digits[:_DATA]) != digits[_DATA]:
            raise WrongCode(f"group {index + 1} of the request code is wrong ({group})")
        for digit in digits[:_DATA]:
            number = number << 5 | digit
    hashes: dict[str, int] = {}
    rest = number
    for kind in reversed(KINDS):
        hashes[kind], rest = rest & (1 << _HASH_BITS) - 1, rest >> _HASH_BITS
    salt, rest = rest & (1 << _SALT_BITS) - 1, rest >> _SALT_BITS
    present, form = rest & 63, rest >> 6
    if form != _FORM:
        raise WrongCode("this request code is of another version of MAPDR")
    known = {kind: hashes[kind] for index, kind in enumerate(KINDS) if present >> index & 1}
    return Fingerprint(salt, known)


def _hash(kind: str, value: str, salt: int) -> int:
    digest = hashlib.blake2b(
        f"{kind}\0{value}".encode(), digest_size=8, key=salt.to_bytes(4, "big"), person=b"mapdr license"
    )
    return int.from_bytes(digest.digest(), "big") >> 64 - _HASH_BITS


def _text(digits: list[int]) -> str:
    return "".join(_ALPHABET[each] for each in digits)


def _check(index: int, digits: list[int]) -> int:
    """A weighted sum over GF(32), the number of the group among its terms."""
    found = _times(index + 1, 1 << _DATA)
    for place, digit in enumerate(digits):
        found ^= _times(digit, 2 << place)
    return found


def _times(one: int, other: int) -> int:
    """The product in GF(32), of the polynomial x^5 + x^2 + 1; `other` may have six bits."""
    product = 0
    while other:
        if other & 1:
            product ^= one
        one = one << 1 ^ (0b100101 if one & 16 else 0)
        other >>= 1
    return product
