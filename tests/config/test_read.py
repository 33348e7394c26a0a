"""Reading a whole configuration."""

from __future__ import annotations

from pathlib import Path

from mapdr.config.read import read_text
from mapdr.node.plan import make_plan

from .fakes import Egress, fake_registry

EXAMPLE = """
[node]
name = "clinic-north"

[receive.modalities]
type = "dicom"
port = 11112
allow = [{ ae_title = "CT1", host = "10.1.2.0/24" }]

[egress.telepacs]
type = "dicom"
ae_title = "TELEPACS"
host = "203.0.113.7"
port = 2762
bandwidth = "20 Mbit/s"

[[rule]]
name = "CT and MR"
when = { Modality = ["CT", "MR"], StationName = "ER*" }
compress = { to = "jpeg2000" }
tags = [{ set = "InstitutionName", to = "Clinic North" }]
send_to = ["telepacs"]
"""


def test_an_example_is_read_whole():
    loaded = read_text(EXAMPLE, fake_registry(), base=Path("/etc/mapdr"))
    assert loaded.problems == ()
    config = loaded.config
    assert config is not None
    assert config.node.data == Path("/etc/mapdr/mapdr-data")
    assert config.egress["telepacs"].config == Egress(
        ae_title="TELEPACS", host="203.0.113.7", port=2762, bandwidth=2_500_000.0
    )
    assert config.rule[0].recipe == {
        "steps": [
            {
                "type": "tags",
                "config": [{"set": "InstitutionName", "to": "Clinic North", "overflow": "error"}],
            },
            {"type": "compress", "config": {"to": "jpeg2000", "ratio": 10.0}},
        ]
    }
    assert make_plan(config, fake_registry()).problems == ()
