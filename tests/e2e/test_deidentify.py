"""De-identified images through a node: what a receiver gets and is told, what is parked and printed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset

from mapdr.dicom.deidentify.keys import Key
from mapdr.testing.generator import EXPLICIT, encode, study
from mapdr.testing.wait import until
from peers.httpd import Asked, Httpd, Said, serving
from peers.marks import Marks
from peers.node import Node, delivered, destination
from peers.part10 import MemoryObject
from peers.processes import LOOPBACK, free_port
from peers.rawsender import RawSender
from peers.rawsink import RawSink

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ASKED = (
    ("status",),
    ("deliveries",),
    ("studies",),
    ("changes", "--modality", "CT", "--kept"),
    ("report",),
    ("webhooks", "list"),
    ("webhooks", "show"),
)
EVENTS = ["study.received", "study.updated", "study.delivered", "delivery.parked"]
PAYLOAD = {
    "event": "{event}",
    "reason": "{reason}",
    "series": [{"each": "series", "uid": "{SeriesInstanceUID}", "images": "{images}"}],
}
"""What a hook may ask for that identifies nobody."""
KEY = Key(bytes.fromhex("ab" * 32))


def marked(marks: Marks, number: int, sop_class: str = "") -> MemoryObject:
    """A CT image with every mark in it, at the top and in a sequence."""
    (image,) = study("CT", seed=number, images=1, size=(64, 64))
    data_set = pydicom.dcmread(BytesIO(image.part10()))
    inner = Dataset()
    for keyword, value in marks.values.items():
        setattr(data_set, keyword, value)
        setattr(inner, keyword, value)
    data_set.ReferencedSeriesSequence = [inner]
    data_set.private_block(0x0009, "SOMEBODY", create=True).add_new(1, "LO", marks.values["PatientID"])
    data_set.SOPClassUID = sop_class or data_set.SOPClassUID
    plain = Dataset()
    plain.update({element.tag: element for element in data_set})
    return MemoryObject(str(data_set.SOPClassUID), image.sop_instance_uid, EXPLICIT, encode(plain, EXPLICIT))


@pytest.mark.timeout(180)
def test_no_mark_leaves_the_node_and_none_is_printed(
    marks: Marks, make_node: Callable[..., Node], tmp_path: Path
) -> None:
    (tmp_path / "trial.key").write_text("ab" * 32)
    (tmp_path / "patients.csv").write_text("patient_id,pseudonym\nsomebody,TRIAL-1\n")
    steps = {"profile": "basic", "options": ["modified-dates"], "key": f"file:{tmp_path / 'trial.key'}"}
    from_file = {**steps, "pseudonyms": {"file": str(tmp_path / "patients.csv")}}
    rules = [
        {"name": "for the trial", "when": {}, "send_to": ["trial"], "deidentify": steps},
        {"name": "not in the file", "when": {}, "send_to": ["other"], "deidentify": from_file},
    ]
    first, second = marked(marks, 0), marked(marks, 1)
    capture = marked(marks, 2, SECONDARY_CAPTURE)
    port = free_port()

    def rude(asked: Asked) -> Said:
        return Said(400, f"nobody here is called {marks.values['PatientName']}".encode())

    with (
        RawSink(keep_data=True) as sink,
        serving(lambda asked: Said(204)) as ris,
        serving(rude) as refuses,
    ):
        table = destination(sink.port)
        hooks = {
            "ris": {"url": ris.url, "on": EVENTS},
            "refuses": {"url": refuses.url, "on": EVENTS, "payload": PAYLOAD},
        }
        node = make_node(
            egress={"trial": table, "other": table}, rules=rules, webhook=hooks, web={"port": port}
        ).start()
        classes = [(each, EXPLICIT) for each in (first.sop_class_uid, SECONDARY_CAPTURE)]
        with RawSender(node.port, classes) as sender:
            assert [sender.store(each) for each in (first, second, capture)] == [0, 0, 0]
        status = node.when_settled(3)
        assert (delivered(status, "trial"), delivered(status, "other")) == (2, 0)
        assert status["parked"] == 4
        rows = node.json("deliveries")["deliveries"]
        until(lambda: told_of(ris) >= {"study.received", "study.delivered", "delivery.parked"}, 60)
        until(lambda: refuses.asked, 60)
        metrics = httpx.get(f"http://{LOOPBACK}:{port}/metrics").raise_for_status().text
        came = tmp_path / "came.dcm"
        came.write_bytes(first.part10())
        for words in ASKED:
            node.command(*words)
        node.command("explain", str(came), expect=1)  # the second rule would park it
        node.command("support", str(tmp_path / "support.zip"))
    expected = {KEY.uid(each.sop_instance_uid) for each in (first, second)}
    assert {each.sop_instance_uid for each in sink.received} == expected
    assert {row["sent_sop_instance_uid"] for row in rows if row["state"] == "delivered"} == expected
    reasons = {row["reason"] for row in rows if row["state"] == "parked"}
    assert reasons == {"burned-in-text", "pseudonym"}
    for received in sink.received:
        text = received.data.decode("latin-1")
        marks.assert_absent(text)
        assert first.sop_instance_uid not in text
        assert second.sop_instance_uid not in text
    assert node.stop() == 0
    with zipfile.ZipFile(tmp_path / "support.zip") as bundle:
        told = [bundle.read(name).decode("utf-8", "replace") for name in bundle.namelist()]
    marks.assert_absent(node.output(), metrics, *told, *said_to(ris), *said_to(refuses))


def told_of(server: Httpd) -> set[str]:
    """The events that a webhook was told of."""
    return {json.loads(asked.body)["type"] for asked in list(server.asked)}


def said_to(server: Httpd) -> list[str]:
    """All that a webhook was sent: paths, headers and bodies."""
    return [f"{asked.path} {asked.headers} {asked.body.decode()}" for asked in server.asked]
