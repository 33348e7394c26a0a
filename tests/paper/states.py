"""States of a node for the renderers' tests, as `mapdr.operate.state` makes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from mapdr.operate.model import (
    Attention,
    Counted,
    Counts,
    Destination,
    EventText,
    ExtraCounts,
    FlowRates,
    NodeInfo,
    NodeState,
    Receiver,
    Webhooks,
)

AT = datetime(2026, 11, 23, 10, 42, 7).timestamp()

IDLE = Destination(
    name="telepacs",
    state="idle",
    reason="",
    comment="",
    fault="",
    queue=0,
    pending=0,
    leased=0,
    held=0,
    parked=0,
    parked_reasons={},
    uncompressed=0,
    oldest_seconds=None,
    rate=0.0,
    next_try_at=None,
    quiet_seconds=0.0,
)


def quiet() -> NodeState:
    """A node that has just started and has nothing to do."""
    return NodeState(
        at=AT,
        day="2026-11-23",
        node=NodeInfo(
            name="clinic-north",
            state="running",
            started_at=AT - 5,
            uptime_seconds=5.0,
            heartbeat_age_seconds=0.4,
            process=1,
            durability="power-loss",
            data="data",
            disk_free=182_000_000_000,
            receivers=[Receiver("modalities", "MAPDR", "0.0.0.0:11112", 0)],
        ),
        today=Counts({}, {"telepacs": {}}),
        repeats=ExtraCounts(0, {}),
        versions=ExtraCounts(0, {}),
        pending=0,
        parked=0,
        unrouted=0,
        rates=FlowRates(0.0, 0.0, 0.0, 0.0),
        destinations=[IDLE],
        webhooks=Webhooks(0, 0, []),
        attention=[],
        events=[EventText(AT - 5, "node.started", "info", "node started")],
    )


def busy() -> NodeState:
    """A node in the middle of a morning: one destination sends, one is down, one has parked images."""
    state = quiet()
    received = {
        "CT": Counted(12_804, 41),
        "MR": Counted(3_120, 12),
        "US": Counted(288, 9),
        "DX": Counted(64, 30),
        "SR": Counted(9, 9),
    }
    delivered = {
        "telepacs": {"CT": Counted(12_700, 41), "MR": Counted(3_120, 12)},
        "archive": {"CT": Counted(11_002, 38), "US": Counted(288, 9)},
        "research": {},
    }
    why = "connection refused 14 times; next try in 40 s"
    return replace(
        state,
        node=replace(
            state.node,
            uptime_seconds=8040.0,
            durability="process-crash",
            receivers=[Receiver("modalities", "MAPDR", "0.0.0.0:11112", 3)],
        ),
        today=Counts(received, delivered),
        pending=1_906,
        parked=5,
        unrouted=73,
        rates=FlowRates(42.4, 61.2, 22.1e6, 3.4e6),
        history={
            "received": [0, 0, 3, 8, 12, 20, 30, 42, 44, 40, 38, 42],
            "delivered": [0, 0, 0, 2, 10, 30, 60, 61, 61, 60, 61, 61],
        },
        destinations=[
            replace(IDLE, state="sending", queue=104, rate=61.2, oldest_seconds=4.0),
            replace(IDLE, name="archive", state="down", queue=1802, oldest_seconds=1260.0, comment=why),
            replace(IDLE, name="research", state="held", held=12, parked=5, comment="held by the operator"),
        ],
        attention=[
            Attention("down", "bad", f"archive is down: {why}"),
            Attention("parked", "bad", "5 images parked for research: value-too-long (3), codec-failed (2)"),
            Attention("unrouted", "warn", "73 images are unrouted: no rule takes them"),
        ],
        events=[
            EventText(AT - 60, "association.opened", "info", "CT1 opened an association"),
            EventText(AT - 40, "destination.waits", "bad", "archive went down: connection refused"),
            EventText(AT - 21, "images.parked", "bad", "an image was parked for research: value-too-long"),
            EventText(
                AT - 3, "study.delivered", "good", "a CT study of 320 images was delivered to telepacs"
            ),
        ],
    )
