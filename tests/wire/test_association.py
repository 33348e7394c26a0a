"""The state machine against PS3.8, tables 9-6 to 9-10, as pynetdicom has transcribed them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.fsm import ACTIONS as REFERENCE_ACTIONS
from pynetdicom.fsm import TRANSITION_TABLE

from mapdr.kernel.errors import LocalProtocolError
from mapdr.wire import pdu
from mapdr.wire.association import ACTIONS, TRANSITIONS, Association, Event, Send, State, Tell, pdu_event

OF_THE_PEER = {f"Evt{number}" for number in (3, 4, 6, 10, 12, 13, 16, 17, 19)}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_pair_is_the_standards(event: Event, state: State) -> None:
    expected = TRANSITION_TABLE.get((event.value, state.value))
    action = TRANSITIONS.get((event, state))
    assert (action.name if action else None) == expected


@pytest.mark.parametrize("name", REFERENCE_ACTIONS)
def test_every_action_leads_where_the_standard_says(name: str) -> None:
    next_states = set(re.findall(r"Sta\d+", str(REFERENCE_ACTIONS[name][2])))
    action = ACTIONS[name]
    ours = {action.next.value} | ({action.collision.value} if action.collision else set())
    # AE-6 may also end in Sta13: the driver goes there by Evt8 (see the table).
    assert ours == next_states - ({"Sta13"} if name == "AE-6" else set())


def test_there_are_no_other_actions() -> None:
    assert set(ACTIONS) == set(REFERENCE_ACTIONS)


@pytest.mark.parametrize(
    "state", [state for state in State if state not in (State.IDLE, State.AWAITING_TRANSPORT)]
)
@pytest.mark.parametrize("event", sorted(OF_THE_PEER))
def test_what_a_peer_does_always_has_an_answer(event: str, state: State) -> None:
    machine = Association(acceptor=True)
    machine.state = state
    machine.fire(Event(event))


@given(st.booleans(), st.lists(st.sampled_from(Event), max_size=40))
def test_no_sequence_of_events_breaks_it(acceptor: bool, events: list[Event]) -> None:
    machine = Association(acceptor=acceptor)
    for event in events:
        before = machine.state
        try:
            action = machine.fire(event)
        except LocalProtocolError:
            assert machine.state is before
            assert event.value not in OF_THE_PEER or before in (State.IDLE, State.AWAITING_TRANSPORT)
        else:
            assert machine.state in (action.next, action.collision)
            assert machine.last is action


def test_a_release_collision_differs_by_side() -> None:
    for acceptor, state in ((False, State.COLLISION_REQUESTOR_LOCAL), (True, State.COLLISION_ACCEPTOR_PEER)):
        machine = Association(acceptor=acceptor)
        machine.state = State.ESTABLISHED
        assert machine.fire(Event.RELEASE).send is Send.RELEASE
        assert machine.fire(Event.RELEASE_RECEIVED).tell is Tell.COLLISION
        assert machine.state is state


def test_p_data_may_arrive_during_release() -> None:
    machine = Association(acceptor=False)
    machine.state = State.ESTABLISHED
    machine.fire(Event.RELEASE)
    assert machine.fire(Event.DATA_RECEIVED).tell is Tell.DATA
    assert machine.state is State.AWAITING_RELEASE_REPLY


def test_unknown_pdu_types_are_evt19() -> None:
    known = {pdu_event(kind) for kind in range(1, 8)}
    assert Event.INVALID_RECEIVED not in known
    assert len(known) == 7
    assert {pdu_event(kind) for kind in (0, 8, 0x16, 0xFF)} == {Event.INVALID_RECEIVED}
    assert pdu_event(pdu.ABORT) is Event.ABORT_RECEIVED
