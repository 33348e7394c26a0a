"""Values with units."""
# ruff: noqa: RUF001  digits of another script are meant

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from mapdr.config.units import Bandwidth, Duration, LocalPath, Size


def from_file(kind, value):
    return TypeAdapter(kind).validate_python(value, context={"base": "/etc/mapdr"})


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Duration, "500 ms", 0.5),
        (Duration, "30 s", 30),
        (Duration, "30s", 30),
        (Duration, "1.5 h", 5400),
        (Duration, "5 min", 300),
        (Duration, "7 days", 604800),
        (Duration, "1 week", 604800),
        (Duration, 0, 0),
        (Size, "0 B", 0),
        (Size, "512 kB", 512_000),
        (Size, "64 KiB", 65_536),
        (Size, "10 GB", 10**10),
        (Bandwidth, "20 Mbit/s", 2_500_000),
        (Bandwidth, "2.5 MB/s", 2_500_000),
    ],
)
def test_quantities(kind, text, expected):
    assert from_file(kind, text) == expected


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Duration, 7, 'has no unit; write "30 s", "5 min", "2 h" or "7 days"'),
        (Duration, "7", "has no unit"),
        (Duration, "7 parsecs", 'has an unknown unit "parsecs"; write "30 s"'),
        (Duration, "-7 s", "is not a duration"),
        (Duration, True, "is not a duration"),
        (Duration, [], "is not a duration"),
        (Duration, "1e9 s", "is not a duration"),
        (Size, "10 gb", 'has an unknown unit "gb"; write "512 kB", "10 GB" or "2 GiB"'),
        (Size, 10.5, "has no unit"),
        (Size, "١٠ GB", "is not a size"),
        (Bandwidth, "20 mbit", 'has an unknown unit "mbit"; write "20 Mbit/s" or "2.5 MB/s"'),
        (Bandwidth, "9" * 40 + " MB/s", "is not a bandwidth"),
    ],
)
def test_what_is_not_a_quantity_comes_with_the_cure(kind, value, message):
    with pytest.raises(ValidationError) as caught:
        from_file(kind, value)
    assert message in caught.value.errors()[0]["msg"]


def test_code_may_give_plain_numbers_but_no_impossible_ones():
    assert TypeAdapter(Duration).validate_python(7) == 7
    for value in (-1, float("nan"), float("inf")):
        with pytest.raises(ValidationError, match="is not a duration"):
            TypeAdapter(Duration).validate_python(value)


def test_paths_start_beside_the_file(tmp_path):
    read = TypeAdapter(LocalPath).validate_python
    assert read("ca.pem", context={"base": tmp_path}) == tmp_path / "ca.pem"
    assert read(str(tmp_path / "x"), context={"base": "/elsewhere"}) == tmp_path / "x"
    assert str(read("ca.pem")) == "ca.pem"
