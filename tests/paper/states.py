"""States of a node for the renderers' tests: plain dicts as `mapdr_cli.state` makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

AT = datetime(2026, 11, 23, 10, 42, 7).timestamp()


def quiet() -> dict[str, Any]:
    """A node that has just started and has nothing to do."""
    return {
        "at": AT,
        "node": {
            "name": "clinic-north",
            "version": "0.1.0",
            "state": "running",
            "uptime": 5.0,
            "heartbeat_age": 0.4,
            "durability": "power-loss",
            "disk_free": 182_000_000_000,
            "receivers": [
                {"name": "modalities", "ae_title": "MAPDR", "address": "0.0.0.0:11112", "associations": 0}
            ],
        },
        "today": {"date": "2026-11-23", "received": {}, "delivered": {"telepacs": {}}},
        "repeats": {"received": 0, "delivered": {}},
        "pending": 0,
        "parked": 0,
        "unrouted": 0,
        "rates": {"received": 0.0, "delivered": 0.0, "received_bytes": 0.0, "delivered_bytes": 0.0},
        "history": {},
        "destinations": [
            {
                "name": "telepacs",
                "state": "idle",
                "queue": 0,
                "rate": 0.0,
                "oldest": None,
                "held": 0,
                "parked": 0,
                "why": "",
            }
        ],
        "attention": [],
        "events": [{"at": AT - 5, "level": "info", "text": "node started"}],
    }


def busy() -> dict[str, Any]:
    """A node in the middle of a morning: one destination sends, one is down, one has parked images."""
    state = quiet()
    state["node"].update(uptime=8040.0, durability="process-crash")
    state["node"]["receivers"][0]["associations"] = 3
    state["today"]["received"] = {
        "CT": {"images": 12_804, "studies": 41},
        "MR": {"images": 3_120, "studies": 12},
        "US": {"images": 288, "studies": 9},
        "DX": {"images": 64, "studies": 30},
        "SR": {"images": 9, "studies": 9},
    }
    state["today"]["delivered"] = {
        "telepacs": {"CT": {"images": 12_700, "studies": 41}, "MR": {"images": 3_120, "studies": 12}},
        "archive": {"CT": {"images": 11_002, "studies": 38}, "US": {"images": 288, "studies": 9}},
        "research": {},
    }
    state.update(pending=1_906, parked=5, unrouted=73)
    state["rates"] = {"received": 42.4, "delivered": 61.2, "received_bytes": 22.1e6, "delivered_bytes": 3.4e6}
    state["history"] = {
        "received": [0, 0, 3, 8, 12, 20, 30, 42, 44, 40, 38, 42],
        "delivered": [0, 0, 0, 2, 10, 30, 60, 61, 61, 60, 61, 61],
    }
    row = state["destinations"][0]
    state["destinations"] = [
        {**row, "state": "sending", "queue": 104, "rate": 61.2, "oldest": 4.0},
        {
            **row,
            "name": "archive",
            "state": "down",
            "queue": 1802,
            "oldest": 1260.0,
            "why": "connection refused 14 times; next try in 40 s",
        },
        {**row, "name": "research", "state": "held", "held": 12, "parked": 5, "why": "held by the operator"},
    ]
    state["attention"] = [
        {"level": "bad", "text": "archive is down: connection refused 14 times; next try in 40 s"},
        {"level": "bad", "text": "5 images parked for research: value-too-long (3), codec-failed (2)"},
        {"level": "warn", "text": "73 images are unrouted: no rule takes them"},
    ]
    state["events"] = [
        {"at": AT - 60, "level": "info", "text": "CT1 opened an association"},
        {"at": AT - 40, "level": "bad", "text": "archive went down: connection refused"},
        {"at": AT - 21, "level": "bad", "text": "an image was parked for research: value-too-long"},
        {"at": AT - 3, "level": "good", "text": "a CT study of 320 images was delivered to telepacs"},
    ]
    return state
