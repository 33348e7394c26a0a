"""The association state machine of PS3.8, section 9.2, as tables and without I/O.

`TRANSITIONS` is table 9-10: (event, state) to action; `ACTIONS` is tables 9-6 to 9-9: what each action sends,
tells the user, does to the ARTIM timer and the connection, and which state follows. Everything that decides
a transition stands in this file. The names are the standard's: Sta6, Evt10, AE-2.

The driver (`link`) feeds `Association.fire` with what happened and does what the returned `Action` says. In
Sta6 the P-DATA path of `mapdr._fast` moves messages on its own: Evt9 and Evt10 are self-loops there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from mapdr.kernel.errors import LocalProtocolError
from mapdr.wire import pdu


class State(StrEnum):
    """PS3.8, tables 9-1 to 9-5."""

    IDLE = "Sta1"
    AWAITING_REQUEST = "Sta2"
    AWAITING_LOCAL_ACCEPT = "Sta3"
    AWAITING_TRANSPORT = "Sta4"
    AWAITING_ACCEPT = "Sta5"
    ESTABLISHED = "Sta6"
    AWAITING_RELEASE_REPLY = "Sta7"
    AWAITING_LOCAL_RELEASE = "Sta8"
    COLLISION_REQUESTOR_LOCAL = "Sta9"
    COLLISION_ACCEPTOR_PEER = "Sta10"
    COLLISION_REQUESTOR_PEER = "Sta11"
    COLLISION_ACCEPTOR_LOCAL = "Sta12"
    AWAITING_CLOSE = "Sta13"


class Event(StrEnum):
    """The rows of PS3.8, table 9-10."""

    REQUEST = "Evt1"
    TRANSPORT_OPEN = "Evt2"
    ACCEPT_RECEIVED = "Evt3"
    REJECT_RECEIVED = "Evt4"
    TRANSPORT_INDICATION = "Evt5"
    REQUEST_RECEIVED = "Evt6"
    ACCEPT = "Evt7"
    REJECT = "Evt8"
    DATA = "Evt9"
    DATA_RECEIVED = "Evt10"
    RELEASE = "Evt11"
    RELEASE_RECEIVED = "Evt12"
    RELEASE_REPLY_RECEIVED = "Evt13"
    RELEASE_REPLY = "Evt14"
    ABORT = "Evt15"
    ABORT_RECEIVED = "Evt16"
    TRANSPORT_CLOSED = "Evt17"
    ARTIM_EXPIRED = "Evt18"
    INVALID_RECEIVED = "Evt19"


class Send(StrEnum):
    """What an action sends."""

    REQUEST = "A-ASSOCIATE-RQ"
    ACCEPT = "A-ASSOCIATE-AC"
    REJECT = "A-ASSOCIATE-RJ"
    DATA = "P-DATA-TF"
    RELEASE = "A-RELEASE-RQ"
    RELEASE_REPLY = "A-RELEASE-RP"
    USER_ABORT = "A-ABORT (service user)"
    PROVIDER_ABORT = "A-ABORT (service provider)"


class Tell(StrEnum):
    """What an action tells the user of the association."""

    ACCEPTED = "A-ASSOCIATE confirmation (accept)"
    REJECTED = "A-ASSOCIATE confirmation (reject)"
    REQUESTED = "A-ASSOCIATE indication"
    DATA = "P-DATA indication"
    RELEASE = "A-RELEASE indication"
    COLLISION = "A-RELEASE indication (release collision)"
    RELEASED = "A-RELEASE confirmation"
    ABORTED = "A-ABORT indication"
    PROVIDER_ABORTED = "A-P-ABORT indication"


class Artim(StrEnum):
    """What an action does to the ARTIM timer."""

    START = "start"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Action:
    """One action: what to do, in the order of the fields, and the next state.

    `collision` is the next state of AR-8 when this side is the acceptor. `opens` asks for a transport
    connection, `closes` ends it.
    """

    name: str
    next: State
    opens: bool = False
    send: Send | None = None
    tell: Tell | None = None
    artim: Artim | None = None
    closes: bool = False
    collision: State | None = None


_START, _STOP = Artim.START, Artim.STOP
_S1, _S2, _S3, _S4, _S5, _S6, _S7, _S8, _S9, _S10, _S11, _S12, _S13 = State

ACTIONS = MappingProxyType(
    {
        action.name: action
        for action in (
            Action("AE-1", _S4, opens=True),
            Action("AE-2", _S5, send=Send.REQUEST),
            Action("AE-3", _S6, tell=Tell.ACCEPTED),
            Action("AE-4", _S1, tell=Tell.REJECTED, closes=True),
            Action("AE-5", _S2, artim=_START),
            # AE-6 goes to Sta3, or to Sta13 with an A-ASSOCIATE-RJ when the provider cannot accept the
            # request; the driver asks for that with Evt8 from Sta3: the same bytes, the same state after.
            Action("AE-6", _S3, tell=Tell.REQUESTED, artim=_STOP),
            Action("AE-7", _S6, send=Send.ACCEPT),
            Action("AE-8", _S13, send=Send.REJECT, artim=_START),
            Action("DT-1", _S6, send=Send.DATA),
            Action("DT-2", _S6, tell=Tell.DATA),
            Action("AR-1", _S7, send=Send.RELEASE),
            Action("AR-2", _S8, tell=Tell.RELEASE),
            Action("AR-3", _S1, tell=Tell.RELEASED, closes=True),
            Action("AR-4", _S13, send=Send.RELEASE_REPLY, artim=_START),
            Action("AR-5", _S1, artim=_STOP),
            Action("AR-6", _S7, tell=Tell.DATA),
            Action("AR-7", _S8, send=Send.DATA),
            Action("AR-8", _S9, tell=Tell.COLLISION, collision=_S10),
            Action("AR-9", _S11, send=Send.RELEASE_REPLY),
            Action("AR-10", _S12, tell=Tell.RELEASED),
            Action("AA-1", _S13, send=Send.USER_ABORT, artim=_START),
            Action("AA-2", _S1, artim=_STOP, closes=True),
            Action("AA-3", _S1, tell=Tell.ABORTED, closes=True),
            Action("AA-4", _S1, tell=Tell.PROVIDER_ABORTED),
            Action("AA-5", _S1, artim=_STOP),
            Action("AA-6", _S13),
            Action("AA-7", _S13, send=Send.PROVIDER_ABORT),
            Action("AA-8", _S13, send=Send.PROVIDER_ABORT, tell=Tell.PROVIDER_ABORTED, artim=_START),
        )
    }
)
"""PS3.8, tables 9-6 to 9-9."""

_STATES = tuple(State)
_BLANK = "-"

# Rows: events; columns: Sta1 to Sta13. A blank cannot happen, or is a fault of this side's user.
_TABLE = """
Evt1  AE-1 -    -    -    -    -    -    -    -    -     -    -    -
Evt2  -    -    -    AE-2 -    -    -    -    -    -     -    -    -
Evt3  -    AA-1 AA-8 -    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt4  -    AA-1 AA-8 -    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt5  AE-5 -    -    -    -    -    -    -    -    -     -    -    -
Evt6  -    AE-6 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
Evt7  -    -    AE-7 -    -    -    -    -    -    -     -    -    -
Evt8  -    -    AE-8 -    -    -    -    -    -    -     -    -    -
Evt9  -    -    -    -    -    DT-1 -    AR-7 -    -     -    -    -
Evt10 -    AA-1 AA-8 -    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt11 -    -    -    -    -    AR-1 -    -    -    -     -    -    -
Evt12 -    AA-1 AA-8 -    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt13 -    AA-1 AA-8 -    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3 AA-8 AA-6
Evt14 -    -    -    -    -    -    -    AR-4 AR-9 -     -    AR-4 -
Evt15 -    -    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1 AA-1 -
Evt16 -    AA-2 AA-3 -    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3 AA-3 AA-2
Evt17 -    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4 AA-4 AR-5
Evt18 -    AA-2 -    -    -    -    -    -    -    -     -    -    AA-2
Evt19 -    AA-1 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
"""

TRANSITIONS = MappingProxyType(
    {
        (Event(event), state): ACTIONS[cell]
        for event, *cells in (line.split() for line in _TABLE.split("\n") if line)
        for state, cell in zip(_STATES, cells, strict=True)
        if cell != _BLANK
    }
)
"""PS3.8, table 9-10."""

PDU_EVENTS = MappingProxyType(
    {
        pdu.ASSOCIATE_RQ: Event.REQUEST_RECEIVED,
        pdu.ASSOCIATE_AC: Event.ACCEPT_RECEIVED,
        pdu.ASSOCIATE_RJ: Event.REJECT_RECEIVED,
        pdu.P_DATA: Event.DATA_RECEIVED,
        pdu.RELEASE_RQ: Event.RELEASE_RECEIVED,
        pdu.RELEASE_RP: Event.RELEASE_REPLY_RECEIVED,
        pdu.ABORT: Event.ABORT_RECEIVED,
    }
)
"""PDU type to event; every other type is Evt19."""


class Association:
    """The state of one association. `acceptor` is which side of it this is."""

    def __init__(self, *, acceptor: bool) -> None:
        self.acceptor = acceptor
        self.state = State.IDLE
        self.last: Action | None = None

    def fire(self, event: Event) -> Action:
        """Take the transition for `event` and return what to do.

        Raises LocalProtocolError when the standard has no such transition: a fault of this side, for what a
        peer sends has one in every state that has a connection.
        """
        action = TRANSITIONS.get((event, self.state))
        if action is None:
            raise LocalProtocolError(f"{event.value} ({event.name}) cannot happen in {self.state.value}")
        self.state = action.collision if action.collision is not None and self.acceptor else action.next
        self.last = action
        return action

    def can(self, event: Event) -> bool:
        """Whether the standard has a transition for `event` in this state."""
        return (event, self.state) in TRANSITIONS

    @property
    def idle(self) -> bool:
        """Whether there is no connection any more, or not yet (Sta1)."""
        return self.state is State.IDLE

    @property
    def established(self) -> bool:
        """Whether DIMSE messages may be exchanged (Sta6)."""
        return self.state is State.ESTABLISHED

    @property
    def over(self) -> bool:
        """Whether the association is at its end: no connection, or only its close is awaited."""
        return self.state in (State.IDLE, State.AWAITING_CLOSE)


def pdu_event(pdu_type: int) -> Event:
    """The event that a received PDU of this type is."""
    return PDU_EVENTS.get(pdu_type, Event.INVALID_RECEIVED)
