"""AE titles in configurations."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from mapdr.kernel.item import is_ae_title


def ae_title(text: str) -> str:
    """`text` without the spaces around it, which mean nothing (PS3.5, table 6.2-1).

    Raises ValueError with the cure if that is not an AE title.
    """
    title = text.strip(" ")
    if not is_ae_title(title):
        raise ValueError("is not an AE title; write 1 to 16 ASCII characters without a backslash, e.g. PACS1")
    return title


AeTitle = Annotated[str, AfterValidator(ae_title)]
"""A field of a stage's configuration that holds an AE title."""
