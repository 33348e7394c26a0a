"""What is stuck: parked deliveries by reason, with what it means and what cures it; and what is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mapdr.operate.access import Access
from mapdr.operate.parked import ParkedGroup, parked


@dataclass(frozen=True, slots=True)
class Cure:
    """What a reason means, and what a person does about it, each in a sentence."""

    meaning: str
    cure: str


@dataclass(frozen=True, slots=True)
class StuckGroup:
    """Deliveries that are parked for one reason; the rest as for `ParkedGroup`."""

    reason: str
    meaning: str
    cure: str
    deliveries: int
    to: Mapping[str, int]
    first_at: float | None
    last_at: float | None


@dataclass(frozen=True, slots=True)
class HeldDestination:
    """A destination that somebody holds, since when, and how many deliveries wait for it."""

    name: str
    held_at: float
    waiting: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """All that waits for a person. `held` counts single deliveries that are on hold, by destination;
    `unrouted` images that no rule takes."""

    parked: Sequence[StuckGroup]
    destinations: Sequence[HeldDestination]
    held: Mapping[str, int]
    unrouted: int


_CODEC = Cure(
    "The pixel data cannot be decoded or encoded here.",
    "Send these images unchanged by a rule, then re-route; keep one for a report.",
)
_DATA = Cure(
    "The pixel data is broken or contradicts the data set, so that it cannot be changed.",
    "Have the modality push the images again, or send them unchanged by a rule and re-route.",
)
_NAME = Cure(
    "No name for the images can be made of their values at the destination.",
    "Change the names in the destination (`url`, `path`), reload, then try again.",
)
CURES: Mapping[str, Cure] = MappingProxyType(
    {
        "refused": Cure(
            "The receiver refused the images.",
            "Ask the receiver's operator what its answer means; when it is mended, try them again.",
        ),
        "failed": Cure(
            "The receiver answered with a failure that DICOM does not define.",
            "Look at the receiver's log for that time; when it is mended, try them again.",
        ),
        "not-accepted": Cure(
            "The receiver accepts no presentation context for this kind of image.",
            "Have the SOP class allowed at the receiver, or send these images elsewhere by a rule.",
        ),
        "syntax-refused": Cure(
            "The receiver takes none of the transfer syntaxes in which the images can be sent.",
            "Allow another transfer syntax at the receiver, or change `syntaxes` of the destination.",
        ),
        "compression-refused": Cure(
            "The receiver takes no image in the compression of the rule.",
            "Change `compress` of the rule, then re-route: today's rules decide again.",
        ),
        "association-rejected": Cure(
            "The receiver does not let this node in.",
            "Have this node's AE title and address entered at the receiver, then try again.",
        ),
        "unreachable": Cure(
            "No connection to the receiver could be made for too long.",
            "See that the receiver runs and is reached (mapdr doctor peer), then try again.",
        ),
        "no-answer": Cure(
            "The receiver hung up or fell silent, again and again with the same images.",
            "Look at the receiver's log; when it is mended, try them again.",
        ),
        "receiver-busy": Cure(
            "The receiver was out of resources for too long.",
            "See that the receiver has room, then try again.",
        ),
        "missing": Cure(
            "The image's file is no longer in the spool.",
            "Have the modality push it again; the old delivery is then superseded, or dismiss it.",
        ),
        "other-file": Cure(
            "The spool holds another file than the one that was received.",
            "Have the modality push the image again; look at the disk.",
        ),
        "damaged": Cure(
            "The file in the spool is not as it was received.",
            "Have the modality push the image again; look at the disk.",
        ),
        "spool-file": Cure(
            "The file in the spool cannot be read.",
            "Look at the disk and at the rights of the data folder, then try again.",
        ),
        "transform": Cure(
            "The rule's changes cannot be made to these images; nothing was sent.",
            "Correct the rule (mapdr explain shows what it does to a file), then re-route.",
        ),
        "recipe": Cure(
            "The rule's recipe cannot be carried out by this installation.",
            "Correct the rule, then re-route: today's rules decide again.",
        ),
        "recipe-missing": Cure(
            "What was promised for these images is no longer known.",
            "Re-route them: today's rules decide again.",
        ),
        "syntax": Cure(
            "The images cannot be brought into a transfer syntax that the receiver takes.",
            "Allow the syntax in which they came there, or change `compress` of the rule and re-route.",
        ),
        "codec": _CODEC,
        "codec-crash": _CODEC,
        "pixels": _CODEC,
        "codec-mismatch": _DATA,
        "fragments": _DATA,
        "truncated": _DATA,
        "odd-length": Cure(
            "The images have elements of odd length, which the rule does not let through.",
            'Write odd_lengths = "pad" in the rule, then re-route; tell who makes such images.',
        ),
        "too-long": _DATA,
        "too-large": Cure(
            "The images are larger than the receiver takes.",
            "Raise its limit there, or compress by a rule and re-route.",
        ),
        "url": _NAME,
        "file-name": _NAME,
        "link": Cure("A link in the folder leads out of it.", "Remove the link, then try again."),
        "deadly": Cure(
            "The node ended three times while it prepared this image.",
            "Send it unchanged by a rule, then re-route; keep it for a report.",
        ),
        "memory": Cure(
            "The images need more memory than the node may use.",
            "Raise `memory` of [node] and restart the node, then try again.",
        ),
        "no-room": Cure("The receiver's disk is full.", "Make room there, then try again."),
        "read-only": Cure("The folder cannot be written to.", "Correct its rights, then try again."),
        "no-folder": Cure("The folder is not there.", "Mount or make it, then try again."),
        "unconfirmed": Cure(
            "The server did not confirm the images.",
            "Look at the server's log; when it is mended, try them again.",
        ),
        "unnamed": Cure(
            "The server's answer did not name the images, so that nothing proves that it has them.",
            "Look at the server's log; when it is mended, try them again.",
        ),
        "unexpected": Cure(
            "The images could not be prepared or sent, by a fault of this node.",
            "The log says where; report it, then try again.",
        ),
    }
)
"""Parking reasons that are known; a plug-in's may be others."""
_OTHER = Cure(
    "The images were given up for this reason.",
    "mapdr deliveries --state parked says more; when the cause is mended, try them again.",
)


def stuck(opened: Access) -> Stuck:
    """What is stuck now. Raises MapdrError if there is no index."""
    store = opened.index()
    queues = {queue.destination: queue for queue in store.counts.queues()}
    held = {name: queue.held for name, queue in sorted(queues.items()) if queue.held}
    destinations = [
        HeldDestination(name, since, queues[name].pending + queues[name].leased if name in queues else 0)
        for name, since in sorted(store.ledger.held_destinations().items())
    ]
    return Stuck([_group(each) for each in parked(opened)], destinations, held, store.counts.unrouted())


def _group(found: ParkedGroup) -> StuckGroup:
    known = CURES.get(found.reason, _OTHER)
    return StuckGroup(
        reason=found.reason,
        meaning=known.meaning,
        cure=known.cure,
        deliveries=found.deliveries,
        to=found.to,
        first_at=found.first_at,
        last_at=found.last_at,
    )
