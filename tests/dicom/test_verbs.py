"""The table of verbs: one entry is a verb of rules, of the plan and of the tree, at every depth."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydicom.dataset import Dataset

from mapdr.config.validate import keys_of
from mapdr.dicom.edit.plan import EditPlan
from mapdr.dicom.edit.target import Everywhere, Private, Target
from mapdr.dicom.edit.tree import apply_edits
from mapdr.dicom.edit.value import Items, parse_content
from mapdr.dicom.edit.verbs import (
    EMPTY,
    PREFIX,
    REMOVE,
    SET,
    SET_IF_MISSING,
    VERBS,
    Edit,
    Takes,
    Verb,
    each_value,
)
from mapdr.dicom.path import keyword_tag
from mapdr.dicom.path import parse_edit_path as path
from mapdr.dicom.template import Template
from mapdr.dicom.uids import derived_uid
from mapdr.kernel.errors import Permanent
from mapdr.transform.header.tags import edit_config

from .datasets import EXPLICIT, IMPLICIT, SYNTAXES, ct, decode, different, element, encode, flat, item
from .test_plan import edits

text = Template.parse
each_syntax = pytest.mark.parametrize("syntax", SYNTAXES)
each_length = pytest.mark.parametrize("undefined", [False, True])


def applied(data: Dataset, syntax: str, *steps: Edit) -> Dataset:
    """The data set with the edits, which left it as pydicom would write it."""
    done = apply_edits(encode(data, syntax), syntax, steps)
    again = apply_edits(done.header, syntax, steps)
    assert again.header == done.header, "a second time changes more"
    assert encode(decode(done.header, syntax), syntax) == done.header
    return decode(done.header, syntax)


# --- One entry of the table

SHOUT = Verb(
    "shout",
    Takes.NOTHING,
    frozenset({"CS", "LO", "PN", "SH"}),
    each_value(lambda value, _: value.upper()),
    frozenset({"value-too-long"}),
)
PAD = Verb(
    "pad", Takes.TEXT, frozenset({"SH"}), each_value(lambda value, fill: value.rjust(6, fill[0])), frozenset()
)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_new_verb_is_carried_out_by_both_back_ends(syntax: str) -> None:
    steps = [SHOUT(path("PatientName")), PAD(path("AccessionNumber"), text("0"))]
    raw = encode(ct(), syntax)
    plan = EditPlan.of(steps)
    assert plan is not None
    planned = plan.apply(raw, len(raw), syntax)
    assert planned is not None
    assert planned.edited == apply_edits(raw, syntax, steps)
    found = decode(planned.edited.header, syntax)
    assert (found.PatientName, found.AccessionNumber) == ("DOE^JANE", "0000A1")
    # And within items, and everywhere, by the tree.
    within = SHOUT(path("RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeMeaning"))
    assert EditPlan.of([within]) is None
    for step in (within, SHOUT(Everywhere(keyword_tag("CodeMeaning")))):
        code = applied(ct(), syntax, step).RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0]
        assert code.CodeMeaning == "FIRST"


def test_a_new_verb_is_a_key_of_rules() -> None:
    config = edit_config((*VERBS, SHOUT, PAD))
    adapter = TypeAdapter(config)
    assert {"shout", "pad", "with", "set"} <= keys_of(config)
    assert "shout" not in keys_of(edit_config(VERBS))
    assert adapter.validate_python({"shout": "PatientName"}).edit == SHOUT(path("PatientName"))
    padded = adapter.validate_python({"pad": "StudyID", "with": "0", "if_empty": "skip"})
    assert padded.edit == PAD(path("StudyID"), text("0"), if_empty="skip")
    for wrong, words in (
        ({"shout": "PatientName", "with": "x"}, "shout takes no with"),
        ({"shout": "PatientName", "to": "x"}, "shout takes no to"),
        ({"shout": "PatientName", "if_empty": "skip"}, "neither"),
        ({"shout": "Rows"}, "no text"),
        ({"shout": "RequestAttributesSequence"}, "is a sequence"),
        ({"shout": "PatientName", "pad": "StudyID", "with": "0"}, "has 2"),
        ({"pad": "StudyID"}, "pad needs with"),
        ({"pad": "PatientID", "with": "0"}, "another VR"),
    ):
        with pytest.raises(ValidationError, match=words):
            adapter.validate_python(wrong)


def test_the_table_names_each_verb_once() -> None:
    assert len({verb.name for verb in VERBS}) == len(VERBS)


@given(st.data())
def test_a_verb_fails_for_the_reasons_that_it_names(data: st.DataObject) -> None:
    steps = data.draw(st.lists(edits(), min_size=1, max_size=3))
    try:
        apply_edits(encode(ct(), EXPLICIT), EXPLICIT, steps)
    except Permanent as error:
        reason = error.reason
    else:
        return
    assert reason in set(itertools.chain(*(step.verb.reasons for step in steps)))


# --- Sequences

STEPS = path("RequestAttributesSequence")
WRITTEN = [
    {"ScheduledProcedureStepID": "N1", "ScheduledProtocolCodeSequence": [{"CodeMeaning": "{Modality}"}]},
    {},
    {"ScheduledProcedureStepID": "{PatientID}-2", "ScheduledProtocolCodeSequence": []},
]
ITEMS = parse_content(WRITTEN)


@each_syntax
@each_length
@pytest.mark.parametrize("there", [False, True])
def test_a_sequence_is_set_to_items(syntax: str, undefined: bool, there: bool) -> None:
    data = ct(undefined=undefined)
    if not there:
        del data.RequestAttributesSequence
    found = applied(data, syntax, SET(STEPS, ITEMS))
    one, two, three = found.RequestAttributesSequence
    assert (one.ScheduledProcedureStepID, three.ScheduledProcedureStepID) == ("N1", "ID1-2")
    assert [code.CodeMeaning for code in one.ScheduledProtocolCodeSequence] == ["CT"]
    assert len(two) == len(three.ScheduledProtocolCodeSequence) == 0
    after = flat(encode(found, syntax), syntax)
    assert {place[0] for place in different(flat(encode(data, syntax), syntax), after)} == {0x00400275}


@each_syntax
def test_a_sequence_in_items_is_set_emptied_and_removed(syntax: str) -> None:
    codes = path("RequestAttributesSequence.ScheduledProtocolCodeSequence")
    new = Items.parse([{"CodeValue": "T9"}])
    found = applied(ct(), syntax, SET(codes, new)).RequestAttributesSequence
    assert [step.ScheduledProtocolCodeSequence[0].CodeValue for step in found] == ["T9", "T9"]
    found = applied(ct(), syntax, SET_IF_MISSING(codes, new)).RequestAttributesSequence
    assert [step.ScheduledProtocolCodeSequence[0].CodeValue for step in found] == ["T1", "T9"]
    found = applied(ct(undefined=True), syntax, EMPTY(codes)).RequestAttributesSequence
    assert [len(step.ScheduledProtocolCodeSequence) for step in found] == [0, 0]
    found = applied(ct(), syntax, REMOVE(codes)).RequestAttributesSequence
    assert not any("ScheduledProtocolCodeSequence" in step for step in found)
    made = applied(
        item(Modality="CT"),
        syntax,
        SET(path("RequestAttributesSequence[0].ScheduledProtocolCodeSequence"), new),
    )
    assert made.RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeValue == "T9"


def test_a_sequence_that_is_set_or_emptied_counts_as_one_change() -> None:
    for step in (SET(STEPS, ITEMS), EMPTY(STEPS)):
        assert apply_edits(encode(ct(), EXPLICIT), EXPLICIT, [step]).changed == ((0x00400275,),)


def test_items_take_the_character_set_and_move_it() -> None:
    steps = [
        SET(
            STEPS,
            Items.parse([{"RequestedProcedureDescription": "Ö"}, {"RequestedProcedureDescription": "Ж"}]),
        )
    ]
    data = ct()
    data.InstitutionName = "Köln"
    done = apply_edits(encode(data, EXPLICIT), EXPLICIT, steps)
    assert done.moved
    found = decode(done.header, EXPLICIT)
    assert found.InstitutionName == "Köln"
    assert [each.RequestedProcedureDescription for each in found.RequestAttributesSequence] == ["Ö", "Ж"]


def test_a_placeholder_of_an_item_that_is_empty_is_dealt_with_as_one_of_a_text() -> None:
    items = Items.parse([{"ScheduledProcedureStepID": "{StudyID}"}])
    raw = encode(ct(), EXPLICIT)
    with pytest.raises(Permanent) as caught:
        apply_edits(raw, EXPLICIT, [SET(STEPS, items)])
    assert caught.value.reason == "empty-value"
    assert apply_edits(raw, EXPLICIT, [SET(STEPS, items, if_empty="skip")]).header is raw
    cleared = decode(apply_edits(raw, EXPLICIT, [SET(STEPS, items, if_empty="clear")]).header, EXPLICIT)
    assert len(cleared.RequestAttributesSequence) == 0


@pytest.mark.parametrize(
    ("tag", "to", "words"),
    [
        ("RequestAttributesSequence", "x", "is a sequence"),
        ("PatientID", [{"CodeValue": "x"}], "is no sequence"),
        ("RequestAttributesSequence", [{"CodeValuee": "x"}], "CodeValue"),
        ("RequestAttributesSequence", [{"CodeValue": "x" * 17}], "at most 16"),
        ("RequestAttributesSequence", [{"CodeValue": []}], "it is no sequence"),
        ("RequestAttributesSequence", [{"CodeValue": 5}], "neither a text nor"),
        ("RequestAttributesSequence", [{"ScheduledProtocolCodeSequence": "x"}], "takes a list of items"),
        ("RequestAttributesSequence", [{"SpecificCharacterSet": "ISO_IR 192"}], "SpecificCharacterSet"),
        ("RequestAttributesSequence", [{"CodeValue": "x", "(0008,0100)": "y"}], "twice"),
        ("RequestAttributesSequence", [{"ConceptCodeSequence.CodeValue": "y"}], "ConceptCodeSequence|path"),
    ],
)
def test_wrong_items_are_told_when_they_are_written(tag: str, to: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(edit_config(VERBS)).validate_python({"set": tag, "to": to})


def test_items_are_written_in_a_rule() -> None:
    edit = TypeAdapter(edit_config(VERBS)).validate_python(
        {"set": "RequestAttributesSequence", "to": WRITTEN}
    )
    assert edit.edit == SET(STEPS, ITEMS)


# --- Empty


@each_syntax
def test_empty_leaves_the_element_without_a_value_and_makes_none(syntax: str) -> None:
    found = applied(ct(), syntax, EMPTY(path("PatientName")), EMPTY(path("StationName")), EMPTY(path("Rows")))
    assert "PatientName" in found
    assert not found.PatientName
    assert found.Rows is None
    assert "StationName" not in found


@pytest.mark.parametrize("tag", ["SOPInstanceUID", "SpecificCharacterSet", "PixelData", "group:0008"])
def test_what_every_image_needs_is_not_emptied(tag: str) -> None:
    with pytest.raises(ValueError, match="no receiver takes the image without it"):
        EMPTY.parse(tag)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_clear_is_for_what_the_verb_would_have_written(syntax: str) -> None:
    data = ct()
    steps = data.RequestAttributesSequence
    steps[0].RequestedProcedureID = "P1"
    del steps[0].ScheduledProcedureStepID
    tag = path("RequestAttributesSequence.RequestedProcedureID")
    found = applied(data, syntax, SET_IF_MISSING(tag, text("{StudyID}"), if_empty="clear"))
    assert [each.RequestedProcedureID for each in found.RequestAttributesSequence] == ["P1", ""]
    tag = path("RequestAttributesSequence.ScheduledProcedureStepID")
    found = applied(data, syntax, PREFIX(tag, text("{StudyID}"), if_empty="clear"))
    one, two = found.RequestAttributesSequence
    assert "ScheduledProcedureStepID" not in one
    assert two.ScheduledProcedureStepID == ""


# --- A table of verbs for elements at any depth, as de-identification has it (PS3.15, annex E)

KEY = b"a site's key"
DEEP = "Doe^Jane"


def replaced(value: str, _: str) -> str:
    """A UID in place of another: the same one for the same, wherever it stands."""
    return derived_uid(KEY, value, b"")


REPLACE_UID = Verb("replace_uid", Takes.NOTHING, frozenset({"UI"}), each_value(replaced))
CLEAN = Verb(
    "clean",
    Takes.NOTHING,
    frozenset({"LO", "LT", "SH", "ST", "UT"}),
    each_value(lambda value, _: value.replace("Doe", "---")),
)

TABLE: list[tuple[Target, Verb, Template | Items | None]] = [
    (Everywhere(keyword_tag("PatientName")), SET, text("DUMMY")),
    (Everywhere(keyword_tag("PatientID")), EMPTY, None),
    (Everywhere(keyword_tag("OtherPatientNames")), REMOVE, None),
    (Everywhere(keyword_tag("SOPInstanceUID")), REPLACE_UID, None),
    (Everywhere(keyword_tag("ReferencedSOPInstanceUID")), REPLACE_UID, None),
    (Everywhere(keyword_tag("StudyDescription")), CLEAN, None),
    (Everywhere(keyword_tag("RequestedProcedureCodeSequence")), EMPTY, None),
    (Everywhere(keyword_tag("ScheduledProtocolCodeSequence")), SET, Items.parse([{"CodeValue": "DUMMY"}])),
    (Private("GEMS_IDEN_01", 0x0009, 0x01), CLEAN, None),
    (Private("GEMS_IDEN_01", 0x0009, 0x02), EMPTY, None),
    (Private("GEMS_IDEN_01", 0x0009, 0x03), REMOVE, None),
    (Private("FOREIGN"), REMOVE, None),
]


def person(depth: int) -> Dataset:
    """A data set with the elements of the table, with itself within up to `depth`."""
    out = item(
        PatientName=DEEP,
        PatientID="ID1",
        OtherPatientNames=DEEP,
        SOPInstanceUID="1.2.3",
        ReferencedSOPInstanceUID="1.2.3",
        StudyDescription="CT of Doe",
        Modality="CT",
        RequestedProcedureCodeSequence=[item(CodeValue="T1")],
        ScheduledProtocolCodeSequence=[item(CodeValue="T1"), item(CodeValue="T2")],
    )
    # The creator's block lies at 11 here: at 10 is another's.
    out.private_block(0x0009, "OTHER", create=True).add_new(0x01, "LO", "of Doe")
    block = out.private_block(0x0009, "GEMS_IDEN_01", create=True)
    for number in (1, 2, 3, 4):
        block.add_new(number, "LO", f"{number} of Doe")
    out.private_block(0x0011, "FOREIGN", create=True).add_new(0x01, "LO", "of Doe")
    if depth:
        out.SourceImageSequence = [person(depth - 1), person(0)]
        out.ContentSequence = [person(depth - 1)]
    return out


def plain(value: Any) -> str:
    """A private value, of which pydicom knows no VR in implicit VR."""
    return value.decode().strip() if isinstance(value, bytes) else str(value or "")


def every(data: Dataset) -> list[Dataset]:
    within = [nested for name in ("SourceImageSequence", "ContentSequence") for nested in data.get(name, ())]
    return [data, *(each for nested in within for each in every(nested))]


@each_syntax
def test_a_table_of_verbs_is_done_to_each_occurrence_at_every_depth(syntax: str) -> None:
    data = person(3)
    data.SpecificCharacterSet = "ISO_IR 100"
    steps = [verb(target, value) for target, verb, value in TABLE]
    raw = encode(data, syntax)
    done = apply_edits(raw, syntax, steps)
    assert encode(decode(done.header, syntax), syntax) == done.header
    found = every(decode(done.header, syntax))
    assert len(found) == len(every(data)) > 15
    uid = replaced("1.2.3", "")
    for each in found:
        assert (each.PatientName, each.PatientID, each.StudyDescription) == ("DUMMY", "", "CT of ---")
        assert "OtherPatientNames" not in each
        assert each.SOPInstanceUID == each.ReferencedSOPInstanceUID == uid
        assert len(each.RequestedProcedureCodeSequence) == 0
        assert [code.CodeValue for code in each.ScheduledProtocolCodeSequence] == ["DUMMY"]
        # Kept: what no entry of the table names.
        assert each.Modality == "CT"
        private = {int(one.tag): plain(one.value) for one in each if one.tag.is_private}
        assert private == {
            0x00090010: "OTHER",
            0x00090011: "GEMS_IDEN_01",
            0x00091001: "of Doe",
            0x00091101: "1 of ---",
            0x00091102: "",
            0x00091104: "4 of Doe",
        }
    assert done.sop_instance_uid == uid


def test_elements_that_a_removed_one_held_are_no_changes() -> None:
    steps = [REMOVE(Everywhere(keyword_tag("ContentSequence"))), EMPTY(Everywhere(keyword_tag("PatientID")))]
    done = apply_edits(encode(person(1), EXPLICIT), EXPLICIT, steps)
    assert set(done.changed) == {(0x0040A730,), (0x00100020,), (0x00082112, 0x00100020)}


def test_an_everywhere_target_makes_nothing() -> None:
    raw = encode(item(Modality="CT", ContentSequence=[item(Modality="CT")]), EXPLICIT)
    for verb, value in ((SET, text("x")), (SET_IF_MISSING, text("x")), (EMPTY, None), (REMOVE, None)):
        assert apply_edits(raw, EXPLICIT, [verb(Everywhere(0x00100010), value)]).header is raw


def test_emptying_private_elements_keeps_their_creators_and_group_lengths() -> None:
    raw = (
        element(0x00090000, "UL", b"\x1e\0\0\0")
        + element(0x00090010, "LO", b"ME")
        + element(0x00091001, "LO", b"Doe ")
    )
    done = apply_edits(raw, EXPLICIT, [EMPTY(Private())])
    assert done.header == (
        element(0x00090000, "UL", b"\x12\0\0\0")
        + element(0x00090010, "LO", b"ME")
        + element(0x00091001, "LO", b"")
    )
