"""A clinic in the middle of a morning as `mapdr top` finds it: for its tests, and for the pictures of it.

Every name and number is invented.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mapdr.kernel.item import Source
from mapdr.operate.cures import cure
from mapdr.operate.images import Image
from mapdr.operate.model import Attention, EventText, LastHour, NodeState, Sender
from mapdr.operate.parked import ParkedGroup
from mapdr.operate.selection import Selection
from mapdr.operate.studies import Standing, Study
from mapdr.operate.timeline import Promise, Step, Timeline
from mapdr_cli.top.found import Found, Row
from mapdr_cli.top.place import Place, View
from paper import states

AT = states.AT
ROOT = "1.2.826.0.1.3680043.10.543"
PATIENT = "QX-4711-QX"
"""A value that identifies somebody, as no test wants to see it."""

SOURCES = {
    name: Source("modalities", name, "MAPDR", address)
    for name, address in (("CT1", "10.1.2.7"), ("MR2", "10.1.2.9"), ("US_ER", "10.1.2.21"))
}


def state() -> NodeState:
    """The node: one destination sends, one refuses, one waits for its hours."""
    wave = [0.4, 0.8, 1.9, 2.6, 3.4, 4.1, 3.3, 2.2, 1.1, 0.6, 1.4, 2.9]
    sending, down, held = states.busy().destinations
    return replace(
        states.busy(),
        node=replace(states.busy().node, uptime_seconds=6 * 86400.0, durability="power-loss"),
        destinations=[
            replace(sending, queue=21, rate=3.0, parked=3, parked_reasons={"refused": 3}),
            replace(down, name="archive", state="idle", queue=0, comment="", oldest_seconds=None),
            replace(
                held,
                name="research",
                state="waiting",
                reason="window",
                queue=214,
                held=0,
                parked=0,
                oldest_seconds=7200.0,
                closed_until=AT + 26_273.0,
                comment="outside its hours until Mon 18:00, in 7 h 17 min",
            ),
        ],
        parked=3,
        unrouted=0,
        history={
            "received": [5 * each for each in wave],
            "delivered": [4 * each for each in wave],
        },
        last_hour=LastHour(
            {"CT1": [*wave[2:], *wave[:2]] * 5, "US_ER": [0, 0.1, 0, 0, 0.3] * 12},
            {"telepacs": wave * 5, "archive": [*wave[3:], *wave[:3]] * 5},
        ),
        attention=[
            Attention("parked", "bad", "3 images parked for telepacs: refused (3)"),
            Attention(
                "source-silent",
                "bad",
                "modalities: MR2 is silent: its last image came Mon 05:40 (2026-11-23)",
            ),
        ],
        senders=[
            Sender("CT1", ["modalities"], 5136, AT - 1, False),
            Sender("US_ER", ["modalities"], 218, AT - 244, False),
            Sender("MR2", ["modalities"], 2908, AT - 18_120, True),
        ],
        events=[
            EventText(AT - 1200, "operator.acted", "info", "anna: release destination research"),
            EventText(AT - 640, "images.parked", "bad", "3 images were parked for telepacs: refused, 0xA900"),
            EventText(AT - 320, "source.silent", "bad", "modalities: MR2 has sent nothing for 4 h"),
            EventText(AT - 12, "study.delivered", "good", "a study of 312 images was delivered to archive"),
            EventText(
                AT - 3, "association.broken", "warn", "modalities: the association of US_ER ended: aborted"
            ),
        ],
    )


def studies(*, identify: bool = False) -> list[Study]:
    """Twelve of them: one with parked images, one that no rule takes, the others whole or on their way."""
    found = []
    for number, (modality, images, source) in enumerate(
        [("CT", 312, "CT1"), ("US", 24, "US_ER"), ("MR", 180, "MR2"), ("CT", 96, "CT1")] * 3
    ):
        delivered = [Standing("delivered", "", images)]
        destinations = {"archive": delivered, "telepacs": delivered}
        if number == 0:
            destinations["telepacs"] = [
                Standing("delivered", "", 288),
                Standing("pending", "", 21),
                Standing("parked", "refused", 3),
            ]
        if number == 3:
            destinations["research"] = [Standing("pending", "", images)]
        unrouted = number == 5
        found.append(
            Study(
                study_instance_uid=f"{ROOT}.{4100 - number}.77",
                study_date="20261123" if identify else None,
                first_at=AT - 900 * number - 420,
                last_at=AT - 900 * number - 20,
                images=images,
                series=2 + number % 3,
                bytes=images * 524_000,
                modalities={modality: images},
                unrouted=images if unrouted else 0,
                sources=[SOURCES[source]],
                destinations={} if unrouted else destinations,
                tags={"AccessionNumber": f"A{2600 + number}", "PatientID": PATIENT} if identify else None,
            )
        )
    return found


def images() -> list[Image]:
    """The images of the study with the parked ones, the newest first."""
    found = []
    for number in range(312):
        telepacs = "parked" if number in (2, 5, 6) else "pending" if number < 24 else "delivered"
        found.append(
            Image(
                instance=f"{number:032x}",
                study_instance_uid=f"{ROOT}.4100.77",
                series_instance_uid=f"{ROOT}.4100.77.{1 + number // 160}",
                sop_instance_uid=f"{ROOT}.4100.77.1.{312 - number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                modality="CT",
                source=SOURCES["CT1"],
                bytes=524_288,
                received_at=AT - 20 - number,
                kind="first",
                revision="r1",
                unrouted=False,
                purged_at=None,
                destinations={"archive": "delivered", "telepacs": telepacs},
            )
        )
    return found


def timeline() -> Timeline:
    """The way of an image that telepacs refuses."""
    image = images()[2]
    came = image.received_at

    def step(later: float, kind: str, to: str, status: int, *sent: Any) -> Step:
        refused = status == 0xA900
        word = "delivered" if not refused else "refused" if kind == "attempt" else "parked"
        said = "data set does not match SOP class (0xA900)" if refused else "success (0x0000)"
        reason = "refused" if refused else ""
        return Step(came + later, kind, image.instance, to, 0, word, status, reason, said, *sent)

    return Timeline(
        images=[image],
        promises=[
            Promise(
                image.instance,
                "telepacs",
                0,
                "parked",
                "refused",
                ["CT and MR to teleradiology"],
                "h1",
                [{"type": "tags"}, {"type": "compress"}],
            ),
            Promise(image.instance, "archive", 0, "delivered", "", ["all to the archive"], "h2", []),
        ],
        steps=[
            Step(came, "received", image.instance, "", 0, "", None, "", ""),
            step(0.4, "attempt", "archive", 0x0000, 6, 524_288, "relayed"),
            step(0.4, "settled", "archive", 0x0000),
            *(
                step(later, "attempt", "telepacs", 0xA900, 38, 51_904, "compressed")
                for later in (0.8, 10.8, 31.2)
            ),
            step(31.2, "settled", "telepacs", 0xA900),
        ],
    )


def parked() -> list[ParkedGroup]:
    """What is parked, by reason."""
    return [
        ParkedGroup("refused", cure("refused"), 3, {"telepacs": 3}, AT - 640, AT - 610),
        ParkedGroup("value-too-long", cure("value-too-long"), 2, {"archive": 2}, AT - 90_000, AT - 86_000),
    ]


def place(view: View) -> Place:
    """A place with that view."""
    chosen = {
        View.IMAGES: Selection(study_instance_uid=studies()[0].study_instance_uid),
        View.TIMELINE: Selection(
            study_instance_uid=studies()[0].study_instance_uid, sop_instance_uid=images()[2].sop_instance_uid
        ),
    }
    return Place(view, chosen.get(view, Selection()))


def found(where: Place, *, identify: bool = False) -> Found:
    """What is found at a place."""
    rows: dict[View, list[Row]] = {
        View.STUDIES: [*studies(identify=identify)],
        View.IMAGES: [*images()],
        View.TIMELINE: [timeline()],
        View.PARKED: [*parked()],
    }
    now = state()
    return Found(where.query, now, rows.get(where.view, []), "", now.events, identify)
