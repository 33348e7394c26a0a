"""How an image was compressed and what that has reached, as it was kept when it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mapdr.store import Store
from mapdr.store.queue.listing import DeliveryRow

STEP = "compress"


@dataclass(frozen=True, slots=True)
class Compression:
    """What the `compress` step made of an image.

    `course` is lossy, lossless or original, and `reason` why it is not what the rule wants. `ratio` is how
    many times smaller the pixels are than native ones; of the frames the worst have the PSNR in dB, the
    greatest error in stored values, and the similarity, if the rule asks for one; `encodes` is how often a
    frame was encoded for it, in the mean. `cut_off` are pixels whose colours RGB has not, of an image that
    became RGB. None is what does not apply or was not kept.
    """

    course: str
    reason: str = ""
    ratio: float | None = None
    psnr: float | None = None
    max_error: int | None = None
    ssim: float | None = None
    encodes: float | None = None
    cut_off: int | None = None

    @property
    def words(self) -> str:
        """Such as "10.02:1, PSNR 62.1 dB, no pixel off by more than 9, encoded 1.3 times"."""
        parts = (
            ("{:.2f}:1", self.ratio),
            ("PSNR {:.1f} dB", self.psnr),
            ("no pixel off by more than {}", self.max_error),
            ("SSIM {:.4f}", self.ssim),
            ("encoded {:g} times", self.encodes),
            ("{} pixels cut off in RGB", self.cut_off),
        )
        return ", ".join(text.format(value) for text, value in parts if value is not None)

    @property
    def told(self) -> str:
        """The same, and before it what was not done that the rule wants, and why."""
        course = {"original": "not compressed", "lossless": "without loss"}.get(self.course)
        why = f"{course} ({self.reason})" if course and self.reason else ""
        return ", ".join(filter(None, (why, self.words)))


def compression_of(facts: Mapping[str, Any] | None) -> Compression | None:
    """What a pipeline has kept of its step that compresses; None where there is none, or nothing kept."""
    found = (facts or {}).get(STEP)
    if not isinstance(found, Mapping) or "course" not in found:
        return None
    known = {key: found[key] for key in Compression.__dataclass_fields__ if key in found}
    return Compression(**known)


def compressions_sent(store: Store, rows: Sequence[DeliveryRow]) -> list[Compression | None]:
    """How the image of each delivery was compressed as it was last sent, or why it was not (`course`
    original); None if no rule asks for it, if the receiver takes none of its methods, or if it is not known.
    """
    kept = store.recipes.kept([row.instance for row in rows if _may_be_compressed(row)])
    return [_compression_sent(kept, row) for row in rows]


def _may_be_compressed(row: DeliveryRow) -> bool:
    return row.last is not None and row.reason != "compression-refused"


def _compression_sent(
    kept: Mapping[tuple[str, str, str], Mapping[str, Any]], row: DeliveryRow
) -> Compression | None:
    """The same of one, by what was kept of instance, recipe and syntax."""
    last = row.last
    if last is None or not _may_be_compressed(row):
        return None
    # In a syntax that the receiver asked for, the facts are kept under that.
    for syntax in (last.transfer_syntax_uid, ""):
        found = compression_of(kept.get((row.instance, row.recipe, syntax)))
        if found is not None and (last.treatment == "transcoded" or found.course == "original"):
            return found
    return None
