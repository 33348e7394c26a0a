"""reroute: by a list, by a rule, unchanged, corrected; with a name it goes on; --json tells each image."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.operate.configuration import load
from mapdr.operate.looking import NoMemory
from mapdr.route.recipe import recipe_hash
from mapdr.store import Selection
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import build_pipeline
from paper.nodes import NodeFolder

MR = ("--modality", "MR")


def lines(node: NodeFolder, *words: str, status: int = 0, typed: str = "") -> list[dict[str, Any]]:
    result = node.mapdr("reroute", *words, "--yes", "--json", typed=typed)
    assert result.exit_code == status, result.output
    return [json.loads(each) for each in result.stdout.splitlines()]


def rows(node: NodeFolder, *words: str) -> list[dict[str, Any]]:
    found = json.loads(node.mapdr("deliveries", *words, "--limit", "999", "--json").output)["deliveries"]
    assert isinstance(found, list)
    return found


def accessions(node: NodeFolder) -> dict[str, str]:
    """The accession number of each study."""
    found = json.loads(node.mapdr("studies", "--identify", "--json").output)["studies"]
    return {one["study_instance_uid"]: one["tags"]["AccessionNumber"] for one in found}


def test_each_image_is_a_line_and_the_last_has_the_sums(used: NodeFolder) -> None:
    *images, sums = lines(used, "--to", "archive", "--unchanged", *MR)
    assert [one["state"] for one in images] == ["standing"] * 2, "the rule promised that already"
    assert (sums["images"], sums["deliveries"], sums["mapdr"]["command"]) == (2, 0, "reroute")
    *images, sums = lines(used, "--to", "archive", "--unchanged", "--modality", "US")
    (image,) = images
    (row,) = rows(used, "--modality", "US")
    assert (image["state"], image["to"]) == ("promised", ["archive"])
    assert (image["instance"], image["sop_instance_uid"]) == (row["instance"], row["sop_instance_uid"])
    assert sums["to"] == {"archive": 1}
    assert sums["bytes_to"] == {"archive": image["size"]}
    assert row["recipe"] == recipe_hash({"steps": []})


def test_one_rule_decides_whatever_it_asks_of_images(used: NodeFolder) -> None:
    *_, sums = lines(used, "--rule", "CT to teleradiology", "--modality", "US")
    assert sums["to"] == {"telepacs": 1}
    *_, sums = lines(used, "--rule", "CT to teleradiology", "--to", "archive", "--modality", "US")
    assert sums["to"] == {"archive": 1}
    ct = {row["recipe"] for row in rows(used, "--modality", "CT", "--to", "telepacs")}
    assert {row["recipe"] for row in rows(used, "--modality", "US")} == ct


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rule", "CT to teleradiologi"), 'did you mean "CT to teleradiology"'),
        (("--unchanged",), "--to NAME"),
        (("--unchanged", "--rule", "CT to teleradiology", "--to", "archive"), "not both"),
        (("--as-today", "--unchanged", "--to", "archive"), "say one of"),
        (("--set", "AccessionNumber"), "write it as"),
        (("--set", "AccesionNumber=1"), "AccessionNumber"),
        (("--set", "AccessionNumber=PAT-78901234567890"), "18 characters where a SH has at most 16"),
        (("--set", "StudyDate=19.1.26"), "form of a DA"),
        (("--set", "SOPInstanceUID=1.2.3"), "is not corrected"),
        (("--set", "ReferencedStudySequence=1"), "of a sequence"),
        (("--set", "AccessionNumber=1", "--set", "(0008,0050)=2"), "corrected twice"),
        (("--column", "StudyUID"), "--list"),
        (("--name", " "), "is empty"),
    ],
)
def test_what_is_not_clear_is_refused_and_promises_nothing(
    used: NodeFolder, words: tuple[str, ...], said: str
) -> None:
    before = rows(used)
    result = used.mapdr("reroute", *MR, *words, "--yes")
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert "78901234567890" not in result.output
    assert rows(used) == before


def test_a_list_names_images_by_any_column(used: NodeFolder, tmp_path: Path) -> None:
    study = rows(used, *MR)[0]["study_instance_uid"]
    accession = accessions(used)[study]
    images = {row["sop_instance_uid"] for row in rows(used, "--study", study)}
    file = tmp_path / "list.csv"
    for text, words in (
        (f"Name;Accession Number\nA;{accession}\n", ()),
        (f"Fall,Other\n{accession},x\n", ("--column", "fall")),
        (f"x\t{study}\n", ("--column", "2")),
        (f"StudyInstanceUID,SeriesInstanceUID\n{study},\n", ("--column", "1")),
        ("\n".join(images), ()),
    ):
        file.write_text(text, encoding="utf-8-sig")
        *found, _ = lines(used, "--list", str(file), "--to", "archive", *words)
        assert {one["sop_instance_uid"] for one in found} == images, text


def test_values_that_choose_nothing_are_told_by_their_places_alone(used: NodeFolder) -> None:
    (study, *_) = accessions(used)
    typed = f"NOBODY-1\n{study}\n\nNOBODY-2\n{study}\n"
    result = used.mapdr("reroute", "--list", "-", "--to", "archive", "--unchanged", "--yes", typed=typed)
    assert result.exit_code == 1
    assert "2 values of the list chose no image here: number 1, 3" in result.output
    assert "NOBODY" not in result.output
    *images, sums = lines(used, "--list", "-", "--to", "archive", typed=typed, status=1)
    assert images
    assert sums["unknown"] == [1, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "empty"), ("\n \n", "empty"), ("StudyInstanceUID\n", "empty"), ("a,b\n1,2\n", "2 columns")],
)
def test_a_list_that_says_nothing_chooses_nothing(used: NodeFolder, text: str, said: str) -> None:
    result = used.mapdr("reroute", "--list", "-", "--to", "archive", "--unchanged", "--yes", typed=text)
    assert result.exit_code == 2
    assert said in result.output


def test_with_a_name_each_image_is_promised_once(used: NodeFolder) -> None:
    words = ("--modality", "CT", "--to", "telepacs", "--name", "move", "--since", "2 h")
    *images, sums = lines(used, *words)
    assert (len(images), sums["before"], sums["deliveries"]) == (4, 0, 3)
    before = rows(used)
    *images, sums = lines(used, *words)
    assert (images, sums["before"], sums["images"], sums["deliveries"]) == ([], 4, 0, 0)
    assert "4 images of this name had been done before" in used.mapdr("reroute", *words, "--yes").output
    other = used.mapdr("reroute", "--modality", "MR", "--to", "telepacs", "--name", "move", "--yes")
    assert other.exit_code == 2
    assert "other words" in other.output
    assert rows(used) == before


def test_a_dry_run_with_a_name_begins_nothing(used: NodeFolder) -> None:
    words = ("--modality", "CT", "--name", "move")
    before = rows(used)
    looked = used.mapdr("reroute", *words, "--dry-run")
    assert looked.output.startswith("4 images: 3 deliveries would be promised (telepacs 3; ")
    assert rows(used) == before
    *_, sums = lines(used, *words)
    assert sums["deliveries"] == 3


def test_a_correction_goes_before_the_rule_and_is_recorded(used: NodeFolder) -> None:
    old = set(accessions(used).values())
    words = ("--set", "AccessionNumber={A1}", "--set", "PatientComments=late")
    *_, sums = lines(used, "--modality", "CT", *words)
    assert sums["to"] == {"archive": 4, "telepacs": 4}
    (one, *_) = rows(used, "--modality", "CT", "--to", "telepacs", "--state", "pending")
    store = used.store()
    try:
        instance = store.instances.get(one["instance"])
        recipe = store.recipes.recipe(one["recipe"])
        assert one["recipe"] != recipe_hash({"steps": recipe["steps"]}), "no hash that can be guessed from it"
        settings = Settings("test", "test", used.config.parent, bytes(32), Watch(), workers=1, memory=1 << 28)
        registry = Registry()
        pipeline = build_pipeline(recipe, registry, settings, Codecs(registry, settings))
        payload = pipeline.prepare(instance, NoMemory())
    finally:
        store.close()
    head = pydicom.dcmread(io.BytesIO(b"".join(payload.chunks())), force=True, stop_before_pixels=True)
    assert (head.AccessionNumber, head.PatientComments) == ("CN-{A1}", "late"), "then the rule's prefix"
    shown = used.mapdr("corrections", "--json", "--identify").output
    (*found,) = json.loads(shown)["corrections"]
    assert len(found) == 4
    assert {change["tag"] for each in found for change in each["changes"]} == {
        "AccessionNumber",
        "PatientComments",
    }
    (accession, comment) = found[0]["changes"]
    assert accession["old"] in old
    assert (accession["new"], comment["old"], comment["new"]) == ("{A1}", "", "late")
    hidden = used.mapdr("corrections", "--json").output + used.mapdr("corrections").output
    assert "AccessionNumber" in hidden
    assert "A1" not in hidden
    assert not any(value in hidden for value in old)
    assert '-> "{A1}"' in used.mapdr("corrections", "--identify", width=200).output


def test_whoever_leaves_a_correction_out_is_told(used: NodeFolder) -> None:
    *_, sums = lines(used, "--modality", "CT", "--set", "AccessionNumber=A1")
    assert sums["uncorrected"] == 0
    looked = used.mapdr("reroute", "--modality", "CT", "--dry-run")
    assert (
        "4 images were corrected before (mapdr corrections); without --set that is left out" in looked.output
    )
    *_, sums = lines(used, "--modality", "CT")
    assert sums["uncorrected"] == 4


def test_a_corrected_delivery_that_is_parked_is_retried_as_it_was_meant(used: NodeFolder) -> None:
    lines(used, "--modality", "CT", "--set", "AccessionNumber=A1")
    used.settle("telepacs", "parked", 1, reason="refused")
    (parked,) = rows(used, "--state", "parked")
    said = used.mapdr("retry", "--state", "parked", "--yes")
    assert said.exit_code == 0
    assert "keep the recipe" not in said.output
    (again,) = [row for row in rows(used) if row["id"] == parked["id"]]
    assert (again["state"], again["recipe"]) == ("pending", parked["recipe"])


def test_a_purge_leaves_no_corrected_value(used: NodeFolder) -> None:
    value = "CORRECTED-4711"
    lines(used, "--modality", "CT", "--set", f"AccessionNumber={value}")
    lines(used, *MR, "--set", f"AccessionNumber={value}")
    data = used.config.parent / "data"

    def kept() -> bool:
        return any(value.encode() in path.read_bytes() for path in data.rglob("*") if path.is_file())

    assert kept()
    assert used.mapdr("purge", "--modality", "CT", "--even-undelivered", "--yes").exit_code == 0
    store = used.store()
    try:
        (row,) = {row.recipe for row in store.listing.select(Selection(modality="MR", destination="archive"))}
        assert value in json.dumps(store.recipes.recipe(row)), "others have it still"
    finally:
        store.close()
    assert used.mapdr("purge", *MR, "--even-undelivered", "--yes").exit_code == 0
    assert not kept()
    purged = json.loads(used.mapdr("corrections", "--json", "--identify").output)["corrections"]
    assert all(not one["changes"] for one in purged)


def test_a_rate_is_kept(used: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("mapdr.operate.jobs.time.sleep", waits.append)
    lines(used, "--modality", "CT", "--rate", "2")
    assert len(waits) == 4, "one image after the other"
    assert waits[-1] == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("rate", ["nan", "inf", "0", "-1"])
def test_a_rate_is_a_number(used: NodeFolder, rate: str) -> None:
    done = used.mapdr("reroute", "--modality", "CT", "--yes", "--rate", rate)
    assert done.exit_code == 2, done.output
    assert "--rate" in done.output


def test_the_plan_of_the_configuration_is_as_it_was(used: NodeFolder) -> None:
    plan = load(used.config).plan
    assert [rule.name for rule in plan.router.rules] == ["CT to teleradiology", "CT and MR to the archive"]
