"""What a receiver assumes of the character set reaches rules, index, edits, and what is promised anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mapdr.config.read import read_text
from mapdr.dicom.fit import pad
from mapdr.dicom.write import EXPLICIT_LITTLE, element, splice, walk
from mapdr.egress.tags import tags_of
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.registry import Registry
from mapdr.operate.access import access
from mapdr.operate.actions import reroute
from mapdr.operate.looking import NoMemory
from mapdr.operate.selection import Selection
from mapdr.route.recipe import recipe_hash
from mapdr.testing import generator
from mapdr.transform.pipeline import build_pipeline
from paper import nodes
from transform.helpers import CODECS, settings

NAME, PATIENT_ID, CHARSET, WARD = 0x00100010, 0x00100020, 0x00080005, 0x00081040
RUSSIAN = "Иванов^Иван"
RULES = """
[[rule]]
name = "by name"
when = { PatientName = "Иванов*" }
tags = [{ set = "InstitutionalDepartmentName", to = "Отделение {PatientID}" }]
send_to = ["archive"]
"""
ASSUME = 'assume_character_set = [{ calling_ae = "CT*", assume = "ISO_IR 144" }]'


def image() -> generator.GeneratedImage:
    """One that declares no character set and has a name and a patient ID in ISO 8859-5."""
    made = next(generator.study("CT", images=1, size=(16, 16)))
    put = {
        CHARSET: None,
        NAME: element(NAME, "PN", pad(RUSSIAN.encode("iso8859-5"), "PN")),
        PATIENT_ID: element(PATIENT_ID, "LO", pad("Ж1".encode("iso8859-5"), "LO")),
    }
    return replace(made, dataset=splice(made.dataset, put))


def node(folder: Path, key: str) -> nodes.NodeFolder:
    made = nodes.new(folder)
    head = made.config.read_text().partition("[[rule]]")[0]
    made.config.write_text(head.replace("port = 11112", f"port = 11112\n{key}") + RULES, encoding="utf-8")
    return made


def test_rules_index_and_edits_read_what_is_assumed(tmp_path: Path) -> None:
    made = node(tmp_path, ASSUME)
    made.receive([image()])
    store = made.store()
    try:
        assert "Ж1" in store.studies.identifying(1)
        (row,) = store.listing.select(Selection())
        assert row.destination == "archive"
        instance = store.instances.get(row.instance)
        assert not instance.assumed
        recipe = store.recipes.recipe(row.recipe)
        assert recipe["assume_character_set"] == [["ISO_IR 144", "", "CT*"]]
        pipeline = build_pipeline(recipe, Registry(), settings(tmp_path), CODECS)
        payload = pipeline.prepare(instance, NoMemory())
    finally:
        store.close()
    assert payload.assumed == (AssumedSet("ISO_IR 144", calling_ae="CT*"),)
    unread = replace(payload, parts=(b"".join(payload.chunks()),))
    assert tags_of(unread, frozenset([(NAME,)])).text((NAME,)) == RUSSIAN
    data = b"".join(payload.chunks())
    found = {each.tag: data[each.value : each.end] for each in walk(data, EXPLICIT_LITTLE)}
    assert found[CHARSET] == b"ISO_IR 144"
    assert found[WARD].strip().decode("iso8859-5") == "Отделение Ж1"
    assert found[NAME].strip().decode("iso8859-5") == RUSSIAN


def test_nothing_is_assumed_by_default_and_a_reroute_takes_what_is_assumed_now(tmp_path: Path) -> None:
    made = node(tmp_path, "")
    made.receive([image()])
    with access(made.config, rules=True) as opened:
        assert not opened.index().listing.select(Selection())
    made.config.write_text(
        made.config.read_text("utf-8").replace("port = 11112", f"port = 11112\n{ASSUME}"), "utf-8"
    )
    with access(made.config, rules=True) as opened:
        reroute(opened, Selection(modality="CT"))
        (row,) = opened.index().listing.select(Selection())
        assert opened.index().recipes.recipe(row.recipe)["assume_character_set"]


def test_images_of_others_are_promised_as_without_it(tmp_path: Path) -> None:
    made = node(tmp_path, ASSUME.replace("CT*", "CR?"))
    with access(made.config, rules=True) as opened:
        router = opened.router
        (plain,) = [one for one in router.recipes.values() if "assume_character_set" not in one]
        assert len(router.recipes) == 2
        assert recipe_hash(plain) in router.recipes
    made.receive([image()])
    with access(made.config, rules=True) as opened:
        assert not opened.index().listing.select(Selection())


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('"ISO_IR 4711"', "is no character set"),
        ('""', "is no character set"),
        ('[{ declared = "ISO_IR 100" }]', "is missing"),
        ('[{ assume = "Ж" }]', "is no character set"),
        ("100", ""),
    ],
)
def test_what_is_no_character_set_is_told(written: str, problem: str) -> None:
    loaded = read_text(f'[receive.a]\ntype = "dicom"\nassume_character_set = {written}\n')
    (found,) = loaded.problems
    assert found.line == 3
    assert problem in found.what
    assert "assume_character_set" in found.path
