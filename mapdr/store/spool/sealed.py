"""Reading back a file of the spool as the arrival that it was: how recovery learns what the index lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import xxhash

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Arrival, TagPath
from mapdr.store.spool import filemeta
from mapdr.store.spool.headers import PREFIX, SOP_CLASS_UID, SOP_INSTANCE_UID, identity, read_header

_CHUNK = 1 << 20


class NotSealed(Permanent):
    """A file whose bytes are not those of its seal, or that has none."""


def read_arrival(path: Path, id_: str, wanted: Callable[[str], frozenset[TagPath]]) -> Arrival:
    """The arrival that the file `path` of the instance `id_` holds; the whole file is read.

    `wanted` gives the tags to read of the header, by the configuration revision that the file names. Raises
    NotSealed; Permanent for bytes that are those of the seal, but no data set that can be read; OSError.
    """
    with path.open("rb") as file:
        try:
            meta = filemeta.decode(file)
        except Permanent as error:
            raise NotSealed(str(error), reason=error.reason) from None
        begun = file.read(_CHUNK)
        digest = xxhash.xxh3_128(begun)
        size = len(begun)
        while data := file.read(_CHUNK):
            digest.update(data)
            size += len(data)
        if digest.digest() != meta.digest:
            raise NotSealed("its bytes are not those that it was sealed with", reason="spool-file")
        header = read_header(
            file.fileno(),
            meta.data_offset,
            size,
            begun[:PREFIX],
            transfer_syntax_uid=meta.transfer_syntax_uid,
            wanted=wanted(meta.revision),
        )
    return Arrival(
        id=id_,
        source=meta.source,
        sop_class_uid=identity(header.text(SOP_CLASS_UID), meta.sop_class_uid),
        sop_instance_uid=identity(header.text(SOP_INSTANCE_UID), meta.sop_instance_uid),
        transfer_syntax_uid=meta.transfer_syntax_uid,
        data_offset=meta.data_offset,
        size=size,
        digest=meta.digest,
        received_at=meta.received_at,
        revision=meta.revision,
        header=header,
    )
