"""What an acceptor takes: all storage, in the requestor's order of preference."""

from __future__ import annotations

import pytest
from pynetdicom import sop_class

from mapdr.wire.contexts import answer_roles, choose, is_storage, negotiate
from mapdr.wire.pdu import Context

ILE, ELE, EBE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
J2K = "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize("uid", sorted(sop_class._STORAGE_CLASSES.values()))
def test_every_storage_class_of_pynetdicom_is_storage(uid: str) -> None:
    assert is_storage(uid)


@pytest.mark.parametrize(
    "uid",
    [
        *sop_class._QR_CLASSES.values(),
        *sop_class._BASIC_WORKLIST_CLASSES.values(),
        *sop_class._STORAGE_COMMITMENT_CLASSES.values(),
        *sop_class._PRINT_MANAGEMENT_CLASSES.values(),
        *sop_class._PROCEDURE_STEP_CLASSES.values(),
        *sop_class._MEDIA_STORAGE_CLASSES.values(),
        *sop_class._UNIFIED_PROCEDURE_STEP_CLASSES.values(),
        "1.2.840.10008.4.2",
        ILE,
        "",
        "not a uid",
        "1" * 65,
    ],
)
def test_other_services_are_not(uid: str) -> None:
    assert not is_storage(uid)


@pytest.mark.parametrize("uid", ["1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.999", "1.2.840.113619.4.27"])
def test_private_and_future_classes_are_storage(uid: str) -> None:
    assert is_storage(uid)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((ILE, ELE), ILE),
        ((J2K, ELE), J2K),
        ((EBE, ILE), ILE),
        ((EBE,), EBE),
        (("1.2.840.113619.5.2",), "1.2.840.113619.5.2"),
        (("1.2.840.10008.1.1", ELE), ELE),
        (("", "x"), None),
        ((), None),
    ],
)
def test_the_requestors_first_is_chosen(offered: tuple[str, ...], chosen: str | None) -> None:
    assert choose(offered) == chosen


def test_every_context_has_an_answer_of_its_own() -> None:
    proposed = (
        Context(1, "1.2.840.10008.1.1", (ILE,)),
        Context(3, "1.2.840.10008.5.1.4.1.2.2.1", (ILE,)),
        Context(5, "1.2.840.10008.5.1.4.1.1.2", ()),
        Context(7, "1.2.3.4.5", (J2K,)),
    )
    assert [(result.id, result.result) for result in negotiate(proposed)] == [(1, 0), (3, 3), (5, 4), (7, 0)]


def test_the_requestor_may_be_scu_only() -> None:
    assert answer_roles({"1.2": (True, True), "1.3": (False, True)}) == {
        "1.2": (True, False),
        "1.3": (False, False),
    }
