"""What a peer did, in plain words: for logs, tables and errors."""

from __future__ import annotations

from mapdr.wire import pdu

_REJECT_RESULTS = {1: " for good", 2: " for now"}
_REJECT_REASONS: dict[tuple[int, int], str] = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given by its protocol layer",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded: too many associations",
}


def rejection(reject: pdu.AssociateReject) -> str:
    """A rejection in plain words (PS3.8, table 9-21)."""
    reason = _REJECT_REASONS.get(
        (reject.source, reject.reason), f"source {reject.source}, reason {reject.reason}"
    )
    return f"the peer rejected the association{_REJECT_RESULTS.get(reject.result, '')}: {reason}"


_ABORT_REASONS = {
    0: "no reason given",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}


def abortion(abort: pdu.Abort) -> str:
    """An A-ABORT in plain words (PS3.8, table 9-26)."""
    if abort.source == 0:
        return "the peer aborted the association"
    reason = _ABORT_REASONS.get(abort.reason, f"reason {abort.reason}")
    return f"the peer's protocol layer aborted the association: {reason}"
