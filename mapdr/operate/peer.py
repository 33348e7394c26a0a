"""What lies between this node and one of its destinations, step by step."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mapdr.dicom import uids
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.examine import Examination, Examines, Level, PeerFinding, and_test_image
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.item import Need, Payload, Verdict
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Egress
from mapdr.node.plan import Plan
from mapdr.operate.access import Access
from mapdr.operate.configuration import Configuration
from mapdr.operate.echo import build
from mapdr.operate.names import known_destinations
from mapdr.store.index.fault import IndexFault, index_named
from mapdr.transform.encode.named import methods_named

SECONDS = 10.0
"""What one step may take."""

PATIENCE = 6
"""Steps' times without a finding after which an examination is left: that of a plug-in, or of a receiver that
takes the test image and does not answer."""

NEWEST = 20_000
"""Images of a destination that are looked at for what goes there."""


def examine_peer(
    configuration: Configuration, name: str, images: Sequence[Payload] = (), *, seconds: float = SECONDS
) -> Iterator[PeerFinding]:
    """What is found out of the destination `name`, each finding as soon as it is known.

    `images`: one marked test image, which is stored there (`mapdr.kernel.examine.Examination`); without it,
    nothing is. Each wait ends after `seconds`. Raises RequestError for an unknown name.
    """
    (known,) = known_destinations(configuration.plan, [name])
    return _bounded(configuration.plan, known, images, seconds)


def _bounded(plan: Plan, name: str, images: Sequence[Payload], seconds: float) -> Iterator[PeerFinding]:
    """The examination in a thread of its own, which is left behind where it hangs."""
    findings: queue.SimpleQueue[PeerFinding | None] = queue.SimpleQueue()
    left = threading.Event()

    def work() -> None:
        try:
            for found in _examine(plan, name, images, seconds):
                findings.put(found)
                if left.is_set():
                    return
        finally:
            findings.put(None)

    GuardedThread(work, f"examine-{name}", goes_on=lambda: False).start()
    try:
        until = time.monotonic() + PATIENCE * seconds
        while True:
            try:
                found = findings.get(timeout=0.2)  # short, so that Ctrl-C is heard on Windows
            except queue.Empty:
                if time.monotonic() < until:
                    continue
                text = f"nothing more was found out within {PATIENCE * seconds:g} s"
                yield PeerFinding("time", Level.BAD, text, "look after the receiver: it does not answer")
                return
            if found is None:
                return
            until = time.monotonic() + PATIENCE * seconds
            yield found
    finally:
        left.set()


def _examine(plan: Plan, name: str, images: Sequence[Payload], seconds: float) -> Iterator[PeerFinding]:
    """Everything that is found; nothing is raised, for it runs in a thread of its own."""
    try:
        asked = replace(_needs(plan, name), images=images, seconds=seconds)
        stage = build(plan, name)
        stage.start()
        try:
            found = stage.examine(asked) if isinstance(stage, Examines) else _by_probe(stage, asked)
            for each in found:
                yield _rounded(each)
        finally:
            stage.stop(time.monotonic() + 5)
    except (MapdrError, OSError) as error:
        yield PeerFinding("destination", Level.BAD, in_words(error), "correct its table: `mapdr check`")
    except Exception as error:  # noqa: BLE001  a plug-in may fail in any way
        text = f"its examination failed: {type(error).__name__}"
        yield PeerFinding("destination", Level.BAD, text, "report it to who wrote this type of destination")


def _rounded(found: PeerFinding) -> PeerFinding:
    if found.milliseconds is None:
        return found
    return replace(found, milliseconds=round(found.milliseconds, 1))


def _by_probe(stage: Egress, asked: Examination) -> Iterator[PeerFinding]:
    """For a type that brings no examination: it is asked whether it is there, as `mapdr echo` does."""

    def probe() -> Iterator[PeerFinding]:
        outcome = stage.probe()
        if outcome.verdict is Verdict.DELIVERED:
            text = "is there; this type of destination brings no further examination"
            yield PeerFinding("probe", Level.GOOD, text)
        else:
            yield PeerFinding("probe", Level.BAD, outcome.comment or "no answer", "look after the receiver")

    return and_test_image(probe(), stage, asked)


def _needs(plan: Plan, name: str) -> Examination:
    """What images go there as: by the index what has gone and waits, and what rules make of it; without any,
    what is usual."""
    compressed: dict[str, None] = {}
    for recipe in plan.router.promises(name):
        for step in recipe["steps"]:
            if step["type"] == "compress":
                compressed.update(dict.fromkeys(_written(step["config"].get("to", ()))))
    seen = _seen(plan, name)
    needs = dict.fromkeys(Need(sop_class, syntax) for sop_class, syntax in seen)
    classes = dict.fromkeys(need.sop_class_uid for need in needs) or usual_classes()
    for sop_class in classes:
        for syntax in compressed or ((uids.EXPLICIT_VR_LITTLE_ENDIAN,) if not seen else ()):
            needs[Need(sop_class, syntax)] = None
    return Examination(tuple(needs), assumed=not seen)


def _written(to: str | Sequence[str]) -> list[str]:
    """The transfer syntaxes that images may leave in by `compress = { to = ... }`."""
    names = [to] if isinstance(to, str) else to
    return [syntax for each in methods_named(names) for syntax in (each.lossy, each.lossless) if syntax]


def _seen(plan: Plan, name: str) -> list[tuple[str, str]]:
    """SOP class and transfer syntax of what went there or waits, the most frequent first."""
    opened = Access(plan)
    try:
        with index_named(plan.node.database_url(), plan.node.data):
            store = opened.store
            if store is None:
                return []
            return [kind for kind, _ in store.listing.kinds(name, NEWEST).most_common()]
    except IndexFault:
        return []  # `mapdr doctor` says it; the receiver can be examined all the same
    finally:
        opened.close()


def usual_classes() -> dict[str, None]:
    """The SOP classes that most sites have, the most frequent first."""
    from pydicom import uid

    return dict.fromkeys(
        str(each)
        for each in (
            uid.CTImageStorage,
            uid.MRImageStorage,
            uid.ComputedRadiographyImageStorage,
            uid.DigitalXRayImageStorageForPresentation,
            uid.DigitalMammographyXRayImageStorageForPresentation,
            uid.UltrasoundImageStorage,
            uid.UltrasoundMultiFrameImageStorage,
            uid.XRayAngiographicImageStorage,
            uid.XRayRadiofluoroscopicImageStorage,
            uid.NuclearMedicineImageStorage,
            uid.PositronEmissionTomographyImageStorage,
            uid.SecondaryCaptureImageStorage,
            uid.EnhancedCTImageStorage,
            uid.EnhancedMRImageStorage,
            uid.BreastTomosynthesisImageStorage,
            uid.GrayscaleSoftcopyPresentationStateStorage,
            uid.KeyObjectSelectionDocumentStorage,
            uid.EnhancedSRStorage,
            uid.XRayRadiationDoseSRStorage,
            uid.EncapsulatedPDFStorage,
        )
    )
