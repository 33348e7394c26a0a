"""Images as they were received, those that no rule took as well: from whom, and where each of them stands."""

from __future__ import annotations

from mapdr.operate.access import Access
from mapdr.operate.selection import Selection
from mapdr.store.index.overview import ImageRow as Image

__all__ = ["Image", "images"]


def images(opened: Access, chosen: Selection) -> list[Image]:
    """The images that a selection chooses, the last received first; of a study with its UID.

    One that came several times is there as often. Raises MapdrError if there is no index, RequestError for a
    destination that there is not.
    """
    return opened.index(chosen).overview.images(chosen)
