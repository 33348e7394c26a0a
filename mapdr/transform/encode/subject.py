"""What a plan looks at, taken from an open document and from the codecs that there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mapdr.dicom import tags
from mapdr.dicom.transfer_syntax import NATIVE, is_deflated
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance
from mapdr.transform.codecs.table import Codecs, Row
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.plan import Subject, Wish, Writers
from mapdr.transform.encode.policy import SIGNATURES
from mapdr.transform.image import Attributes, Image, LeaveAsIs


def image_of(document: OpenImage) -> Image:
    """What there is to encode: what the cells of its frames hold. Raises LeaveAsIs."""
    try:
        return document.shown
    except Permanent as error:
        if error.reason != "syntax":
            raise
        raise LeaveAsIs("photometric") from error


def subject_of(document: OpenImage, instance: Instance, wish: Wish) -> Subject:
    """What a plan for `wish` knows of a document. Raises Permanent as OpenImage does."""
    payload, pixel = document.payload, document.data.pixel
    if pixel is None and all(method.way != "data-set" for method in wish.methods):
        # All of it is header, and none of that is asked for: it is not copied.
        return Subject(payload.sop_class_uid, payload.transfer_syntax_uid, None, pixels="none")
    attributes = document.attributes
    syntax = payload.transfer_syntax_uid
    is_readable = syntax in NATIVE or document.codecs.reads(syntax)
    form, fault = None, ""
    if pixel is not None:
        try:
            form = (image_of(document) if is_readable else document.image).format
        except LeaveAsIs as left:
            fault = left.reason
    tail = Attributes(document.tail)
    return Subject(
        sop_class_uid=payload.sop_class_uid,
        transfer_syntax_uid=syntax,
        form=form,
        pixels="none" if pixel is None else "integer" if pixel.tag == tags.PIXEL_DATA else "float",
        modality=attributes.text(tags.MODALITY),
        is_lossy=attributes.text(tags.LOSSY_IMAGE_COMPRESSION) == "01",
        is_in_concatenation=tags.CONCATENATION_UID in attributes,
        is_multi_energy=attributes.text(tags.MULTIENERGY_CT_ACQUISITION) == "YES",
        has_signature=any(tag in attributes or tag in tail for tag in SIGNATURES),
        is_readable=is_readable,
        is_painted=document.is_painted,
        was_deflated=is_deflated(instance.transfer_syntax_uid),
        fault=fault,
    )


def writers_of(codecs: Codecs) -> Writers:
    """What the codecs write."""
    return replace(
        _writers(codecs.rows.values()),
        plugins={name: _writers(rows.values()) for name, rows in codecs.own.items()},
    )


def _writers(rows: Collection[Row]) -> Writers:
    return Writers(
        {row.uid: row.encoder.takes for row in rows if row.encoder is not None},
        {row.uid: row.lossy_encoder.takes for row in rows if row.lossy_encoder is not None},
    )
