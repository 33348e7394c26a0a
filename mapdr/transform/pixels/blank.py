"""The `blank` step: regions of the pixels are blanked, by entries that say which images have which."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from mapdr.dicom import tags
from mapdr.dicom.write import element, splice
from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance
from mapdr.kernel.stage import Factory, Settings
from mapdr.kernel.step import Changes, Phase, Reads
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.derive import blanked_changes
from mapdr.transform.image import Attributes, LeaveAsIs
from mapdr.transform.pixels.black import Ink
from mapdr.transform.pixels.copies import without_copies
from mapdr.transform.pixels.entries import Entries, FromRegionFiles
from mapdr.transform.pixels.regions import Regions, RegionSet


class BlankConfig(FromRegionFiles):
    """`blank = { regions = ["ours.toml", "ultrasound"], uncovered = "park" }`

    The first entry of `regions` that fits an image says what is blanked. `uncovered` is what becomes of an
    image that none fits: it parks, or passes as it is.
    """

    regions: Entries
    uncovered: Literal["park", "pass"] = "park"


class BlankStep:
    """The step; keeps no state of images."""

    phase = Phase.PIXELS
    reads = Reads.FRAMES
    changes = Changes.HEADER | Changes.PIXELS
    copies = 0

    def __init__(self, regions: RegionSet, *, parks: bool) -> None:
        """`parks`: an image without regions parks, else it is left as it is."""
        self._set = regions
        self._parks = parks

    def painting(self, came: OpenImage, instance: Instance) -> Blanking | str:
        """What is blanked of an image. Raises Permanent: "uncovered", "pixels"; Unreadable."""
        regions = self._set.regions_for(came.attributes)
        if regions is None and self._parks:
            raise Permanent(
                "no entry of the rule's regions fits it, and nothing tells what to blank; "
                'add one, or write uncovered = "pass"',
                reason="uncovered",
            )
        return "not blanked: no regions" if regions is None else blanking(regions, came)


class Blanking:
    """The regions of one image, as they are blanked."""

    def __init__(self, regions: Regions, ink: Ink) -> None:
        self.note = f"blanked: {regions.name or 'an entry without a name'}"
        self._all_text = regions.all_text
        self._mask = regions.mask()
        self._ink = ink
        self._cells = lru_cache(maxsize=1)(ink.cells)

    def paint(self, frame: Pixels, form: FrameFormat, index: int) -> Pixels:
        """The frame with black in its regions, and nothing in the bits of overlays."""
        if frame.shape[:2] != self._mask.shape:
            raise Permanent("its rows and columns are others than were received", reason="pixels")
        painted = self._ink.without_overlays(frame)
        cells = self._cells(form)
        painted[self._mask] = cells if form.samples > 1 else cells[0]
        return painted

    def header(self, header: bytes, *, changed: bool) -> bytes:
        """The header without overlays and icons; of changed pixels it says what was done to them."""
        if changed:
            return splice(header, blanked_changes(Attributes(header)))
        header = without_copies(header)
        if not self._all_text:
            return header
        return splice(header, {tags.BURNED_IN_ANNOTATION: element(tags.BURNED_IN_ANNOTATION, "CS", b"NO")})

    def tail(self, tail: bytes) -> bytes:
        """What is behind the pixel data, without what devices keep there of the pixels."""
        return without_copies(tail)


def blanking(regions: Regions, came: OpenImage) -> Blanking:
    """How `regions` are blanked of an image, open as it was received. Raises Permanent(reason="pixels")."""
    try:
        return Blanking(regions, Ink.of(came.image))
    except LeaveAsIs as left:
        raise Permanent(f"its pixels cannot be changed here: {left.reason}", reason="pixels") from left


def build(settings: Settings, config: BlankConfig, next: None) -> BlankStep:
    """The transform for a node."""
    return BlankStep(RegionSet(config.regions), parks=config.uncovered == "park")


def _files(config: BlankConfig) -> tuple[Path, ...]:
    return config.files


STAGE = Factory("transform", "blank", BlankConfig, build, order=50, files=_files)
