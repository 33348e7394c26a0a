"""Buckets of lengths of time, and which image a quantile is that of: by value, without an index."""

from __future__ import annotations

import math

import pytest

from mapdr.store.index.delays import LARGEST, bucket_of, quantile


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(-1.0, 0), (0.0, 0), (0.001, 0), (0.00105, 0), (0.0011, 1), (0.002, 8), (0.0039, 15), (0.004, 16)],
)
def test_a_bucket_is_an_eighth_of_an_octave_of_milliseconds(seconds: float, bucket: int) -> None:
    assert bucket_of(seconds) == bucket


def test_the_last_bucket_begins_after_two_years() -> None:
    begins = 2**36 / 1000
    assert (bucket_of(begins * 0.9999), bucket_of(begins), bucket_of(begins * 2)) == (
        LARGEST - 1,
        LARGEST,
        LARGEST,
    )


@pytest.mark.parametrize(
    ("share", "bucket"),
    [(0.0, 0), (0.25, 0), (0.26, 8), (0.5, 8), (0.75, 8), (0.76, 40), (1.0, 40)],
)
def test_a_quantile_is_that_of_the_image_of_its_rank(share: float, bucket: int) -> None:
    found = quantile({40: 1, 0: 1, 8: 2}, share)
    assert found is not None
    assert math.isclose(found, 2 ** (bucket / 8 + 1 / 16) / 1000)


def test_without_images_there_is_none() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.0) is None
