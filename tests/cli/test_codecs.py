"""`mapdr doctor --codecs`: the table is what the codecs do, and a codec that lies is found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from mapdr.kernel.registry import Registry
from mapdr.operate.codecs import KINDS, Abilities, codecs
from mapdr.transform.codecs.htj2k import Lossless
from mapdr.transform.codecs.jpeg2000 import Jpeg2000
from mapdr.transform.codecs.table import installed
from mapdr_cli.main import main

MARK = "SECRET^NAME"


def asked(*options: str, width: int = 80) -> Any:
    return CliRunner().invoke(main, ["doctor", "--codecs", *options], env={"COLUMNS": str(width)})


@pytest.fixture(scope="module")
def told() -> list[Abilities]:
    return list(codecs())


def test_every_syntax_is_tried_with_every_kind_of_frame(told: list[Abilities]) -> None:
    rows = {row.uid: row for row in installed(Registry())}
    assert {each.uid for each in told} == set(rows)
    assert all(each.is_sound and each.reads for each in told)
    for each in told:
        row = rows[each.uid]
        assert bool(each.way) == (not row.no_encode)
        if each.way in ("lossless", "lossy"):
            assert [one.kind for one in each.written] == list(KINDS)
            assert any(one.works for one in each.written)
            assert all(one.works != bool(one.because) for one in each.written)


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits_and_says_what_is_written(
    told: list[Abilities], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.operate.codecs.codecs", lambda: iter(told))
    done = asked(width=width)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= width
    assert "8-16" in done.output
    assert "recompressed" in done.output
    assert "High-Throughput JPEG 2000 RPCL" in done.output
    assert "JPEG Spectral Selection: not written, because it is retired" in " ".join(done.output.split())


def test_it_says_why_a_ratio_takes_several_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jpeg2000, "no_rate_control", lambda self: "no libopenjp2 is found")
    done = asked()
    assert done.exit_code == 0, done.output
    because = "JPEG 2000: a ratio takes several encodes, because no libopenjp2 is found"
    assert because in " ".join(done.output.split())


def test_a_codec_that_meets_a_size_with_other_pixels_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Jpeg2000.encode
    monkeypatch.setattr(Jpeg2000, "no_rate_control", lambda self: "")
    monkeypatch.setattr(
        Jpeg2000,
        "encode_to_size",
        lambda self, frame, bits, size, *, mct, way: right(self, frame // 2, bits, mct=mct, level=60),
    )
    done = asked("--json")
    assert done.exit_code == 1
    faults = {
        each["name"]
        for each in json.loads(done.output)["codecs"]
        for one in each["written"]
        if one["is_fault"]
    }
    assert faults == {"JPEG 2000"}


def test_a_codec_that_gives_other_pixels_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Lossless.encode

    def wrong(self: Lossless, pixels: Any, form: Any) -> bytes:
        if form.signed:
            raise ValueError(MARK)
        return right(self, pixels + pixels.dtype.type(form.stored == 12), form)

    monkeypatch.setattr(Lossless, "encode", wrong)
    done = asked("--json")
    assert done.exit_code == 1
    assert MARK not in done.output
    faults = [
        (each["name"], one["kind"]["bits"], one["kind"]["signed"])
        for each in json.loads(done.output)["codecs"]
        for one in each["written"]
        if one["is_fault"]
    ]
    assert {name for name, _, _ in faults} == {
        "High-Throughput JPEG 2000 Lossless",
        "High-Throughput JPEG 2000 RPCL Lossless",
    }
    assert {(bits, signed) for _, bits, signed in faults} == {
        (12, False),
        *((bits, True) for bits in (8, 10, 12, 16)),
    }
