"""What dciodvfy (dicom3tools) says of images that were derived."""

from __future__ import annotations

import re

_OF_ORIGINALS = re.compile(
    r"Attribute present when condition unsatisfied.*Module=<(MRPulseSequence|BulkMotionSynchronization)>"
)


def is_of_an_original(line: str) -> bool:
    """Whether a complaint is that a derived image keeps what an original one has to have.

    Of the MR Pulse Sequence module PS3.3, table C.8-87, says that it *may be present otherwise*, which
    dciodvfy does not know. It holds Bulk Motion Compensation Technique to the same condition; that module has
    not been read in the standard (docs/known-limits.md).
    """
    return _OF_ORIGINALS.search(line) is not None
