"""A license says what the vendor has signed, in one spelling, and nothing else."""

from __future__ import annotations

from datetime import date
from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mapdr.license.code import KINDS, WrongCode, fingerprint, written
from mapdr.license.token import License, WrongToken, sign, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
REQUEST = written(fingerprint({kind: f"the {kind}" for kind in KINDS}, 7))
ALLOWED = License(
    "2026-0001", "Clinic North", REQUEST, date(2026, 11, 27), date(2027, 11, 27), ("deidentify",), 3, 2, 5000
)


def test_a_license_says_what_was_signed() -> None:
    token = sign(ALLOWED, KEY)
    assert verify(token, [PUBLIC]) == ALLOWED
    assert verify(f"\n {token[:40]}\r\n{token[40:]} \n", [bytes(31) + b"\1", PUBLIC]) == ALLOWED
    for_ever = License("1", "C", REQUEST, date(2026, 1, 1))
    assert verify(sign(for_ever, KEY), [PUBLIC]) == for_ever


def test_a_token_that_is_changed_anywhere_is_none() -> None:
    token = sign(ALLOWED, KEY)
    for place, other in product(range(len(token)), "Aa0-_.=+ /"):
        changed = token[:place] + other + token[place + 1 :]
        if "".join(changed.split()) != token:
            with pytest.raises(WrongToken):
                verify(changed, [PUBLIC])


def test_a_token_that_is_cut_or_grown_is_none() -> None:
    token = sign(ALLOWED, KEY)
    for end in range(len(token)):
        with pytest.raises(WrongToken):
            verify(token[:end], [PUBLIC])
    for more in ("A", "=", ".", "." + token):
        with pytest.raises(WrongToken):
            verify(token + more, [PUBLIC])
    with pytest.raises(WrongToken):
        verify("A" * 100_000, [PUBLIC])


def test_a_token_of_another_vendor_is_none() -> None:
    token = sign(ALLOWED, Ed25519PrivateKey.generate())
    with pytest.raises(WrongToken, match="not signed by the vendor of this program, or was changed"):
        verify(token, [PUBLIC])
    with pytest.raises(WrongToken):
        verify(sign(ALLOWED, KEY), [])


def test_a_machine_that_tells_too_little_gets_none() -> None:
    for facts in ({}, {"cpu": "of many"}):
        request = written(fingerprint(facts, 1))
        with pytest.raises(WrongCode, match="tells too little"):
            sign(License("1", "C", request, date(2026, 1, 1)), KEY)
    with pytest.raises(WrongCode):
        sign(License("1", "C", "no code", date(2026, 1, 1)), KEY)
