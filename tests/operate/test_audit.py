"""What the audit keeps: DICOM Audit Messages of who saw whom, did what, and signed in."""

from __future__ import annotations

import base64
import getpass
import json
import os
import threading
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.fetch import StudyQuery
from mapdr.operate.access import Access, access
from mapdr.operate.actions import dismiss, hold_destinations, retry
from mapdr.operate.actor import Actor
from mapdr.operate.audit import FOLDER, Audit, AuditError
from mapdr.operate.configuration import load
from mapdr.operate.corrections import corrections
from mapdr.operate.deliveries import deliveries
from mapdr.operate.export import Exported, export
from mapdr.operate.fetch import look
from mapdr.operate.images import images
from mapdr.operate.purge import purge
from mapdr.operate.selection import Selection
from mapdr.operate.signin import Doors
from mapdr.operate.studies import studies
from mapdr.operate.timeline import timeline
from paper.nodes import NodeFolder


def records(node: NodeFolder) -> list[ET.Element]:
    files = sorted((node.config.parent / "data" / FOLDER).glob("*.log"))
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    return [ET.fromstring(line) for line in lines if line]  # writers that meet leave empty ones


def kind(record: ET.Element) -> tuple[str, str]:
    event, type_ = (
        record.find("EventIdentification/EventID"),
        record.find("EventIdentification/EventTypeCode"),
    )
    assert event is not None
    assert type_ is not None
    return event.attrib["csd-code"], type_.attrib["csd-code"]


def query(record: ET.Element) -> object:
    text = record.findtext("ParticipantObjectIdentification/ParticipantObjectQuery")
    assert text is not None
    return json.loads(base64.b64decode(text))


def test_who_asks_a_pacs_who_its_patients_are_is_told(used: NodeFolder) -> None:
    configuration, asked = load(used.config), StudyQuery(accession_number="A1")
    for identify, told in ((False, 0), (True, 1)):
        with pytest.raises(MapdrError):  # the PACS is away
            look(configuration, "telepacs", asked, identify=identify)
        assert len(records(used)) == told
    (record,) = records(used)
    assert kind(record) == ("110112", "view-fetch")
    assert query(record) == {"accession_number": "A1"}


def test_an_export_that_is_interrupted_is_told_as_far_as_it_came(used: NodeFolder, tmp_path: Path) -> None:
    def interrupted(so_far: Exported) -> None:
        if so_far.written == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(load(used.config), Selection(modality="CT"), tmp_path / "out", told=interrupted)
    (record,) = records(used)
    assert kind(record) == ("110103", "export")
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2


def test_what_identifies_is_told_before_it_is_shown(used: NodeFolder) -> None:
    chosen = Selection(patient_id="PAT-1")
    with access(used.config) as opened:
        studies(opened, chosen)
        assert not records(used), "nothing that identifies was shown"
        studies(opened, chosen, identify=True)
        studies(opened, chosen, identify=True)  # who looks again and again is told once
        deliveries(opened, Selection(modality="CT"), identify=True)
    first, second = records(used)
    assert kind(first) == ("110112", "view-studies")
    assert query(first) == {"patient_id": "PAT-1"}
    assert kind(second) == ("110112", "view-deliveries")
    about = first.find("EventIdentification")
    assert about is not None
    assert (about.attrib["EventActionCode"], about.attrib["EventOutcomeIndicator"]) == ("E", "0")
    who = first.find("ActiveParticipant")
    assert who is not None
    assert who.attrib == {"UserID": getpass.getuser(), "UserIsRequestor": "true"}
    source = first.find("AuditSourceIdentification")
    assert source is not None
    assert source.attrib["AuditSourceID"] == "clinic-north"


def test_every_action_is_told_with_its_numbers(used: NodeFolder) -> None:
    with access(used.config, rules=True) as opened:
        retry(opened, Selection(state="parked"), dry_run=True)
        assert not records(used)
        retry(opened, Selection(state="parked"))
        hold_destinations(opened, ["archive"])
        dismiss(opened, Selection(state="parked"))  # there is none any more
    done, held = records(used)
    assert kind(done) == ("110103", "retry")
    assert query(done) == {"state": "parked"}
    details = {
        each.attrib["type"]: base64.b64decode(each.attrib["value"]).decode()
        for each in done.iter("ParticipantObjectDetail")
    }
    assert details == {"number": "1", "to telepacs": "1"}
    assert kind(held) == ("110103", "hold-destination")


def test_a_timeline_that_shows_a_receiver_s_words_is_told(opened: Access, used: NodeFolder) -> None:
    (stuck,) = deliveries(opened, Selection(state="parked"))
    timeline(opened, stuck.sop_instance_uid, identify=True)
    assert {kind(each)[1] for each in records(used)} == {"view-deliveries"}


def test_where_the_audit_cannot_be_written_nothing_is_shown(used: NodeFolder) -> None:
    (used.config.parent / "data" / FOLDER).write_text("a file in its place")
    with access(used.config) as opened, pytest.raises(AuditError, match="nothing is shown"):
        studies(opened, Selection(), identify=True)


def test_a_record_that_is_cut_off_counts_as_none_and_spoils_no_other(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with access(used.config) as opened:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda file, data: write(file, data[:20]))  # a disk that fills up
            with pytest.raises(AuditError, match="nothing is shown"):
                studies(opened, Selection(), identify=True)
        studies(opened, Selection(), identify=True)
    (path,) = (used.config.parent / "data" / FOLDER).glob("*.log")
    cut_off, whole = path.read_text(encoding="utf-8").splitlines()
    assert len(cut_off) == 20
    assert kind(ET.fromstring(whole)) == ("110112", "view-studies")


def test_corrections_that_are_shown_with_their_values_are_told(opened: Access, used: NodeFolder) -> None:
    corrections(opened, Selection(modality="CT"))
    assert not records(used)
    corrections(opened, Selection(modality="CT"), identify=True)
    assert [kind(each) for each in records(used)] == [("110112", "view-corrections")]


def test_the_command_line_is_told_of_too(used: NodeFolder) -> None:
    assert used.mapdr("studies", "--identify").exit_code == 0
    assert [kind(each) for each in records(used)] == [("110112", "view-studies")]


def test_a_record_is_one_line_whatever_is_in_it(used: NodeFolder, tmp_path: Path) -> None:
    with access(used.config) as opened:
        audit = Audit(opened.plan.node)
    wild = Actor('Ann\n<AuditMessage/>\x00"' + "x" * 500, "10.1.2.3")
    threads = [
        threading.Thread(target=lambda: [audit.signed_in(wild, "password", ok=False) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = records(used)
    assert len(found) == 200
    who = found[0].find("ActiveParticipant")
    assert who is not None
    assert len(who.attrib["UserID"]) == 64
    assert who.attrib["NetworkAccessPointID"] == "10.1.2.3"
    assert kind(found[0]) == ("110114", "110122")
    assert found[0].findtext("EventIdentification/EventOutcomeDescription") == "by password"


@pytest.mark.skipif(os.name == "nt", reason="a folder there has the rights of the one that holds it")
def test_nobody_else_reads_it(used: NodeFolder) -> None:
    with access(used.config) as opened:
        studies(opened, Selection(), identify=True)
    folder = used.config.parent / "data" / FOLDER
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser gives away")
def test_what_the_superuser_writes_belongs_to_the_node_s_user(used: NodeFolder) -> None:
    data = used.config.parent / "data"
    os.chown(data, 12345, 12345)
    with access(used.config) as opened:
        studies(opened, Selection(), identify=True)
    doors = Doors(data)
    doors.set_password("bea", "viewer", "correct horse battery")
    doors.make_link("ann", "operator")
    made = [each for name in (FOLDER, "web") for each in ((data / name), *(data / name).rglob("*"))]
    assert len(made) == 6
    assert {each.stat().st_uid for each in made} == {12345}


def test_an_action_that_cannot_be_recorded_says_that_it_was_done(used: NodeFolder) -> None:
    (used.config.parent / "data" / FOLDER).write_text("a file in its place")
    with access(used.config, rules=True) as opened:
        with pytest.raises(AuditError, match="it was done, and is not recorded"):
            dismiss(opened, Selection(state="parked"))
        assert not deliveries(opened, Selection(state="parked"))


def test_what_cannot_be_undone_is_recorded_before(used: NodeFolder) -> None:
    audit = used.config.parent / "data" / FOLDER
    audit.write_text("a file in its place")
    chosen = Selection(state="unrouted")
    with access(used.config) as opened:
        with pytest.raises(AuditError, match="nothing is done"):
            purge(opened, chosen)
        assert len(images(opened, chosen)) == 1
        audit.unlink()
        assert purge(opened, chosen).images == 1
        assert [kind(each) for each in records(used)] == [("110103", "purge")]
