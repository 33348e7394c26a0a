"""The bundle for the vendor: what helps is in it, and no patient and no secret is in any of its members."""

from __future__ import annotations

import io
import json
import os
import re
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.errors import MapdrError
from mapdr.operate import support as supporting
from mapdr.operate.errors import RequestError
from mapdr.operate.redaction import Hashes
from mapdr.operate.support import support
from mapdr.testing import generator
from paper.nodes import NodeFolder
from peers.marks import Marks

MEMBERS = {"about.json", "doctor.json", "status.json", "configuration.toml", "mapdr.log"}
SECRET = "QXSECRETQX"
EXTRA = f"""
# {SECRET} in a comment

[egress.cloud]
type = "dicomweb"
url = "https://user:{SECRET}@pacs.example/{SECRET}/rs?key={SECRET}"
auth = {{ token = "env:CLOUD_TOKEN" }}

[webhook.ris]
url = "https://ris.example/hooks/{SECRET}"
on = ["study.received"]
headers = {{ "X-Api-Key" = "file:ris.key", "X-Clinic" = "{SECRET}" }}
payload = {{ text = "{SECRET}", accession = "{{AccessionNumber}}" }}

[[rule]]
name = "for QXPATIENTIDQX alone"
when = {{ PatientID = "QXPATIENTIDQX", PatientName = "QXNAMEQX^MARKED" }}
tags = [{{ set = "InstitutionName", to = "QXINSTITUTIONQX" }}]
send_to = ["telepacs", "nowhere"]
"""


def members(file: Path) -> dict[str, str]:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture
def marked(used: NodeFolder) -> NodeFolder:
    """The node with an image of a marked patient, of whom its rules and its log tell as well."""
    marks = Marks()
    values = marks.values
    plain = next(generator.study("CT", seed=7, images=1, size=(16, 16)))
    data_set = pydicom.dcmread(io.BytesIO(plain.part10()))
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    used.receive([replace(plain, dataset=generator.encode(data_set, generator.EXPLICIT))])
    used.config.write_text(used.config.read_text() + EXTRA)
    log = "2026-11-27 10:00:00,000 INFO    listens as MAPDR at 127.0.0.1\n"
    told = f"{values['PatientID']} {values['AccessionNumber']} 1.2.826.0.1.3680043.9"
    log += f"2026-11-27 10:00:01,000 ERROR   {told}\n"
    (used.config.parent / "data" / "mapdr.log").write_text(log)
    return used


def test_no_member_names_a_patient_or_a_secret(marked: NodeFolder, tmp_path: Path) -> None:
    result = marked.mapdr("support", str(tmp_path / "bundle.zip"))
    assert result.exit_code == 0, result.output
    found = members(tmp_path / "bundle.zip")
    assert found.keys() == MEMBERS
    marks = Marks()
    for name, text in found.items():
        marks.assert_absent(text, name)
        assert SECRET not in text, name
        assert "1.2.826.0.1" not in text, name
    marks.assert_absent((tmp_path / "bundle.zip").read_bytes().decode("latin-1"))
    assert (tmp_path / "bundle.zip").stat().st_mode & 0o007 == 0 or os.name == "nt"


def test_what_helps_is_there(marked: NodeFolder, tmp_path: Path) -> None:
    support(marked.config, tmp_path / "bundle.zip")
    found = members(tmp_path / "bundle.zip")
    assert "mapdr" in json.loads(found["about.json"])
    findings = json.loads(found["doctor.json"])["findings"]
    assert any("nowhere" in each["text"] for each in findings), "what is wrong with the file"
    assert json.loads(found["status.json"])["parked"] == 1
    text = found["configuration.toml"]
    for kept in (
        '"TELEPACS"',
        '"env:CLOUD_TOKEN"',
        '"file:ris.key"',
        "https://pacs.example/#",
        'Modality = "CT"',
    ):
        assert kept in text
    assert "jpeg2000-lossless" in text
    assert "listens as MAPDR at 127.0.0.1" in found["mapdr.log"]
    (number,) = set(re.findall(r"PatientID = \"(#[0-9a-f]{12})\"", text))
    assert number in found["mapdr.log"], "one value has one hash"


def test_two_bundles_have_nothing_to_compare() -> None:
    assert Hashes().of("QX") != Hashes().of("QX")


@given(st.lists(st.text("ab^1", max_size=8), max_size=12), st.text("ab^1 \n", max_size=200))
def test_known_values_are_replaced_as_by_a_regular_expression(known: list[str], text: str) -> None:
    hashes = Hashes(known)
    longest_first = [re.escape(each) for each in sorted(known, key=len, reverse=True) if len(each) >= 4]
    expected = text
    if longest_first:
        expected = re.sub("|".join(longest_first), lambda found: hashes.of(found[0]), text)
    assert hashes.text(text) == expected


def test_a_value_that_json_quotes_is_hashed_before_that() -> None:
    value = 'QX"MARK\\QX'
    hashes = Hashes([value])
    assert hashes.values({"of": [f"see {value}!"]}) == {"of": [f"see {hashes.of(value)}!"]}


def test_a_large_log_of_a_large_hospital_takes_seconds() -> None:
    known = [f"2026{number:08d}" for number in range(40_000)]
    line = "2026-11-27 20:00:00,000 INFO    receiver modalities took 2026000399991 of 202600039999\n"
    began = time.monotonic()
    told = Hashes(known).text(line * 10_000)
    assert time.monotonic() - began < 20
    assert "00039999" not in told


def test_addresses_and_dicoms_own_uids_stay() -> None:
    text = "10.1.2.255 1.2.840.10008.1.2.4.50 mapdr 0.1.0 3.11.14"
    assert Hashes().text(text) == text
    assert re.fullmatch(
        r"uid #[0-9a-f]{12}, #[0-9a-f]{12}", Hashes().text("uid 1.2.276.0.7230010.3, 2.25.1.999")
    )


def test_a_secret_in_the_open_is_removed(used: NodeFolder, tmp_path: Path) -> None:
    text = (
        used.config.read_text()
        + f'\n[egress.x]\ntype = "dicomweb"\nurl = "x"\nauth = {{ password = "{SECRET}" }}\n'
    )
    used.config.write_text(text + f'proxy = "{SECRET}://"\n'.replace(SECRET, "http"))
    support(used.config, tmp_path / "bundle.zip")
    found = members(tmp_path / "bundle.zip")
    assert not [name for name, text in found.items() if SECRET in text]
    assert 'password = "(removed)"' in found["configuration.toml"]


@pytest.mark.parametrize("text", [f"[node\n{SECRET}", "", f'[node]\nname = "{"x" * 99}"\n'])
def test_a_broken_node_gives_a_bundle_too(used: NodeFolder, tmp_path: Path, text: str) -> None:
    used.config.write_text(text)
    (used.config.parent / "data" / "index.db").write_bytes(b"no index")
    support(used.config, tmp_path / "bundle.zip")
    found = members(tmp_path / "bundle.zip")
    assert found.keys() == MEMBERS
    assert not [name for name, each in found.items() if SECRET in each]
    assert json.loads(found["about.json"])


def test_nothing_is_written_over_and_nothing_half_written(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.zip").write_text("x")
    with pytest.raises(RequestError, match="name another one"):
        support(used.config, tmp_path / "mine.zip")
    assert (tmp_path / "mine.zip").read_text() == "x"
    with pytest.raises(MapdrError, match="cannot be written"):
        support(used.config, tmp_path / "none" / "bundle.zip")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(supporting.zipfile.ZipFile, "writestr", full)
    with pytest.raises(MapdrError, match="No space left"):
        support(used.config, tmp_path / "bundle.zip")
    assert not (tmp_path / "bundle.zip").exists()


@pytest.mark.parametrize(
    "text",
    [
        'auth = { pasword = "QXSECRETQX" }',
        'auth = { token = ["QXSECRETQX"], basic = { user = "QXSECRETQX" } }',
        'pwd = "QXSECRETQX"\nkey = "QXSECRETQX"\npins = ["QXSECRETQX"]',
        'proxy = "user:QXSECRETQX@proxy"',
        'headers = { "X-Api-Key" = "QXSECRETQX", QX = "QXSECRETQX" }',
    ],
)
def test_a_secret_under_any_key_is_removed(used: NodeFolder, tmp_path: Path, text: str) -> None:
    """A configuration is sent where it is broken: what is misspelt is no less secret, nor what quotes it."""
    table = f'\n[egress.x]\ntype = "dicomweb"\nurl = "user:{SECRET}@host/{SECRET}"\n{text}\n'
    used.config.write_text(used.config.read_text() + table + f'\n[secrets]\nris = ["{SECRET}"]\n')
    log = f"lost {SECRET}\nPOST https://u:{SECRET}@ris.example/{SECRET}?token={SECRET}, Bearer {SECRET}2\n"
    (used.config.parent / "data" / "mapdr.log").write_text(log)
    support(used.config, tmp_path / "bundle.zip")
    found = members(tmp_path / "bundle.zip")
    assert not [name for name, each in found.items() if SECRET in each]
    assert "POST https://ris.example/#" in found["mapdr.log"]


@pytest.mark.parametrize("name", ['Miller "Jo" \\\\', "Li Q", "Lý"])
def test_the_name_of_a_rule_is_hashed_however_it_is_quoted(
    used: NodeFolder, tmp_path: Path, name: str
) -> None:
    values = '{ "QX^ANN" = "QX", PatientID = "file:QX" }'
    rule = f'\n[[rule]]\nname = {json.dumps(name)}\nwhen = {values}\nsend_to = ["nowhere"]\n'
    used.config.write_text(used.config.read_text() + rule)
    support(used.config, tmp_path / "bundle.zip")
    for member, text in members(tmp_path / "bundle.zip").items():
        assert name not in text, member
        assert json.dumps(name)[1:-1] not in text, member
        assert "QX" not in text, member


def test_a_log_that_is_cut_begins_with_a_whole_line(
    used: NodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (used.config.parent / "data" / "mapdr.log").write_text("uid 1.2.276.0.7230010.3.1.4\nlast line\n")
    monkeypatch.setattr(supporting, "LOG_BYTES", len("7230010.3.1.4\nlast line\n"))
    support(used.config, tmp_path / "bundle.zip")
    assert members(tmp_path / "bundle.zip")["mapdr.log"] == "last line\n"


def test_values_of_a_large_archive_are_found_in_no_time() -> None:
    """Tried one after the other at each place, they took a minute for each megabyte of the log."""
    hashes = Hashes([*(f"QX{number:07d}" for number in range(60_000)), "QX0000001-B", "ab"])
    line = "INFO    receiver m listens as MAPDR at 127.0.0.1, of QX0000001-B and QX0000001\n"
    began = time.monotonic()
    told = hashes.text(line * 10_000)
    assert time.monotonic() - began < 15
    assert told.splitlines()[0].endswith(f"of {hashes.of('QX0000001-B')} and {hashes.of('QX0000001')}")
    assert "QX" not in told


@given(st.lists(st.text(min_size=1, max_size=9), max_size=20), st.text(max_size=60))
def test_no_known_value_stays(known: list[str], text: str) -> None:
    long_enough = [each for each in known if len(each) >= 4]
    told = Hashes(known).text(text + " ".join(known))
    assert not [each for each in long_enough if each in re.sub(r"#[0-9a-f]{12}", "\0", told)]
