"""TLS contexts that follow their files, by a clock of the test."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mapdr.kernel.errors import ConfigurationError
from mapdr.net.renewal import LOOK_EVERY, RenewingTls
from mapdr.net.tls import ClientTls, ServerTls
from peers.certificates import Authority


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_files_are_looked_at_once_a_second_and_read_when_they_have_changed(authority: Authority) -> None:
    clock = Clock()
    first = authority.sign("mapdr")
    tls = RenewingTls("receive.x", ServerTls.model_validate(first.table()), clock)
    before = tls.context()
    second = authority.sign("mapdr")
    assert tls.context() is before
    clock.now += LOOK_EVERY
    after = tls.context()
    assert after is not before
    assert [each.fingerprint for each in tls.certificates] == [second.fingerprint]
    clock.now += LOOK_EVERY
    assert tls.context() is after


@pytest.mark.parametrize("broken", ["gone", "empty", "cut", "of another key"])
def test_what_cannot_be_used_is_told_once_and_the_old_stays(
    authority: Authority, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    pair = authority.sign("mapdr")
    tls = RenewingTls("receive.x", ServerTls.model_validate(pair.table(authority.path)), clock)
    before, whole = tls.context(), pair.key.read_bytes()
    if broken == "gone":
        pair.key.unlink()
    else:
        other = authority.sign("other").key.read_bytes()
        pair.key.write_bytes({"empty": b"", "cut": whole[:60], "of another key": other}[broken])
    for _ in range(3):
        clock.now += LOOK_EVERY
        assert tls.context() is before
    assert "mapdr.key cannot be used" in tls.trouble
    assert tls.certificates[0].fingerprint == pair.fingerprint
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    pair.key.write_bytes(whole)
    clock.now += LOOK_EVERY
    assert tls.context() is not before
    assert tls.trouble == ""
    assert caplog.records[-1].getMessage() == "receive.x: changed TLS files are in use"


def test_a_start_with_files_that_cannot_be_used_fails(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        RenewingTls("egress.x", ClientTls(ca=tmp_path / "none.pem"))


def test_the_systems_certificates_have_no_files() -> None:
    clock = Clock()
    tls = RenewingTls("egress.x", ClientTls(), clock)
    before = tls.context()
    clock.now += 10
    assert tls.context() is before
    assert tls.certificates == ()
