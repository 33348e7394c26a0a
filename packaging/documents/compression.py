"""docs/compression.md: the methods, and what is planned for which image, by the function that plans it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from tables import table

from mapdr.dicom import uids
from mapdr.dicom.transfer_syntax import name_of
from mapdr.kernel.codec import FrameFormat, PixelRange
from mapdr.transform.encode.methods import AUTO_METHODS, METHODS
from mapdr.transform.encode.plan import Plan, Subject, Wish, Writers, plan
from mapdr.transform.encode.policy import LIFTABLE, LIFTED, MAY_BE_LOSSY, NEVER_LOSSY, NEVER_TOUCHED

CT = uids.CT_IMAGE_STORAGE
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
"""Younger than some pydicom's table of names."""
GREY = FrameFormat(512, 512, 1, 16, 12, False, "MONOCHROME2")
COLOUR = FrameFormat(512, 512, 3, 8, 8, False, "RGB")
ANY = PixelRange()
WRITERS = Writers(
    {method.lossless: ANY for method in METHODS.values()},
    {method.lossy: ANY for method in METHODS.values() if method.lossy},
)
LOSSY = Wish((METHODS["jpeg2000"],), lossy=True)
LOSSLESS = Wish((METHODS["jpeg2000-lossless"],))
IMAGE = Subject(CT, uids.EXPLICIT_VR_LITTLE_ENDIAN, GREY)
WORDS = {"original": "pass", "lossless": "lossless", "lossy": "lossy", "refuse": "refuse"}

WHAT = {
    "already-lossy": "its pixels were compressed with loss before",
    "for-processing": "made for processing, not for looking at",
    "mammography": "mammography and breast tomosynthesis, for presentation",
    "nuclear": "PET and nuclear medicine: counts and uptake are measured",
    "secondary-capture": "screens, scanned paper: text and lines, and lossless does well",
    "parametric": "parametric maps: each value is a measurement",
    "ophthalmic": "ophthalmic photography and tomography: thicknesses are measured",
    "intravascular-oct": "intravascular optical coherence tomography",
    "segmentation": "segmentations: PS3.3 section C.8.20.2.2",
    "dose": "dose grids",
    "radiotherapy-image": "images of radiotherapy",
    "multi-energy": "MultienergyCTAcquisition is YES",
    "whole-slide": "whole slide microscopy: tiles, already compressed",
    "label-map": "label maps: values are names",
    "unknown-sop-class": "a SOP class that is not in the tables: private and new ones",
}
"""The reasons that a rule may lift, in words."""
ORTHANC = {
    **dict.fromkeys(
        (
            uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
            uids.RLE_LOSSLESS,
            uids.JPEG_BASELINE,
            uids.JPEG_EXTENDED,
            uids.JPEG_LOSSLESS_SV1,
            uids.JPEG_LS_LOSSLESS,
            uids.JPEG_LS_NEAR_LOSSLESS,
        ),
        ("yes", "yes", "-"),
    ),
    **dict.fromkeys((uids.JPEG2000_LOSSLESS, uids.JPEG2000), ("yes", "yes", "no")),
    **dict.fromkeys(
        (
            uids.HTJ2K_LOSSLESS,
            uids.HTJ2K,
            uids.JPEG_XL_LOSSLESS,
            uids.JPEG_XL_JPEG_RECOMPRESSION,
            uids.JPEG_XL,
        ),
        ("no", "-", "-"),
    ),
}
"""Whether Orthanc takes a transfer syntax, shows it, and shows it with the colour transform of
`color = "ybr"`; tests/transform/test_orthanc.py holds it to this."""


def document() -> str:
    """The text of docs/compression.md."""
    assert set(WHAT) == set(LIFTABLE)
    return f"""# What is compressed, how, and what never is

This page is made of the code that decides (`packaging/documents`). What a rule may say: [`compress`](configuration.md#compress).

Before a pixel is read, a plan is made from the header: SOP class, photometric interpretation, bits, sign, what was lost before, what the rule
wants and what the receiver takes. **lossy** and **lossless** are compressed; **pass** leaves as it came; **refuse** cannot leave, and is parked.
Once its pixels are known, an image may still go the safer way: lossless where that meets the ratio or a guard fails, as it came where it would not
become smaller.

## Methods

The names of `compress.to`. Which of them this installation can write says `mapdr doctor --codecs`; `mapdr check` refuses a rule that names another.
HTJ2K encodes nine times as fast as JPEG 2000, at nearly its quality (CT at 10:1: 1.3 dB less): it is the better choice wherever the receiver takes it.

{table(("name", "without loss", "with loss"), _methods())}
An image that a lossy method may not or cannot write with loss is written without, in the syntax beside it.

## `to = "auto"`

`"auto"` is short for {", ".join(f"`{each.name}`" for each in AUTO_METHODS)}, in this order and as far as this installation can write them: each image
goes by the first that takes it (its bits, sign and colours) and that its receiver takes, with its target as by a list. HTJ2K comes first
because it is fastest; JPEG 2000 because most receivers of lossy images take it; JPEG before JPEG-LS because at 10:1
its errors are spread more like the image (8-bit ultrasound: SSIM 0.95 to 0.997 where JPEG-LS has 0.75 to 0.96, though its greatest error is larger). What is not among them (JPEG XL, RLE, `deflated`) a rule names itself.

With a `ratio`, the images of one series go alike: without loss all of them where that meets the ratio, within the 5 %, else with loss. The first image is encoded without
loss and tells. The series goes without loss as long as its images so far, taken together, meet the ratio (one that takes less than half of what it may counts as half: slices of air do not make up
for many others); from the first image with which they would not, it goes with loss to its end, and is not tried any more. So a series changes over once at most.
An image that is at least a fourth simpler than the ratio asks (a slice of air in a series that goes with loss) goes without it nevertheless, for it is smaller so, and one that holds next to nothing decides nothing.
What goes for a series goes for all destinations of the recipe that take the same method, and for all threads; by another method, or in another size or depth,
its images have a course of their own. A node that restarts goes on as the series has begun. Other lossy methods than `"auto"` try each image without loss where a forecast by
its finest details says that it may meet the ratio. With `psnr` or `max_error`, an image goes without loss where that is no larger. Which it was, in which transfer syntax,
and the ratio that was reached stand with the image (`mapdr explain`, `mapdr deliveries --attempts`, the page).

## By SOP class

What becomes of a usual image of the class by `to = "jpeg2000", ratio = 10`, and why; and by `to = "jpeg2000-lossless"`.

{table(("SOP class", "UID", "lossy wanted", "because", "lossless wanted"), _classes())}
## By image

The same, for CT images unless it is said otherwise.

{table(("image", "lossy wanted", "because", "lossless wanted"), _images())}
## Colours

What colours an image of 8 bits a sample is written in, by what the rule's `color` and `ybr_to_rgb` say (YBR_RCT without loss, YBR_ICT with loss):

{table(("image", "method", "as by default", '`color = "ybr"`', "`ybr_to_rgb = true`", "both"), _colours())}
By `ybr_to_rgb`, YBR_FULL and YBR_FULL_422 become RGB by the inverse of the equations of PS3.3 section C.7.6.3.1.2, rounded. Each colour that RGB has comes back
exactly by those; one that it has not is cut off at 0 or 255, as viewers do. An image with such pixels is another one: it has a new SOP Instance UID, is DERIVED, and tells their number (Derivation
Description, `mapdr explain`); the others stay the same image. Lossy Image Compression is about compression, and is not set. An ultrasound
is then what its IOD names, and shown by receivers that do not know YBR_FULL. What `compress` leaves as it came keeps its colours, and so does an image
whose receiver takes none of the rule's methods; colours of more than 8 bits are left (`no-rgb`).

## What a rule may lift

`allow = ["nuclear"]` lets this rule compress with loss what otherwise is not, for this reason. `"quantitative"` is short for
{", ".join(f"`{each}`" for each in LIFTED["quantitative"])}.
Palettes stay lossless in any case, and so do members of a concatenation. Whose images these are should say so.

{table(("word", "images"), ((f"`{word}`", WHAT[word]) for word in LIFTABLE))}
## By receiver

`to = ["htj2k", "jpeg2000"], ratio = 10` for a CT image, where the receiver takes these transfer syntaxes alone:

{table(("the receiver takes", "what is done", "transfer syntax", "because"), _receivers())}
## What Orthanc shows

Debian 12's Orthanc (1.10) with its GDCM plugin (1.5), by C-STORE and its REST API: pixel by pixel what was written without loss, and within the
greatest error that MAPDR tells what was written with loss. JPEG 2000 whose colours were transformed (`color = "ybr"`: YBR_RCT, YBR_ICT) it takes and
does not show ("Unsupported output photometric interpretation" in its log). What it does not take leaves in another syntax of the rule, or without loss in one that it takes.

{table(("transfer syntax", "taken", "shown", 'shown with `color = "ybr"`'), _shown())}"""


def _methods() -> Iterator[tuple[str, str, str]]:
    for method in METHODS.values():
        yield f"`{method.name}`", name_of(method.lossless), name_of(method.lossy) if method.lossy else "-"


def _classes() -> Iterator[tuple[str, ...]]:
    from pydicom.uid import UID

    for sop_class in sorted(MAY_BE_LOSSY | NEVER_LOSSY.keys() | NEVER_TOUCHED.keys(), key=_numbers):
        image = Subject(sop_class, IMAGE.transfer_syntax_uid, GREY)
        name = UID(sop_class).name.removesuffix(" Storage")
        yield "Label Map Segmentation" if sop_class == LABEL_MAP else name, sop_class, *_both(image)


def _numbers(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]


def _images() -> Iterator[tuple[str, ...]]:
    us = uids.ULTRASOUND_IMAGE_STORAGE
    explicit = uids.EXPLICIT_VR_LITTLE_ENDIAN
    images = {
        "grey, 8 to 16 bits, signed or not": IMAGE,
        "RGB photograph": Subject("1.2.840.10008.5.1.4.1.1.77.1.4", explicit, COLOUR),
        'RGB ultrasound, without `color = "ybr"`': Subject(us, explicit, COLOUR),
        "YBR_FULL or YBR_FULL_422 ultrasound": Subject(us, explicit, replace(COLOUR, photometric="YBR_FULL")),
        "palette": Subject(us, explicit, FrameFormat(512, 512, 1, 8, 8, False, "PALETTE COLOR")),
        "1 bit": Subject(CT, explicit, FrameFormat(512, 512, 1, 1, 1, False, "MONOCHROME2")),
        "32 bits": Subject(CT, explicit, FrameFormat(512, 512, 1, 32, 32, False, "MONOCHROME2")),
        "float pixels": Subject(CT, explicit, None, pixels="float"),
        "no pixels": Subject(CT, explicit, None, pixels="none"),
        "with a digital signature": Subject(CT, explicit, GREY, has_signature=True),
        "in a concatenation": Subject(CT, explicit, GREY, is_in_concatenation=True),
        "multi-energy": Subject(CT, explicit, GREY, is_multi_energy=True),
        "LossyImageCompression is 01": Subject(CT, explicit, GREY, is_lossy=True),
        "came in RLE or JPEG-LS Lossless": Subject(CT, uids.RLE_LOSSLESS, GREY),
        "came in JPEG 2000 Lossless": Subject(CT, uids.JPEG2000_LOSSLESS, GREY),
        "came in JPEG Baseline or JPEG 2000": Subject(CT, uids.JPEG_BASELINE, COLOUR),
        "came as video": Subject(CT, "1.2.840.10008.1.2.4.100", None, is_readable=False),
    }
    for name, image in images.items():
        yield name, *_both(image)


def _colours() -> Iterator[tuple[str, ...]]:
    us, photograph = uids.ULTRASOUND_IMAGE_STORAGE, "1.2.840.10008.5.1.4.1.1.77.1.4"
    explicit, ybr = uids.EXPLICIT_VR_LITTLE_ENDIAN, replace(COLOUR, photometric="YBR_FULL")
    images = {
        "RGB photograph": Subject(photograph, explicit, COLOUR),
        "RGB ultrasound": Subject(us, explicit, COLOUR),
        "YBR_FULL or YBR_FULL_422 ultrasound": Subject(us, explicit, ybr),
    }
    for (name, image), method in itertools.product(images.items(), ("jpeg2000", "jpegls", "native")):
        wish = Wish((METHODS[method],))
        wishes = (
            replace(wish, transform_colour=transformed, to_rgb=to_rgb)
            for to_rgb, transformed in itertools.product((False, True), repeat=2)
        )
        yield name, f"`{method}`", *(_written_as(image, each) for each in wishes)


def _written_as(image: Subject, wish: Wish) -> str:
    """The photometric interpretation that an image is written in; that it came in, or why it is left."""
    found = plan(image, wish, WRITERS)
    assert image.form is not None
    if found.method is None:
        return image.form.photometric if found.reason == "already-compressed" else f"left ({found.reason})"
    colour = "RGB" if found.to_rgb else image.form.photometric
    is_transformed = colour == "RGB" and found.method.is_wavelet and wish.transform_colour
    return "YBR_RCT, YBR_ICT" if is_transformed else colour


def _both(image: Subject) -> tuple[str, str, str]:
    lossy, lossless = plan(image, LOSSY, WRITERS), plan(image, LOSSLESS, WRITERS)
    return _word(lossy), lossy.reason, _word(lossless)


def _word(found: Plan) -> str:
    return WORDS[found.course.value]


def _receivers() -> Iterator[tuple[str, ...]]:
    wish = Wish((METHODS["htj2k"], METHODS["jpeg2000"]), lossy=True)
    for taken in (
        (uids.HTJ2K, uids.JPEG2000, uids.EXPLICIT_VR_LITTLE_ENDIAN),
        (uids.JPEG2000, uids.EXPLICIT_VR_LITTLE_ENDIAN),
        (uids.JPEG2000_LOSSLESS,),
        (uids.IMPLICIT_VR_LITTLE_ENDIAN,),
        (uids.JPEG_BASELINE,),
    ):
        found = plan(IMAGE, wish, WRITERS, taken)
        syntax = name_of(found.syntax) if found.syntax else "-"
        yield ", ".join(map(name_of, taken)), _word(found), syntax, found.reason


def _shown() -> Iterator[tuple[str, ...]]:
    for syntax, words in ORTHANC.items():
        yield name_of(syntax), *words
