"""Nothing that identifies a patient is printed, whatever becomes of the image."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset

from mapdr.testing.generator import EXPLICIT, encode, study
from peers.marks import Marks
from peers.node import Node, delivered, destination
from peers.part10 import MemoryObject
from peers.rawsender import RawSender
from peers.rawsink import Answer, RawSink

ASKED = (("status",), ("status", "--json"), ("deliveries",), ("deliveries", "--json"), ("top", "--once"))


def marked(marks: Marks, number: int, **other: str) -> MemoryObject:
    """A CT image with every mark in it."""
    (image,) = study("CT", seed=number, images=1, size=(64, 64))
    data_set = pydicom.dcmread(BytesIO(image.part10()))
    data_set.SpecificCharacterSet = "ISO_IR 100"
    for keyword, value in {**marks.values, **other}.items():
        setattr(data_set, keyword, value)
    plain = Dataset()
    plain.update({element.tag: element for element in data_set})
    return MemoryObject(image.sop_class_uid, image.sop_instance_uid, EXPLICIT, encode(plain, EXPLICIT))


@pytest.mark.timeout(180)
def test_no_output_holds_a_marked_value(marks: Marks, make_node: Callable[..., Node]) -> None:
    items = [marked(marks, number) for number in range(6)]
    refused = items[1].sop_instance_uid
    rules = [
        {"name": "as it is", "when": {}, "send_to": ["pacs"]},
        {
            "name": "does not fit",
            "when": {},
            "send_to": ["parked"],
            "tags": [{"suffix": "AccessionNumber", "with": "-" + "9" * 20}],
        },
        {
            "name": "not in the table",
            "when": {},
            "send_to": ["unknown"],
            "tags": [
                {"upper": "PatientName", "if": {"PatientID": "nobody"}},
                {"map": "PatientID", "table": {"nobody": "somebody"}},
            ],
        },
        {
            "name": "no date",
            "when": {},
            "send_to": ["undated"],
            "tags": [
                {"replace": "PatientID", "pattern": ".", "with": r"2024\0"},
                {"copy": "PatientID", "to": "PatientBirthDate"},
            ],
        },
        {"name": "small", "when": {}, "send_to": ["small"], "compress": {"to": "jpeg2000", "ratio": 10}},
        {
            "name": "renamed",
            "when": {},
            "send_to": ["renamed"],
            "tags": [{"set": "PatientID", "to": "{AccessionNumber}-{PatientID}"}],
        },
        {
            "name": "by name",
            "when": {"PatientName": "re:.*NAME.*", "PatientID": "nobody"},
            "send_to": ["pacs"],
        },
    ]
    names = ("pacs", "parked", "small", "renamed", "unknown", "undated")
    with RawSink(lambda request: Answer(0xC000 if request.sop_instance_uid == refused else 0)) as sink:
        table = destination(sink.port, retry={"first": "100 ms", "factor": 1.0, "tries": 2})
        node = make_node(egress=dict.fromkeys(names, table), rules=rules).start()
        with RawSender(node.port, [(items[0].sop_class_uid, EXPLICIT)]) as sender:
            assert [sender.store(item) for item in items[:3]] == [0, 0, 0]
            whole = items[3].data_set()
            damaged = {
                "cut in the header": whole[:400],
                "cut in the pixels": whole[:-1000],
                "a length beyond the end": whole[:200] + b"\xff" * 4 + whole[204:],
            }
            for number, data in enumerate(damaged.values()):
                sender.store_bytes(
                    items[3].sop_class_uid, f"{items[3].sop_instance_uid}.{number}", EXPLICIT, data
                )
            sender.store_bytes(items[4].sop_class_uid, "2.25.4711", EXPLICIT, items[4].data_set())
        torn = RawSender(node.port, [(items[0].sop_class_uid, EXPLICIT)])
        torn.begin(items[5].sop_class_uid, items[5].sop_instance_uid, EXPLICIT)
        torn.connection.sendall(items[5].data_set()[:2000])
        torn.close()
        status = node.when_settled(3)
        assert delivered(status, "renamed") >= 2, "the marks must have passed through"
        assert status["parked"] >= 9
        for words in ASKED:
            node.command_apart(*words)
    assert node.stop() == 0
    printed = node.output()
    assert len(printed) > 500
    assert not marks.found(printed)


def test_the_guard_sees_a_mark(marks: Marks) -> None:
    assert marks.found("patient QXPATIENTIDQX was sent") == ["PatientID"]
    assert marks.found("nothing of the kind") == []
