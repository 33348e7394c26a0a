"""The balance of a clinic: what was owed to each receiver, minus what the receivers' own logs say.

What is owed is worked out here from what the devices made and were answered, by the rules as a person reads
them; MAPDR is not asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from clinic.receivers import TAKEN, Entry
from clinic.workload import Image, parsed

PREFIX, CLINIC = "CN-", "Klinik Süd"
RATIO, MAX_ERROR = 6, 600
LOSSLESS, LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
EDITED = {"telepacs", "cloud"}
"""Destinations for which every image is changed; for others those of the old CR alone."""
DERIVED = {
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("ImageType", "SOPInstanceUID", "DerivationDescription", "SourceImageSequence"),
    *("DerivationCodeSequence", "SmallestImagePixelValue", "LargestImagePixelValue"),
}
"""What a lossy image says of itself (PS3.3 sections C.7.6.1.1.2 and C.7.6.1.1.5)."""
PIXELS = {"PixelData", "PhotometricInterpretation"}
SAMPLE = 7
"""Of every so many images all elements and pixels are compared."""

Key = tuple[str, int]
"""Study and instance number: no rule changes them, while a lossy image has a SOP Instance UID of its own."""


def owed(image: Image, backup_since: int) -> set[str]:
    """The destinations of an image, by the rules; MR goes to the backup from the day `backup_since` on."""
    found = {
        "CT": {"telepacs", "pacs", "archive"},
        "MR": {"telepacs", "pacs", "cloud"},
        "US": {"pacs", "cloud"},
        "CR": {"pacs", "bucket"},
    }.get(image.modality, set())
    return found | {"backup"} if image.modality == "MR" and image.day >= backup_since else found


@dataclass(frozen=True)
class Arrived:
    """One image at one receiver: each time that it came and was taken, in order."""

    image: Image
    entries: tuple[Entry, ...]


def arrived(entries: Iterable[Entry], images: Mapping[str, Image]) -> dict[str, Arrived]:
    """What a receiver's log says it has, by the SOP Instance UID with which the device sent it."""
    by_key = {(image.study_instance_uid, image.number): image for image in images.values()}
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.status in TAKEN:
            image = images.get(entry.uid)
            found[(image or by_key[_key(entry)]).uid].append(entry)
    return {uid: Arrived(images[uid], tuple(came)) for uid, came in found.items()}


def _key(entry: Entry) -> Key:
    data = parsed(entry.transfer_syntax_uid, entry.data)
    return str(data.StudyInstanceUID), int(data.InstanceNumber)


def difference(
    taken: Iterable[Image], logs: Mapping[str, Mapping[str, Arrived]], backup_since: int
) -> dict[str, tuple[list[str], list[str]]]:
    """The balance: for each destination what it was owed and has not, and what it has and was not owed."""
    due: dict[str, set[str]] = {name: set() for name in logs}
    for image in taken:
        for name in owed(image, backup_since):
            due[name].add(image.uid)
    return {
        name: (sorted(due[name] - log.keys()), sorted(log.keys() - due[name])) for name, log in logs.items()
    }


def assert_content(name: str, log: Mapping[str, Arrived]) -> Counter[str]:
    """What arrived is what was sent, changed as the rules say and not otherwise; how the pixels came.

    What no rule changes is compared by its digest, every image; of the others each seventh as a whole.
    """
    pixels: Counter[str] = Counter()
    for each in log.values():
        image = each.image
        assert len({entry.digest for entry in each.entries}) == 1, f"{name}: a repeat has other bytes"
        if name not in EDITED and image.modality != "CR":
            assert each.entries[0].digest == image.digest, f"{name}: {image} is not what was sent"
            pixels["as sent"] += 1
        elif image.number % SAMPLE == 0:
            pixels[compared(name, image, each.entries[0])] += 1
    return pixels


def compared(name: str, image: Image, entry: Entry) -> str:
    """How the pixels came. Raises AssertionError where the image is not as the rules say."""
    expected, found = image.dataset(), parsed(entry.transfer_syntax_uid, entry.data)
    if name in EDITED and image.accession_number:
        bare = image.accession_number.removeprefix(PREFIX)
        assert str(found.AccessionNumber) == PREFIX + bare, f"{name}: the accession prefix of {image}"
        _ignore(expected, found, "AccessionNumber")
    if name == "telepacs":
        assert "OtherPatientIDs" not in found
        _ignore(expected, found, "OtherPatientIDs")
    if image.modality == "CR":
        assert found.get("SpecificCharacterSet") == "ISO_IR 100", f"{name}: the character set of {image}"
        assert (found.InstitutionName, found.PatientName) == (CLINIC, "LEFÈVRE^É")
        _ignore(expected, found, "InstitutionName", "SpecificCharacterSet", "PatientName")
    how = "as sent"
    if name == "telepacs":
        how = _pixels(image, found, entry)
        _ignore(expected, found, *PIXELS, *(DERIVED if how == "lossy" else ()))
    tags = expected.keys() | found.keys()
    differing = [tag for tag in tags if not _same(expected, found, tag)]
    assert not differing, f"{name}: {image} differs in {differing}"
    return how


def _pixels(image: Image, found: Dataset, entry: Entry) -> str:
    sent = image.pixels()
    stored = found.PixelData
    assert entry.transfer_syntax_uid in (LOSSLESS, LOSSY), entry.transfer_syntax_uid
    (stream,) = generate_frames(stored, number_of_frames=1)
    came = imagecodecs.jpeg2k_decode(stream)
    if entry.transfer_syntax_uid == LOSSLESS:
        assert np.array_equal(came, sent), f"lossless, and not the pixels of {image}"
        assert entry.uid == image.uid
        return "lossless"
    assert entry.uid != image.uid, "a lossy image under its original's UID"
    assert abs(sent.nbytes / len(stream) / RATIO - 1) < 0.1, f"{sent.nbytes / len(stream)}:1 is not {RATIO}:1"
    error = int(np.abs(came.astype(np.int32) - sent).max())
    assert 0 < error <= MAX_ERROR, f"pixels of {image} differ by {error}"
    return "lossy"


def _ignore(expected: Dataset, found: Dataset, *keywords: str) -> None:
    for data in (expected, found):
        for keyword in keywords:
            if keyword in data:
                del data[keyword]


def _same(expected: Dataset, found: Dataset, tag: Any) -> bool:
    """Whether both have the element with the same value as it is encoded, but for its padding."""
    if tag not in expected or tag not in found:
        return False
    one, other = expected.get_item(tag), found.get_item(tag)
    if isinstance(one, RawDataElement) and isinstance(other, RawDataElement) and expected[tag].VR != "SQ":
        return (one.value or b"").rstrip(b"\0 ") == (other.value or b"").rstrip(b"\0 ")
    # Items are encoded otherwise in implicit VR, and what is empty is read otherwise.
    return bool(expected[tag].to_json_dict(None, 0) == found[tag].to_json_dict(None, 0))


def assert_nothing_twice(
    name: str, log: Mapping[str, Arrived], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> int:
    """What came more than once was tried more than once by the ledger too; how many did."""
    repeats = 0
    for uid, each in log.items():
        attempts = sum(len(row["attempts_made"]) for row in rows[uid])
        assert len(each.entries) <= attempts, f"{name}: {each.image} came {len(each.entries)} times"
        repeats += len(each.entries) > 1
    return repeats


def assert_the_ledger_agrees(
    name: str, log: Mapping[str, Arrived], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """MAPDR says of each image what the receiver's log says: delivered, its last answer, what was sent."""
    assert rows.keys() == log.keys(), f"{name}: the ledger and the receiver have other images"
    for uid, each in log.items():
        (row,) = rows[uid]
        last = each.entries[-1]
        assert row["state"] == "delivered", row
        assert row["status"] == last.status, (name, row, last.status)
        assert row["sent_sop_instance_uid"] == last.uid, (name, row)
        assert row["transfer_syntax_uid"] == last.transfer_syntax_uid, (name, row)


def told(calls: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], list[int]]:
    """What the RIS was told: the numbers of images, by event, study and destination."""
    found: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for call in calls:
        found[call["event"], call["study"], call["destination"]].append(call["images"])
    return found


def assert_the_ris_knows(
    calls: Iterable[Mapping[str, Any]], taken: Iterable[Image], backup_since: int
) -> int:
    """One `study.received` for each study and one `study.delivered` for each of its destinations.

    A study that was interrupted for longer than it takes to be quiet is told of again, as `study.updated`,
    and only such a one may be delivered again; the last word has all images. How many were told again.
    """
    events = told(calls)
    studies: Counter[str] = Counter(image.study_instance_uid for image in taken)
    towards = Counter(
        (image.study_instance_uid, name) for image in taken for name in owed(image, backup_since)
    )
    received = {study for event, study, _ in events if event == "study.received"}
    assert received == studies.keys()
    assert {(study, name) for event, study, name in events if event == "study.delivered"} == towards.keys()
    again = 0
    for (event, study, name), numbers in events.items():
        updates = len(events.get(("study.updated", study, ""), ()))
        if event == "study.received":
            assert len(numbers) == 1, f"{study} was received {len(numbers)} times"
            again += updates > 0
        elif event == "study.delivered":
            assert numbers[-1] == towards[study, name], f"{study} at {name}: {numbers}"
            assert len(numbers) <= 1 + updates, f"{study} was delivered {len(numbers)} times at {name}"
    return again
