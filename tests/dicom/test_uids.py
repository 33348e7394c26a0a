"""UIDs."""

from __future__ import annotations

from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.dicom.uids import derived_uid, is_valid_uid

KEY = b"k" * 32


@given(st.binary(min_size=1, max_size=64), st.text(max_size=64), st.binary(max_size=32))
def test_a_derived_uid_is_a_valid_one_from_a_uuid(key: bytes, original: str, digest: bytes) -> None:
    uid = derived_uid(key, original, digest)
    assert is_valid_uid(uid)
    uuid = UUID(int=int(uid.removeprefix("2.25.")))
    assert (uuid.variant, uuid.version) == (RFC_4122, 8)
    assert uid == derived_uid(key, original, digest)


def test_pixels_original_and_key_each_change_it() -> None:
    uids = {
        derived_uid(KEY, "1.2.3", b"a"),
        derived_uid(KEY, "1.2.3", b"b"),
        derived_uid(KEY, "1.2.4", b"a"),
        derived_uid(b"other", "1.2.3", b"a"),
    }
    assert len(uids) == 4


def test_it_is_pinned_for_retries_after_an_upgrade() -> None:
    assert derived_uid(KEY, "1.2.3", b"a") == "2.25.168974740874898334167083944822492100244"


def test_a_key_is_needed() -> None:
    with pytest.raises(ValueError, match="site key"):
        derived_uid(b"", "1.2.3", b"a")


@pytest.mark.parametrize("uid", ["1.2", "2.25.0", "1.2.840.10008.1.2", "1." + "2" * 62])
def test_valid(uid: str) -> None:
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", "1", "1.", ".1", "3.1", "1.02", "1..2", "1.a", "1.2 ", "1.2\0", "1." + "2" * 63, "1.2\n"]
)
def test_invalid(uid: str) -> None:
    assert not is_valid_uid(uid)
