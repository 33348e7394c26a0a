"""Rules read out of the configuration file, in words and as a form, and written into it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.config.edit import changed
from mapdr.config.starter import starter
from mapdr.dicom.edit.verbs import VERBS
from mapdr.operate.access import Access
from mapdr.operate.actor import Actor
from mapdr.operate.errors import RequestError
from mapdr.operate.rule_form import RuleForm, _form, configured_rules, edited, remove_rule, save_rule
from mapdr.operate.rule_words import edit_words, hidden, rule_sentence
from mapdr.operate.settings import read_file

HEAD = """# the clinic's
[egress.telepacs]
type = "dicom"
ae_title = "TELEPACS"
host = "192.0.2.10"
port = 104

"""
RULES = """# to the night shift
[[rule]]
name = "CT"  # the old one too
when = { Modality = ["CT", "PT"], StudyDescription = "HEAD*" }
tags = [
  { set = "InstitutionName", to = "Clinic North" },  # as on the letters
  { map = "PatientID", table = { "17" = "R-1" }, if = { Modality = "CT" } },
  { prefix = "AccessionNumber", with = "CN-" },
]
compress = { to = "jpeg2000", ratio = 10, max_error = 16 }
send_to = ["telepacs"]

[[rule]]
name = "all"
when = {}
send_to = ["telepacs"]
"""
NEW = RuleForm("US at night", ["US"], "ER*", "US1", "", "lossless", 10.0, ["telepacs"])


def opened(tmp_path: Path) -> Access:
    path = tmp_path / "mapdr.toml"
    path.write_text(starter(to_host="192.0.2.10").split("[egress")[0] + HEAD + RULES)
    found = Access.of(path)
    found._actor = Actor("ann", "192.0.2.1")
    return found


def text(found: Access) -> str:
    assert found.config is not None
    return found.config.read_text()


def test_a_rule_is_shown_with_what_the_form_leaves(tmp_path: Path) -> None:
    first, second = configured_rules(read_file(opened(tmp_path)))
    assert first.form == RuleForm("CT", ["CT", "PT"], "", "", "CN-", "lossy", 10.0, ["telepacs"])
    assert first.more == ["when.StudyDescription", "2 more edits of tags", "compress.max_error"]
    assert second.form == RuleForm("all", [], "", "", "", "none", 10.0, ["telepacs"])


def test_a_change_leaves_all_else_in_its_letters(tmp_path: Path) -> None:
    found = opened(tmp_path)
    before = text(found)
    rule = configured_rules(read_file(found))[0].form
    assert rule is not None
    seen = read_file(found).seen
    assert save_rule(found, RuleForm("CT", ["CT"], "", "", "XN-", "lossy", 20.0, ["telepacs"]), seen).saved
    expected = (
        before.replace('["CT", "PT"]', '"CT"').replace('"CN-"', '"XN-"').replace("ratio = 10", "ratio = 20")
    )
    assert text(found) == expected
    assert save_rule(found, rule, read_file(found).seen).saved
    assert tomllib.loads(text(found)) == tomllib.loads(before)


def test_a_rule_is_added_last_and_removed(tmp_path: Path) -> None:
    found = opened(tmp_path)
    before = text(found)
    assert save_rule(found, NEW, read_file(found).seen, new=True).saved
    assert text(found).startswith(before)
    *_, last = configured_rules(read_file(found))
    assert last.form == NEW
    assert last.sentence == (
        "Images with Modality US and StationName ER* and the sender's AE title US1: "
        "JPEG 2000 without loss; to telepacs."
    )
    assert remove_rule(found, "US at night", read_file(found).seen).saved
    assert text(found).rstrip() == before.rstrip()


def test_what_is_wrong_is_told_by_field_and_nothing_is_written(tmp_path: Path) -> None:
    found = opened(tmp_path)
    before, seen = text(found), read_file(found).seen
    wrong = RuleForm("odd", [], "", "", "", "lossy", 0.5, ["nowhere"])
    saved = save_rule(found, wrong, seen, new=True)
    assert {each.field.partition("[")[0] for each in saved.problems} == {"ratio", "send_to"}
    assert not saved.saved
    assert text(found) == before
    with pytest.raises(RequestError, match="already"):
        save_rule(found, RuleForm("all", [], "", "", "", "none", 10.0, []), seen, new=True)
    with pytest.raises(RequestError, match="no rule"):
        remove_rule(found, "nobody", seen)


def test_a_rule_that_asks_more_than_the_form_knows_is_no_form() -> None:
    assert _form({"name": "x", "when": {"Modality": {"not": ["SR"]}}, "send_to": []}) is None
    assert _form({"name": "x", "when": {}, "compress": {"to": "jpegls"}, "send_to": []}) is None


words = st.text(st.sampled_from("ABC-* \"\\ü'"), min_size=1, max_size=8)
forms = st.builds(
    RuleForm,
    name=st.sampled_from(["CT", "all"]),
    modality=st.lists(st.sampled_from(["CT", "MR", "US"]), unique=True),
    station=st.just("") | words,
    calling_ae=st.just("") | words,
    prefix=st.just("") | words,
    compress=st.sampled_from(["none", "lossless", "lossy"]),
    ratio=st.sampled_from([2.5, 10.0, 20.0]),
    send_to=st.lists(st.sampled_from(["telepacs", "archive"]), unique=True),
)


@given(forms)
def test_what_a_form_wrote_reads_back_as_meant_and_nothing_else_changed(form: RuleForm) -> None:
    index = 0 if form.name == "CT" else 1
    before = tomllib.loads(HEAD + RULES)
    after = tomllib.loads(edited(HEAD + RULES, place=("rule", index), rule=form, new=False))
    read = _form(after["rule"][index])
    assert read is not None
    assert sorted(read.modality) == sorted(form.modality)  # values that stay keep their place
    assert sorted(read.send_to) == sorted(form.send_to)
    assert (read.station, read.calling_ae, read.prefix) == (form.station, form.calling_ae, form.prefix)
    assert read.compress == form.compress
    assert read.ratio == form.ratio or form.compress != "lossy"
    assert after["rule"][1 - index] == before["rule"][1 - index]
    assert after["egress"] == before["egress"]
    if index == 0:
        assert after["rule"][0]["when"]["StudyDescription"] == "HEAD*"
        assert {"set": "InstitutionName", "to": "Clinic North"} in after["rule"][0]["tags"]


def test_comments_stay() -> None:
    form = RuleForm("CT", ["CT", "PT"], "", "", "", "none", 10.0, ["telepacs"])
    after = edited(HEAD + RULES, place=("rule", 0), rule=form, new=False)
    for comment in ("# the clinic's", "# to the night shift", "# the old one too", "# as on the letters"):
        assert comment in after


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"when": {}, "send_to": []}, "Every image: unchanged; kept here."),
        (
            {"when": {}, "deidentify": {"profile": "basic", "options": ["full-dates"]}, "send_to": ["x"]},
            "Every image: de-identified, with full-dates; to x.",
        ),
        (
            {"when": {"calling_ae": "CT*"}, "send_to": ["a", "b"], "stop": True, "priority": "stat"},
            "Images with the sender's AE title CT*: unchanged; to a and b; as stat. "
            "Later rules are not asked.",
        ),
        (
            {
                "when": {"any": [{"Modality": "CT"}, {"Rows": {"min": 512, "max": 1024}}]},
                "tags": [{"prefix": "AccessionNumber", "with": "CN-"}, {"remove": "private"}],
                "compress": {"to": "jpeg2000", "ratio": 10, "max_error": 16},
                "send_to": ["a"],
            },
            "Images with (Modality CT or Rows at least 512 and at most 1024): "
            'AccessionNumber begins with "CN-"; private is removed; '
            "JPEG 2000 at 10:1, no pixel off by more than 16; to a.",
        ),
        (
            {"when": {"PatientID": "4711", "Modality": {"not": ["SR"]}}, "send_to": ["a"]},
            "Images with PatientID of a value that is not shown and Modality other than SR: unchanged; to a.",
        ),
    ],
)
def test_a_rule_in_words(rule: dict[str, Any], sentence: str) -> None:
    assert rule_sentence(rule) == sentence


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"replace": "StudyID", "pattern": "1", "with": "2"}, "StudyID is replaced by ..."),
        (
            {"map": "PatientID", "table": {"17": "R"}},
            "PatientID becomes what is in a table of 1, others are parked",
        ),
        (
            {"map": "PatientID", "file": "ids.csv", "otherwise": "keep"},
            "PatientID becomes what is in ids.csv, others stay",
        ),
        (
            {"for_each": "OtherPatientIDsSequence", "edits": [{"map": "PatientID", "table": {"17": "R"}}]},
            "in each item of OtherPatientIDsSequence: "
            "PatientID becomes what is in a table of 1, others are parked",
        ),
        ({"hash": "PatientID", "key": "env:X"}, "PatientID becomes its keyed hash"),
        ({"shift_date": "StudyDate", "days": -3}, "StudyDate is moved by -3 days"),
        ({"split": "OtherPatientIDs", "at": ";"}, 'OtherPatientIDs is split at ";"'),
        (
            {"keep_only": ["PatientID", "group:0018"]},
            "nothing is kept but PatientID and group:0018 and what an image needs",
        ),
        (
            {
                "upper": "OtherPatientIDsSequence[PatientID=17].PatientID",
                "if": {"PatientID": "17", "Modality": "CT"},
            },
            "OtherPatientIDsSequence[PatientID=...].PatientID is written in capital letters, "
            "if PatientID of a value that is not shown and Modality CT",
        ),
    ],
)
def test_an_edit_in_words(edit: dict[str, Any], words: str) -> None:
    assert edit_words(edit) == words
    assert "17" not in str(hidden(edit))


def test_every_verb_has_words() -> None:
    for verb in VERBS:
        assert "not known" not in edit_words({verb.name: ["x"] if verb.lists else "x"})


def test_values_that_identify_are_shown_to_who_may_see_them() -> None:
    rule = {"when": {"PatientID": "4711"}, "tags": [{"set": "PatientName", "to": "X"}], "send_to": []}
    assert "4711" in rule_sentence(rule, identify=True)
    assert '"X"' in rule_sentence(rule, identify=True)
    assert '"X"' not in rule_sentence(rule)


def test_an_unchanged_form_changes_nothing() -> None:
    form = _form(tomllib.loads(RULES)["rule"][0])
    assert form is not None
    assert changed(HEAD + RULES, ("rule", 0), lambda table: None) == HEAD + RULES
    assert edited(HEAD + RULES, place=("rule", 0), rule=form, new=False) == HEAD + RULES


@pytest.mark.parametrize(
    ("compress", "words", "shown"),
    [
        ({"to": "jpeg2000", "ratio": 10}, "JPEG 2000 at 10:1", True),
        ({"to": "jpeg2000-lossless"}, "JPEG 2000 without loss", True),
        ({"to": "jpeg2000", "max_error": 4}, "JPEG 2000, no pixel off by more than 4", False),
        ({"to": "jpeg2000", "lossless": True}, "JPEG 2000 without loss", False),
        (
            {"to": ["htj2k", "jpeg2000"], "psnr": 60, "min_ssim": 0.9},
            "HTJ2K or JPEG 2000 at a PSNR of 60 dB, SSIM of at least 0.9",
            False,
        ),
        (
            {"to": "jpegls-near", "near": 3, "allow": ["nuclear"]},
            "JPEG-LS off by 3 at most, also what is nuclear",
            False,
        ),
        ({"to": "rle"}, "RLE without loss", False),
        ({"to": "deflated"}, "deflate", False),
        (
            {"to": "rle", "ybr_to_rgb": True},
            "luminance and chrominance become RGB; RLE without loss",
            False,
        ),
    ],
)
def test_a_compression_in_words_and_whether_the_form_knows_it(
    compress: dict[str, Any], words: str, shown: bool
) -> None:
    rule = {"name": "a", "compress": compress, "send_to": ["x"]}
    assert rule_sentence(rule) == f"Every image: {words}; to x."
    assert (_form(rule) is not None) == shown
