"""The table of codecs of a registry that a test fills, what a plug-in may do, and what imagecodecs lacks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import imagecodecs
import numpy as np
import pytest

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import OWN_WAY, Ability, Decoder, FrameFormat, Pixels, Recompressor, Way
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Factory, Settings, StageConfig
from mapdr.transform.codecs.plugin import contained
from mapdr.transform.codecs.reading import missing, read_only
from mapdr.transform.codecs.table import Codecs, installed, looked_at

from .helpers import settings
from .toy import DB, Lossless, Lossy

FORM = FrameFormat(2, 2, 1, 16, 12, False, "MONOCHROME2")
PIXELS = np.arange(4, dtype="u2").reshape(2, 2)
PRIVATE, OTHER = "1.2.3.4", "1.2.3.5"


def read(form: FrameFormat, stream: bytes) -> Pixels:
    return PIXELS


def read_otherwise(form: FrameFormat, stream: bytes) -> Pixels:
    return PIXELS


FIRST, SECOND = Decoder(read), Decoder(read_otherwise)
REPACKS = Recompressor((uid.JPEG_BASELINE,), bytes, bytes, lambda stream: None)


@dataclass
class Plugin:
    """What a registry says of a codec."""

    type: str
    origin: str
    factory: Factory | None


class Codec:
    def __init__(self, *abilities: Ability) -> None:
        self.abilities = abilities


def built(*abilities: Ability) -> Callable[..., Codec]:
    return lambda *_: Codec(*abilities)


class Shelf:
    """A `Registry` with these codecs, by name: MAPDR's begin with a capital letter."""

    def __init__(self, **builds: Callable[..., Any] | None) -> None:
        self._builds = builds

    def names(self, kind: str) -> list[str]:
        assert kind == "codec"
        return sorted(self._builds, key=str.lower)

    def plugin(self, kind: str, name: str) -> Plugin:
        build = self._builds[name]
        factory = Factory(kind, name, StageConfig, build) if build else None
        return Plugin(name, "mapdr" if name[0].isupper() else "elsewhere", factory)


def codecs_of(**builds: Callable[..., Any] | None) -> Codecs:
    return Codecs(cast(Registry, Shelf(**builds)), settings())


def test_mapdr_is_asked_first_and_then_others_by_name() -> None:
    own, theirs, late = Lossless(), Lossless(), Lossless()
    codecs = codecs_of(
        a=built(Ability(uid.RLE_LOSSLESS, SECOND, theirs), Ability(PRIVATE, SECOND, theirs)),
        B=built(Ability(uid.RLE_LOSSLESS, FIRST, own)),
        c=built(Ability(PRIVATE, FIRST, late), Ability(OTHER, FIRST)),
    )
    assert codecs.encoder(uid.RLE_LOSSLESS) is own
    assert codecs.decoder(uid.RLE_LOSSLESS) is FIRST
    assert codecs.decoder(PRIVATE) is SECOND
    assert [codecs.rows[each].codec for each in (uid.RLE_LOSSLESS, PRIVATE, OTHER)] == ["", "a", ""]
    assert list(codecs.own) == ["a", "c"]
    assert list(codecs.own["a"]) == [uid.RLE_LOSSLESS, PRIVATE]
    assert codecs.own["c"][PRIVATE].codec == "c"
    for name, encoder in (("a", theirs), ("c", late)):
        made = codecs.encoder(PRIVATE, name)
        made.encode(PIXELS, FORM)
        assert len(encoder.encoded) == 1, "wrapped, but its own"
    assert codecs.encoder(PRIVATE) is codecs.rows[PRIVATE].encoder


def test_known_syntaxes_come_in_their_order_and_private_ones_last() -> None:
    first = (uid.JPEG2000, PRIVATE, uid.RLE_LOSSLESS)
    codecs = codecs_of(
        A=built(*(Ability(each, FIRST) for each in first)),
        B=built(Ability(OTHER, FIRST), Ability(uid.JPEG_BASELINE, FIRST)),
    )
    known = [uid.RLE_LOSSLESS, uid.JPEG_BASELINE, uid.JPEG2000]
    assert list(codecs.rows) == [*known, PRIVATE, OTHER]
    assert [row.uid for row in codecs.rows.values()] == list(codecs.rows)
    assert codecs.rows[uid.RLE_LOSSLESS].name == "RLE Lossless"


def test_what_is_read_and_written_comes_from_whoever_can() -> None:
    """Nobody else's reason stands where one codec can do it."""
    lossless, lossy = Lossless(), Lossy()
    codecs = codecs_of(
        A=built(
            Ability(uid.JPEG2000, "no library", "no library"),
            Ability(uid.JPEG2000, FIRST, lossy),
            Ability(uid.JPEG2000, SECOND, REPACKS),
            Ability(uid.JPEG2000, SECOND, lossless),
            Ability(OTHER, "it is old", "it is retired"),
            Ability(OTHER, "it is older", "it is slow"),
        ),
    )
    row = codecs.rows[uid.JPEG2000]
    assert (row.decoder, row.encoder, row.lossy_encoder, row.recompressor) == (
        FIRST,
        lossless,
        lossy,
        REPACKS,
    )
    assert (row.no_decode, row.no_encode, row.codec) == ("", "", "")
    assert codecs.lossy_encoder(uid.JPEG2000) is lossy
    assert codecs.recompressor(uid.JPEG2000) is REPACKS
    assert (codecs.rows[OTHER].no_decode, codecs.rows[OTHER].no_encode) == ("it is old", "it is retired")
    assert [codecs.reads(each) for each in (uid.JPEG2000, OTHER, PRIVATE)] == [True, False, False]


def test_what_nobody_does_is_said_with_its_reason() -> None:
    codecs = codecs_of(
        A=built(
            Ability(uid.JPEG2000, FIRST, Lossy()),
            Ability(uid.RLE_LOSSLESS, "no library", "no library"),
            Ability(uid.JPEG_BASELINE, FIRST, REPACKS),
        ),
        b=built(Ability(PRIVATE, FIRST, Lossless())),
    )
    only = "JPEG 2000 is not written here, because it is written only where a rule says so"
    for ask, words in (
        (lambda: codecs.encoder(uid.JPEG2000), only),
        (lambda: codecs.recompressor(uid.JPEG2000), only),
        (lambda: codecs.lossy_encoder(uid.JPEG_BASELINE), "only where a rule says so"),
        (lambda: codecs.encoder(uid.RLE_LOSSLESS), "RLE Lossless is not written here, because no library"),
        (lambda: codecs.encoder(OTHER), "no codec here writes this transfer syntax"),
        (lambda: codecs.lossy_encoder(OTHER), "no codec here writes this transfer syntax"),
        (lambda: codecs.recompressor(OTHER), "no codec here writes this transfer syntax"),
        (lambda: codecs.encoder(uid.JPEG2000, "b"), "no codec here writes this transfer syntax"),
        (lambda: codecs.lossy_encoder(PRIVATE, "b"), "only where a rule says so"),
        (lambda: codecs.encoder(PRIVATE, "c"), "no codec here writes this transfer syntax"),
        (lambda: codecs.decoder(uid.RLE_LOSSLESS), "cannot be decompressed here"),
        (lambda: codecs.decoder(OTHER), "cannot be decompressed here"),
    ):
        with pytest.raises(Permanent, match=words) as caught:
            ask()
        assert caught.value.reason == "syntax"


def test_a_syntax_that_is_read_alone_or_written_alone() -> None:
    codecs = codecs_of(A=built(Ability(PRIVATE, FIRST), Ability(OTHER, "", Lossless())))
    assert codecs.rows[PRIVATE].no_encode == "it is not offered"
    assert (codecs.rows[OTHER].no_decode, codecs.rows[OTHER].no_encode) == ("", "")
    assert codecs.rows[OTHER].encoder is not None


def test_a_codec_that_fails_is_left_out_and_quotes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def failing(*_: Any) -> None:
        raise ValueError("Marked^Value")

    class Demanding(StageConfig):
        wanted: int

    class Demands(Shelf):
        def plugin(self, kind: str, name: str) -> Plugin:
            found = super().plugin(kind, name)
            if name == "d":
                found.factory = Factory(kind, name, Demanding, built(Ability(OTHER, FIRST)))
            return found

    shelf = Demands(a=failing, b=None, C=failing, d=built(), e=built(Ability(PRIVATE, FIRST)))
    codecs = Codecs(cast(Registry, shelf), settings())
    assert list(codecs.rows) == [PRIVATE]
    said = [record.getMessage() for record in caplog.records]
    assert [each.split('"')[1] for each in said] == ["C", "a", "d"]
    assert "Marked" not in caplog.text


def test_codecs_are_built_once_with_the_nodes_settings() -> None:
    given: list[tuple[Settings, StageConfig, Any]] = []

    def build(node: Settings, config: StageConfig, next: Any) -> Codec:
        given.append((node, config, next))
        return Codec(Ability(PRIVATE, FIRST))

    node = settings()
    codecs = Codecs(cast(Registry, Shelf(a=build)), node)
    assert given == []
    assert codecs.rows[PRIVATE].decoder is codecs.own["a"][PRIVATE].decoder is FIRST
    assert given == [(node, StageConfig(), None)]


def test_the_table_of_an_installation_is_built_while_there_is_a_folder() -> None:
    folders: list[Any] = []

    def build(node: Settings, *_: Any) -> Codec:
        assert node.data.is_dir()
        folders.append(node.data)
        return Codec(Ability(PRIVATE, FIRST))

    shelf = cast(Registry, Shelf(a=build))
    assert looked_at(shelf).own["a"].keys() == {PRIVATE}
    assert [row.uid for row in installed(shelf)] == [PRIVATE]
    assert not any(folder.exists() for folder in folders)
    assert len(folders) == 2


# --- What an encoder of a plug-in may do


def test_what_is_no_encoder_passes_as_it_is() -> None:
    assert contained("it is old") == "it is old"
    assert contained(REPACKS) is REPACKS


def test_an_encoder_of_a_plug_in_does_what_it_does() -> None:
    lossless, lossy = Lossless(size=7, colour_transform="YBR_RCT"), Lossy(method="COARSE", ways=(Way(True),))
    plain, coarse = contained(lossless), contained(lossy)
    assert isinstance(plain, type(contained(Lossless())))
    assert plain.takes is lossless.takes  # type: ignore[union-attr]
    assert plain.colour_transform == "YBR_RCT"  # type: ignore[union-attr]
    stream = plain.encode(PIXELS, FORM)  # type: ignore[union-attr]
    assert (len(stream), lossless.encoded[0][0]) == (7, FORM)
    assert np.array_equal(plain.decode(stream, FORM), PIXELS)  # type: ignore[union-attr]
    made: Any = coarse
    assert (made.takes, made.method, made.ways) == (lossy.takes, "COARSE", (Way(True),))
    assert (made.dial(FORM), made.rgb_as(OWN_WAY)) == (DB, ("RGB",))
    stream = made.encode_at(PIXELS, FORM, 40.0, Way(True))
    assert lossy.encoded == [(FORM, 40.0, Way(True))]
    assert np.array_equal(made.decode(stream, FORM), PIXELS + 1)


class Plain(np.ndarray):  # type: ignore[type-arg]
    """An array of another class."""


def raised(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("name", "ask", "words"),
    [
        ("encode", lambda made: made.encode(PIXELS, FORM), "encode a frame"),
        ("decode", lambda made: made.decode(b"x", FORM), "read what it has encoded"),
        ("encode_at", lambda made: made.encode_at(PIXELS, FORM, 1.0), "encode a frame"),
        ("dial", lambda made: made.dial(FORM), "say its levels"),
        ("rgb_as", lambda made: made.rgb_as(OWN_WAY), "say its colours"),
    ],
)
def test_what_a_plug_in_raises_is_permanent_but_for_want_of_memory(
    name: str, ask: Callable[[Any], Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec: Any = Lossless() if name == "encode" else Lossy()
    for error in (Temporary("later"), Permanent("never", reason="pixels"), MemoryError()):
        monkeypatch.setattr(codec, name, raised(error))
        with pytest.raises(type(error)) as caught:
            ask(contained(codec))
        assert caught.value is error
    monkeypatch.setattr(codec, name, raised(ValueError("Marked^Value")))
    with pytest.raises(Permanent, match=words) as refused:
        ask(contained(codec))
    assert refused.value.reason == "codec"
    assert "Marked" not in str(refused.value)


@pytest.mark.parametrize("lossy", [False, True])
def test_what_is_no_codestream_and_no_frame_is_refused(lossy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    codec: Any = Lossy() if lossy else Lossless()
    made: Any = contained(codec)
    name = "encode_at" if lossy else "encode"
    for stream in (b"", bytearray(b"x"), None, "x"):
        monkeypatch.setattr(codec, name, lambda *_, stream=stream: stream)
        with pytest.raises(Permanent, match="no bytes") as caught:
            getattr(made, name)(PIXELS, FORM, *([1.0] if lossy else []))
        assert caught.value.reason == "codec"
    for frame in (PIXELS.view(Plain), PIXELS.tolist(), None, PIXELS.astype("f4"), PIXELS > 1):
        monkeypatch.setattr(codec, "decode", lambda *_, frame=frame: frame)
        with pytest.raises(Permanent, match="no plain array of integers") as caught:
            made.decode(b"x", FORM)
        assert caught.value.reason == "codec"
    for frame in (PIXELS, PIXELS.astype("i2")):
        monkeypatch.setattr(codec, "decode", lambda *_, frame=frame: frame)
        assert made.decode(b"x", FORM) is frame


def test_a_plug_in_does_not_write_into_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    def writing(pixels: Pixels, *_: Any) -> bytes:
        pixels[0, 0] = 7
        return b"x"

    own = PIXELS.copy()
    for codec, name, more in ((Lossless(), "encode", ()), (Lossy(), "encode_at", (1.0,))):
        monkeypatch.setattr(codec, name, writing)
        with pytest.raises(Permanent, match="encode a frame"):
            getattr(contained(codec), name)(own, FORM, *more)
    assert np.array_equal(own, PIXELS)
    own[0, 0] = 7  # who lends it may go on writing


# --- What imagecodecs lacks


def test_why_a_library_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("JPEG2K") == ""
    assert read_only("JPEG2K", FIRST, {PRIVATE: "slow", OTHER: "old"}) == (
        Ability(PRIVATE, FIRST, "slow"),
        Ability(OTHER, FIRST, "old"),
    )
    monkeypatch.setattr(imagecodecs.JPEG2K, "available", False)
    without = "imagecodecs was built without it"
    assert missing("JPEG2K") == without
    assert read_only("JPEG2K", FIRST, {PRIVATE: "slow"}) == (Ability(PRIVATE, without, without),)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert missing("JPEG2K") == "imagecodecs cannot be loaded (ModuleNotFoundError)"
