"""The plan of a compression: what is done with which image, before its pixels are read."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mapdr.dicom import uids
from mapdr.dicom.transfer_syntax import LOSSLESS_COMPRESSED, MAYBE_LOSSY, NATIVE
from mapdr.kernel.codec import FrameFormat, PixelRange
from mapdr.transform.encode import wish as wishes
from mapdr.transform.encode.methods import AUTO, METHODS, Method, Name
from mapdr.transform.encode.plan import ASKED, REFUSED, Course, Plan, Subject, Wish, Writers, plan
from mapdr.transform.encode.policy import LIFTABLE, LIFTED, MAY_BE_LOSSY, NEVER_LOSSY, NEVER_TOUCHED
from mapdr.transform.encode.wish import CompressConfig, unavailable, without_effect

CT, US, SEG, MG = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "6.1", "66.4", "1.2"))
EXPLICIT, IMPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN
DEFLATED = uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
GREY = FrameFormat(8, 8, 1, 16, 12, False, "MONOCHROME2")
RGB = replace(GREY, samples=3, allocated=8, stored=8, photometric="RGB")
ALL = PixelRange(stored=range(2, 17))
WRITERS = Writers(
    {method.lossless: ALL for method in METHODS.values() if method.way == "codec"},
    {method.lossy: ALL for method in METHODS.values() if method.lossy}
    | {
        uids.JPEG_BASELINE: PixelRange(allocated=(8,), stored=(8,), signed=False),
        uids.JPEG_EXTENDED: PixelRange(allocated=(16,), stored=(12,), samples=(1,), signed=False),
    },
)
IMAGE = Subject(CT, EXPLICIT, GREY)


def wanting(*names: str, lossy: bool = False, **more: object) -> Wish:
    return Wish(tuple(METHODS[name] for name in names), lossy=lossy, **more)  # type: ignore[arg-type]


LOSSY = wanting("jpeg2000", lossy=True)
LOSSLESS = wanting("jpeg2000-lossless")
BOTH = wanting("htj2k", "jpeg2000", lossy=True)


def told(found: Plan) -> tuple[str, str, str]:
    return found.course.value, found.syntax, found.reason


def subject(**changes: object) -> Subject:
    return replace(IMAGE, **changes)  # type: ignore[arg-type]


def came(syntax: str) -> Subject:
    return replace(IMAGE, transfer_syntax_uid=syntax)


def form(**changes: object) -> Subject:
    return replace(IMAGE, form=replace(GREY, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("lossy", [False, True])
def test_a_plain_image_goes_by_any_method(name: str, lossy: bool) -> None:
    method = METHODS[name]
    found = plan(IMAGE, wanting(name, lossy=lossy), WRITERS)
    if name == "jpegxl-recompress":
        assert told(found) == ("original", "", "not-jpeg")
    elif name == "native":
        assert told(found) == ("original", "", "already-compressed")
    elif name == "jpeg" and lossy:  # 12 bits are not for it
        assert told(found) == ("lossless", method.lossless, "bits-allocated")
    elif lossy and method.lossy:
        assert told(found) == ("lossy", method.lossy, "")
        assert found.lossless_syntax == method.lossless
    else:
        assert told(found) == ("lossless", method.lossless, "")


@pytest.mark.parametrize(
    ("image", "wish", "course", "reason"),
    [
        (subject(pixels="none", form=None), LOSSY, "original", "no-pixels"),
        (subject(pixels="float", form=None), LOSSY, "original", "float-pixels"),
        (subject(has_signature=True), LOSSLESS, "original", "digital-signature"),
        (subject(sop_class_uid="1.2.3"), LOSSLESS, "original", "unknown-sop-class"),
        (subject(fault="pixel-module", form=None), LOSSY, "original", "pixel-module"),
        (
            subject(is_readable=False, transfer_syntax_uid=uids.JPEG_LS_LOSSLESS),
            LOSSY,
            "original",
            "transfer-syntax",
        ),
        (came("1.2.840.10008.1.2.4.100"), LOSSY, "original", "transfer-syntax"),
        (came(uids.JPEG2000), LOSSLESS, "original", "already-lossy"),
        (came(uids.JPEG2000_LOSSLESS), LOSSLESS, "original", "already-compressed"),
        (came(uids.RLE_LOSSLESS), LOSSLESS, "lossless", ""),
        (subject(is_lossy=True), LOSSY, "original", "already-lossy"),
        (subject(is_lossy=True), LOSSLESS, "lossless", ""),
        (subject(is_multi_energy=True), LOSSY, "lossless", "multi-energy"),
        (subject(is_in_concatenation=True), LOSSY, "lossless", "concatenation"),
        (subject(modality="CT"), replace(LOSSY, exclude=frozenset({"CT"})), "lossless", "excluded"),
        (subject(), replace(LOSSY, exclude=frozenset({CT})), "lossless", "excluded"),
        (
            subject(sop_class_uid=SEG, transfer_syntax_uid=uids.JPEG2000_LOSSLESS),
            LOSSY,
            "original",
            "segmentation",
        ),
        (form(allocated=1, stored=1), LOSSY, "original", "one-bit"),
        (form(allocated=32, stored=32), LOSSY, "original", "bits-allocated"),
        (form(photometric="YBR_PARTIAL_420", samples=3), LOSSY, "original", "photometric"),
        (form(photometric="PALETTE COLOR", allocated=8, stored=8), LOSSY, "lossless", "palette"),
        (form(photometric="PALETTE COLOR", signed=True), LOSSY, "original", "photometric"),
        (replace(IMAGE, form=RGB, sop_class_uid=US), LOSSY, "original", "ultrasound-colour"),
        (replace(IMAGE, form=RGB, sop_class_uid=US), replace(LOSSY, transform_colour=True), "lossy", ""),
        (replace(IMAGE, form=RGB, sop_class_uid=US), LOSSLESS, "original", "ultrasound-colour"),
        (replace(IMAGE, form=RGB, sop_class_uid=US), wanting("jpegls"), "lossless", ""),
        (subject(is_painted=True), LOSSY, "lossy", ""),
        (subject(is_painted=True, is_lossy=True), LOSSY, "lossless", "already-lossy"),
        (
            subject(is_painted=True, transfer_syntax_uid=uids.JPEG_BASELINE),
            LOSSY,
            "lossless",
            "already-lossy",
        ),
        (replace(came(uids.JPEG2000_LOSSLESS), is_painted=True), LOSSLESS, "lossless", ""),
        (came(uids.JPEG_BASELINE), wanting("native"), "lossless", ""),
        (came(uids.JPEG_BASELINE), wanting("jpegxl-recompress"), "lossless", ""),
        (
            subject(transfer_syntax_uid=uids.JPEG_BASELINE, form=None, fault="pixel-module"),
            wanting("jpegxl-recompress"),
            "original",
            "pixel-module",
        ),
        (
            came(uids.JPEG_BASELINE),
            wanting("deflated"),
            "original",
            "already-compressed",
        ),
        (subject(pixels="none", form=None), wanting("deflated"), "lossless", ""),
        (subject(pixels="float", form=None), wanting("deflated"), "lossless", ""),
        (subject(was_deflated=True), wanting("deflated"), "original", "already-compressed"),
        (subject(was_deflated=True), wanting("native"), "lossless", ""),
    ],
)
def test_what_is_done_with_which_image(image: Subject, wish: Wish, course: str, reason: str) -> None:
    found = plan(image, wish, WRITERS)
    assert (found.course.value, found.reason) == (course, reason)


YBR = replace(RGB, photometric="YBR_FULL")
DEEP = replace(YBR, allocated=16, stored=12)
US_YBR = subject(form=YBR, sop_class_uid=US)
US_RLE = replace(US_YBR, transfer_syntax_uid=uids.RLE_LOSSLESS)
SIGNED = replace(US_YBR, has_signature=True)
BY_JPEG = wanting("jpeg", lossy=True)
PARTIAL = subject(form=replace(YBR, photometric="YBR_PARTIAL_422"), sop_class_uid=US)


@pytest.mark.parametrize(
    ("image", "wish", "expected", "becomes_rgb"),
    [
        (US_YBR, wanting("native"), ("lossless", EXPLICIT, ""), True),
        (US_YBR, wanting("deflated"), ("lossless", DEFLATED, ""), True),
        (US_RLE, wanting("rle"), ("lossless", uids.RLE_LOSSLESS, ""), True),
        (US_RLE, wanting("deflated"), ("lossless", DEFLATED, ""), True),
        (PARTIAL, wanting("rle"), ("lossless", uids.RLE_LOSSLESS, ""), True),
        (US_YBR, BY_JPEG, ("lossy", uids.JPEG_BASELINE, ""), True),
        (US_YBR, wanting("jpegxl-lossless"), ("lossless", uids.JPEG_XL_LOSSLESS, ""), True),
        (US_YBR, LOSSY, ("original", "", "ultrasound-colour"), False),
        (US_YBR, replace(LOSSY, transform_colour=True), ("lossy", uids.JPEG2000, ""), True),
        (replace(US_YBR, is_lossy=True), BY_JPEG, ("original", "", "already-lossy"), False),
        (SIGNED, wanting("native"), ("original", "", "digital-signature"), False),
        (replace(US_YBR, form=DEEP), wanting("native"), ("original", "", "no-rgb"), False),
        (replace(US_YBR, form=DEEP), wanting("rle"), ("original", "", "no-rgb"), False),
        (replace(US_YBR, form=RGB), wanting("native"), ("original", "", "already-compressed"), False),
        (replace(US_YBR, form=RGB), wanting("rle"), ("lossless", uids.RLE_LOSSLESS, ""), False),
        (IMAGE, LOSSY, ("lossy", uids.JPEG2000, ""), False),
        (replace(US_RLE, is_readable=False), wanting("native"), ("original", "", "transfer-syntax"), False),
    ],
)
def test_what_becomes_rgb(
    image: Subject, wish: Wish, expected: tuple[str, str, str], becomes_rgb: bool
) -> None:
    found = plan(image, replace(wish, to_rgb=True), WRITERS)
    assert told(found) == expected
    assert found.to_rgb == becomes_rgb
    assert not plan(image, wish, WRITERS).to_rgb


def test_a_receiver_that_takes_none_of_the_methods_gets_the_colours_that_came() -> None:
    wish = replace(wanting("rle"), to_rgb=True)
    found = plan(US_YBR, wish, WRITERS, (EXPLICIT,))
    assert (told(found), found.to_rgb) == (("original", EXPLICIT, REFUSED), False)
    found = plan(US_YBR, replace(wanting("native"), to_rgb=True), WRITERS, (IMPLICIT,))
    assert (told(found), found.to_rgb) == (("lossless", IMPLICIT, ""), True)


@pytest.mark.parametrize("sop_class", sorted(MAY_BE_LOSSY | NEVER_LOSSY.keys() | NEVER_TOUCHED.keys()))
def test_a_sop_class_loses_what_its_table_allows_and_the_rule_can_lift_that(sop_class: str) -> None:
    image = subject(sop_class_uid=sop_class)
    found = plan(image, LOSSY, WRITERS)
    reason = NEVER_TOUCHED.get(sop_class) or NEVER_LOSSY.get(sop_class, "")
    course = "original" if sop_class in NEVER_TOUCHED else "lossless" if reason else "lossy"
    assert (found.course.value, found.reason) == (course, reason)
    if reason in LIFTABLE:
        assert plan(image, replace(LOSSY, allow=frozenset({reason})), WRITERS).course is Course.LOSSY
    for word, reasons in LIFTED.items():
        lifted = plan(image, replace(LOSSY, allow=frozenset({word})), WRITERS)
        assert (lifted.course is Course.LOSSY) == (course == "lossy" or reason in reasons)


@pytest.mark.parametrize("word", ["already-lossy", "multi-energy", "unknown-sop-class"])
def test_other_reasons_are_lifted_too(word: str) -> None:
    lifting = replace(LOSSY, allow=frozenset({word}))
    images = {
        "already-lossy": [subject(is_lossy=True), came(uids.JPEG_BASELINE)],
        "multi-energy": [subject(is_multi_energy=True)],
        "unknown-sop-class": [subject(sop_class_uid="1.2.3")],
    }
    for image in images[word]:
        assert plan(image, LOSSY, WRITERS).reason == word
        assert told(plan(image, lifting, WRITERS)) == ("lossy", uids.JPEG2000, "")


def test_the_first_method_that_takes_the_image_is_used_and_the_others_are_told() -> None:
    found = plan(IMAGE, BOTH, WRITERS)
    assert told(found) == ("lossy", uids.HTJ2K, "")
    assert found.others == (uids.JPEG2000,)
    found = plan(subject(sop_class_uid=SEG), BOTH, WRITERS)
    assert told(found) == ("lossless", uids.HTJ2K_LOSSLESS, "segmentation")
    assert found.others == (uids.JPEG2000_LOSSLESS,)
    by_depth = wanting("jpeg", "jpeg-extended", "rle", lossy=True)
    assert plan(IMAGE, by_depth, WRITERS).syntax == uids.JPEG_EXTENDED
    assert plan(form(allocated=8, stored=8), by_depth, WRITERS).syntax == uids.JPEG_BASELINE
    # A method that loses nothing is as good as its place in the list.
    assert told(plan(form(stored=16), by_depth, WRITERS)) == ("lossless", uids.RLE_LOSSLESS, "")


@pytest.mark.parametrize(
    ("wish", "accepts", "expected"),
    [
        (BOTH, (uids.HTJ2K,), ("lossy", uids.HTJ2K, "")),
        (BOTH, (uids.JPEG2000,), ("lossy", uids.JPEG2000, "")),
        (BOTH, (EXPLICIT, uids.JPEG2000), ("lossy", uids.JPEG2000, "")),
        (BOTH, (EXPLICIT,), ("original", EXPLICIT, REFUSED)),
        (BOTH, (IMPLICIT,), ("lossless", IMPLICIT, REFUSED)),
        (BOTH, (uids.JPEG2000_LOSSLESS,), ("lossless", uids.JPEG2000_LOSSLESS, ASKED)),
        (BOTH, (uids.HTJ2K_LOSSLESS, uids.JPEG2000), ("lossy", uids.JPEG2000, "")),
        (BOTH, (uids.RLE_LOSSLESS,), ("lossless", uids.RLE_LOSSLESS, REFUSED)),
        (LOSSLESS, (uids.JPEG2000_LOSSLESS,), ("lossless", uids.JPEG2000_LOSSLESS, "")),
        (LOSSLESS, (uids.JPEG_BASELINE,), ("refuse", "", REFUSED)),
        (wanting("native"), (IMPLICIT,), ("lossless", IMPLICIT, "already-compressed")),
    ],
)
def test_the_receiver_decides_among_what_the_rule_wants(
    wish: Wish, accepts: tuple[str, ...], expected: tuple[str, str, str]
) -> None:
    assert told(plan(IMAGE, wish, WRITERS, accepts)) == expected


@pytest.mark.parametrize(
    ("accepts", "expected"),
    [
        ((IMPLICIT, EXPLICIT), ("lossless", IMPLICIT, "")),
        ((DEFLATED, EXPLICIT), ("lossless", EXPLICIT, "")),  # "native" is not deflated while another is taken
        ((uids.RLE_LOSSLESS,), ("lossless", uids.RLE_LOSSLESS, REFUSED)),
    ],
)
def test_what_is_decompressed_goes_in_the_native_syntax_that_is_taken(
    accepts: tuple[str, ...], expected: tuple[str, str, str]
) -> None:
    found = plan(came(uids.JPEG2000_LOSSLESS), wanting("native"), WRITERS, accepts)
    assert told(found) == expected
    assert found.lossless_syntax == found.syntax


def test_what_ends_without_loss_goes_in_a_lossy_syntax_that_may_hold_it() -> None:
    assert plan(IMAGE, LOSSY, WRITERS, (uids.JPEG2000,)).lossless_syntax == uids.JPEG2000
    baseline = plan(form(allocated=8, stored=8), wanting("jpeg", lossy=True), WRITERS, (uids.JPEG_BASELINE,))
    assert (baseline.syntax, baseline.lossless_syntax) == (uids.JPEG_BASELINE, "")
    signed = Writers({}, WRITERS.lossy)
    assert plan(IMAGE, LOSSY, signed).lossless_syntax == ""


def test_an_image_that_cannot_get_to_its_receiver_is_refused() -> None:
    video = subject(transfer_syntax_uid="1.2.840.10008.1.2.4.100", is_readable=False)
    assert told(plan(video, LOSSY, WRITERS, (EXPLICIT,))) == ("refuse", "", "transfer-syntax")
    lossy = came(uids.JPEG_BASELINE)
    assert told(plan(lossy, LOSSY, WRITERS, (EXPLICIT,))) == ("lossless", EXPLICIT, "already-lossy")
    assert told(plan(lossy, LOSSY, WRITERS, (uids.JPEG2000,))) == ("refuse", "", "already-lossy")


def test_a_receiver_that_takes_no_loss_gets_the_rule_s_method_without() -> None:
    """With the rule's colours, and nobody is told that it refused the rule."""
    found = plan(subject(form=RGB), LOSSY, WRITERS, (uids.JPEG2000_LOSSLESS,))
    assert (told(found), found.method) == (("lossless", uids.JPEG2000_LOSSLESS, ASKED), METHODS["jpeg2000"])
    found = plan(came(uids.JPEG2000_LOSSLESS), LOSSY, WRITERS, (uids.JPEG2000_LOSSLESS,))
    assert told(found) == ("original", uids.JPEG2000_LOSSLESS, "already-compressed")
    baseline = wanting("jpeg", lossy=True, to_rgb=True)
    found = plan(replace(US_YBR, transfer_syntax_uid=EXPLICIT), baseline, WRITERS, (uids.JPEG_LOSSLESS_SV1,))
    assert (told(found), found.to_rgb) == (("lossless", uids.JPEG_LOSSLESS_SV1, ASKED), True)
    cannot = Writers({uids.RLE_LOSSLESS: ALL}, WRITERS.lossy)
    assert told(plan(IMAGE, LOSSY, cannot, (uids.JPEG2000_LOSSLESS,))) == ("refuse", "", REFUSED)


SYNTAXES = sorted(NATIVE | LOSSLESS_COMPRESSED | MAYBE_LOSSY)


@given(
    image=st.builds(
        Subject,
        st.sampled_from((CT, US, SEG, "1.2.3")),
        st.sampled_from(SYNTAXES),
        st.sampled_from((GREY, RGB, replace(RGB, photometric="YBR_FULL"), replace(GREY, signed=True))),
        is_lossy=st.booleans(),
        is_painted=st.booleans(),
    ),
    wish=st.builds(
        Wish,
        st.lists(st.sampled_from(list(METHODS.values())), min_size=1, max_size=3, unique=True).map(tuple),
        lossy=st.booleans(),
        transform_colour=st.booleans(),
        to_rgb=st.booleans(),
    ),
    accepts=st.lists(st.sampled_from(SYNTAXES), min_size=1, max_size=3, unique=True),
)
def test_what_a_receiver_takes_is_what_it_gets(image: Subject, wish: Wish, accepts: list[str]) -> None:
    """Or nothing leaves; and it is told that the rule was refused only where none of its methods is used."""
    found = plan(image, wish, WRITERS, accepts)
    assert (found.course is Course.REFUSE) == (found.syntax not in accepts)
    if found.method is None:
        return
    assert found.method in wish.methods
    assert found.reason != REFUSED
    assert found.lossless_syntax in ("", *accepts)
    if found.course is Course.LOSSY:
        assert found.syntax == found.method.lossy
    elif found.method.lossless != EXPLICIT:
        assert found.syntax in (found.method.lossless, found.method.both and found.method.lossy)


def test_what_no_codec_here_writes_is_refused_and_not_sent_otherwise() -> None:
    nobody = Writers({uids.RLE_LOSSLESS: ALL}, {})
    for accepts in (None, (EXPLICIT,)):
        assert told(plan(IMAGE, LOSSY, nobody, accepts)) == ("refuse", "", "no-codec")
    either = wanting("jpeg2000", "rle", lossy=True)
    assert told(plan(IMAGE, either, nobody)) == ("lossless", uids.RLE_LOSSLESS, "")
    assert plan(subject(pixels="none", form=None), LOSSY, nobody).reason == "no-pixels"


def test_what_was_lossy_before_needs_no_codec_to_be_left_alone() -> None:
    one = Writers(WRITERS.lossless, {uids.JPEG2000: ALL})
    for wish, writers in ((LOSSY, Writers({}, {})), (BOTH, one)):
        assert told(plan(subject(is_lossy=True), wish, writers)) == ("original", "", "already-lossy")
        assert told(plan(came(uids.JPEG2000), wish, writers)) == ("original", "", "already-lossy")


def test_a_plan_holds_what_it_promises_for_whatever_it_looks_at() -> None:
    syntaxes = [*sorted(NATIVE | LOSSLESS_COMPRESSED | MAYBE_LOSSY), "1.2.840.10008.1.2.4.100"]
    images = [
        subject(transfer_syntax_uid=syntax, is_lossy=lossy, is_painted=painted, form=shape, sop_class_uid=sop)
        for syntax, lossy, painted, shape, sop in itertools.product(
            syntaxes, (False, True), (False, True), (GREY, RGB), (CT, SEG, "1.2.3")
        )
    ]
    accepted = (None, (EXPLICIT,), (uids.JPEG2000, EXPLICIT), (uids.RLE_LOSSLESS,), (uids.HTJ2K,))
    for image, wish, accepts in itertools.product(images, (LOSSY, LOSSLESS, BOTH), accepted):
        found = plan(image, wish, WRITERS, accepts)
        assert found.method in (None, *wish.methods)
        if found.course is Course.LOSSY:
            assert image.sop_class_uid == CT
            assert wish.lossy
            assert not image.is_lossy
            assert image.transfer_syntax_uid not in MAYBE_LOSSY
        if accepts is not None and found.course is not Course.REFUSE:
            assert found.syntax in accepts
        if found.course in (Course.UNCHANGED, Course.REFUSE):
            assert found.reason
            assert found.method is None


def test_the_names_of_the_configuration_are_the_methods() -> None:
    assert get_args(Name) == (AUTO, *METHODS)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"to": "htj2"}, 'did you mean "htj2k"'),
        ({"to": []}, "is an empty list"),
        ({"to": "auto"}, '"auto" needs a ratio'),
        ({"to": "auto", "near": 3}, 'use max_error for "auto"'),
        ({"to": ["auto", "rle"]}, "which it chooses itself"),
        ({"to": ["htj2k", "htj2k"]}, "names a method twice"),
        ({"to": ["htj2k", 3]}, "is no method"),
        ({"to": ["htj2k", "jpeg2000"]}, '"htj2k" and "jpeg2000" needs a ratio'),
        ({"to": "jpeg2000", "ratio": 10, "lossless": True}, "lossless = true takes no ratio"),
        ({"to": "rle", "min_ssim": 0.9}, '"rle" takes no min_ssim'),
        ({"to": "jpeg2000", "ratio": 10, "psnr": 50}, "aims at ratio and psnr at once"),
        ({"to": "jpegls-near", "near": 3, "max_error": 3}, "near is a greatest error"),
        ({"to": ["jpegls-near", "htj2k"], "near": 3}, 'near is for "jpegls-near"'),
        ({"to": "jpeg2000", "ratio": 10, "allow": ["nuclaer"]}, 'did you mean "nuclear"'),
        ({"to": "jpeg2000", "ratio": 10, "allow": ["palette"]}, "lifts nothing"),
    ],
)
def test_a_wrong_wish_is_told(config: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CompressConfig.model_validate(config)


@pytest.mark.parametrize(
    ("config", "target"),
    [
        ({"to": "jpeg2000", "ratio": 10, "max_error": 4}, "ratio"),
        ({"to": "jpeg2000", "psnr": 60, "max_error": 4}, "psnr"),
        ({"to": "jpeg2000", "max_error": 4}, "max_error"),
        ({"to": "jpegls-near", "near": 4}, "near"),
        ({"to": "jpeg2000", "lossless": True}, ""),
        ({"to": ["rle", "jpegls"]}, ""),
        ({"to": ["jpegls-near", "rle"], "max_error": 2}, "max_error"),
    ],
)
def test_max_error_is_a_target_alone_and_a_limit_beside_another(
    config: dict[str, object], target: str
) -> None:
    found = CompressConfig.model_validate(config)
    assert found.target == target
    assert found.wish.lossy == bool(target)


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"to": "jpeg", "ratio": 10, "color": "ybr"}, ["color"]),
        ({"to": ["jpegls", "rle"], "color": "ybr", "fallback": "park"}, ["color", "fallback"]),
        ({"to": ["jpegls", "rle"], "color": "rgb", "fallback": "lossless", "exclude": []}, []),
        ({"to": ["rle", "htj2k-lossless"], "color": "ybr"}, []),
        ({"to": "auto", "ratio": 10, "color": "ybr", "fallback": "park", "exclude": ["MG"]}, []),
        ({"to": "jpegls-near", "near": 2, "fallback": "original"}, []),
        (
            {"to": "jpeg2000", "lossless": True, "fallback": "original", "exclude": ["MG"]},
            ["fallback", "exclude"],
        ),
        ({"to": "jpegxl-recompress", "fallback": "original"}, []),
        ({"to": ["jpegxl-recompress", "rle"], "fallback": "park"}, []),
        ({"to": "rle"}, []),
    ],
)
def test_what_has_no_effect_by_a_rule_s_methods_is_doubted(
    config: dict[str, object], keys: list[str]
) -> None:
    found = list(without_effect(CompressConfig.model_validate(config)))
    assert [each.place for each in found] == [(key,) for key in keys]
    assert all("no effect" in each.what for each in found)


def test_a_method_without_a_codec_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "lacking", lambda name: "it is not here" if name == "htj2k" else "")
    (finding,) = unavailable(CompressConfig(to=("jpeg2000", "htj2k"), ratio=10))
    assert (finding.place, finding.what) == (("to", 1), '"htj2k" is unavailable, because it is not here')
    assert list(unavailable(CompressConfig(to="jpeg2000", ratio=10))) == []
    auto = CompressConfig(to="auto", ratio=10)
    assert list(unavailable(auto)) == []
    assert [method.name for method in auto.wish.methods] == ["jpeg2000", "jpeg", "jpegls-near"]
    monkeypatch.setattr(wishes, "lacking", lambda name: "it is not here")
    assert [finding.place for finding in unavailable(auto)] == [("to",)]


def test_what_a_rule_says_becomes_what_a_plan_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"allow": ["nuclear", "quantitative"], "exclude": ["MG"], "color": "ybr"}
    found = CompressConfig(to="jpeg2000", ratio=10, **more).wish
    assert found == wanting(
        "jpeg2000",
        lossy=True,
        transform_colour=True,
        exclude=frozenset({"MG"}),
        allow=frozenset({"nuclear", "quantitative"}),
    )
    assert CompressConfig(to="jpeg2000", lossless=True).wish == wanting("jpeg2000")
    # Of the codec of a plug-in that is unavailable nothing is known: that it is, is told elsewhere.
    monkeypatch.setattr(wishes, "is_known", lambda name: True)
    monkeypatch.setattr(wishes, "methods_named", lambda names: [Method(name, name, "") for name in names])
    assert CompressConfig(to="missing", lossless=True).names == ("missing",)


@pytest.mark.parametrize(
    ("allocated", "reason"), [(8, ""), (16, ""), (32, ""), (1, "bits-allocated"), (64, "bits-allocated")]
)
def test_pixels_are_decompressed_from_the_depths_that_there_are(allocated: int, reason: str) -> None:
    image = subject(transfer_syntax_uid=uids.JPEG2000_LOSSLESS, form=replace(GREY, allocated=allocated))
    found = plan(image, wanting("native"), WRITERS)
    assert found.reason == reason
    assert (found.course is Course.UNCHANGED) == bool(reason)
