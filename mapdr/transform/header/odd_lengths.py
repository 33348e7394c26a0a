"""The `odd_lengths` step: whether an object leaves whose length is odd. It changes nothing.

What pads is no step: a pipeline does it to all that it gives, where it must (`mapdr.transform.even`).
"""

from __future__ import annotations

from typing import Literal

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Payload
from mapdr.kernel.stage import Factory, Settings
from mapdr.kernel.step import Changes, Memory, Phase, Reads

OddLengths = Literal["pad", "park"]


class OddLengthGate:
    """The `odd_lengths` step: what becomes of a data set whose length is odd; keeps no state."""

    phase = Phase.HEADER
    reads = Reads.HEADER
    changes = Changes.NOTHING
    copies = 0

    def __init__(self, config: OddLengths) -> None:
        self._parks = config == "park"

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        """The same payload. Raises Permanent(reason="odd-length") where the rule says "park"."""
        if self._parks and payload.length & 1:
            raise Permanent(
                "its length is odd, and some receivers end the association over that; "
                'odd_lengths = "pad" adds the byte that is missing',
                reason="odd-length",
            )
        return payload


def build(settings: Settings, config: OddLengths, next: None) -> OddLengthGate:
    """The transform for a node."""
    return OddLengthGate(config)


STAGE = Factory("transform", "odd_lengths", OddLengths, build, order=0)
