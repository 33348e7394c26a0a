"""Who reads and who writes which transfer syntax: the codecs of the registry, in one table.

What a syntax is by itself stands in `mapdr.dicom.transfer_syntax`. Codecs are built when the first image
needs one, once for the node.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from mapdr.dicom.transfer_syntax import TRANSFER_SYNTAXES, name_of
from mapdr.kernel.cached import cached_property
from mapdr.kernel.codec import Ability, Codec, Decoder, Encoder, LossyEncoder, Recompressor
from mapdr.kernel.errors import Permanent
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.transform.codecs.plugin import contained

log = logging.getLogger("mapdr.transform")


@dataclass(frozen=True, slots=True)
class Row:
    """One transfer syntax: who reads and writes it; `no_decode` and `no_encode` say why nobody does.

    `codec` is the name of the plug-in that writes it, if it is one.
    """

    uid: str
    name: str
    decoder: Decoder | None
    encoder: Encoder | None
    lossy_encoder: LossyEncoder | None
    recompressor: Recompressor | None = None
    no_decode: str = ""
    no_encode: str = ""
    codec: str = ""


class Codecs:
    """The codecs that a registry has, built with `settings`. Thread-safe."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._lock = threading.Lock()
        self._offered: list[tuple[str, _Offer]] | None = None

    @cached_property
    def rows(self) -> dict[str, Row]:
        """A row for each transfer syntax that a codec knows, by UID, in the order of the syntaxes' table."""
        found: dict[str, list[_Offer]] = {}
        for uid, offer in self._offers:
            found.setdefault(uid, []).append(offer)
        known = [syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.uid in found]
        return {uid: _row(uid, found[uid]) for uid in dict.fromkeys((*known, *found))}

    @cached_property
    def own(self) -> dict[str, dict[str, Row]]:
        """What each plug-in does by itself, whoever comes before it: its rows by UID, in its order."""
        found: dict[str, dict[str, list[_Offer]]] = {}
        for uid, offer in self._offers:
            if offer.plugin:
                found.setdefault(offer.plugin, {}).setdefault(uid, []).append(offer)
        return {
            name: {uid: _row(uid, some) for uid, some in offers.items()} for name, offers in found.items()
        }

    def decoder(self, transfer_syntax_uid: str) -> Decoder:
        """What reads the frames of a syntax. Raises Permanent(reason="syntax") where nothing does."""
        row = self.rows.get(transfer_syntax_uid)
        if row is None or row.decoder is None:
            raise Permanent("this transfer syntax cannot be decompressed here", reason="syntax")
        return row.decoder

    def reads(self, transfer_syntax_uid: str) -> bool:
        """Whether frames of this syntax can be decoded."""
        row = self.rows.get(transfer_syntax_uid)
        return row is not None and row.decoder is not None

    def encoder(self, transfer_syntax_uid: str, codec: str = "") -> Encoder:
        """What writes frames in a syntax without loss; that of the plug-in `codec` if one is named.

        Raises Permanent(reason="syntax") where no codec does.
        """
        row = self._row(transfer_syntax_uid, codec)
        if row is None or row.encoder is None:
            raise self._not_written(row)
        return row.encoder

    def lossy_encoder(self, transfer_syntax_uid: str, codec: str = "") -> LossyEncoder:
        """What writes frames in a syntax with loss. As `encoder`."""
        row = self._row(transfer_syntax_uid, codec)
        if row is None or row.lossy_encoder is None:
            raise self._not_written(row)
        return row.lossy_encoder

    def recompressor(self, transfer_syntax_uid: str) -> Recompressor:
        """What writes codestreams of other syntaxes in this one. Raises as `encoder`."""
        row = self.rows.get(transfer_syntax_uid)
        if row is None or row.recompressor is None:
            raise self._not_written(row)
        return row.recompressor

    def _row(self, transfer_syntax_uid: str, codec: str) -> Row | None:
        rows = self.own.get(codec, {}) if codec else self.rows
        return rows.get(transfer_syntax_uid)

    def _not_written(self, row: Row | None) -> Permanent:
        if row is None:
            return Permanent("no codec here writes this transfer syntax", reason="syntax")
        why = row.no_encode or "it is written only where a rule says so"
        return Permanent(f"{row.name} is not written here, because {why}", reason="syntax")

    @property
    def _offers(self) -> list[tuple[str, _Offer]]:
        """What the codecs offer, by transfer syntax: those of MAPDR first, then the others by name.

        They are built once: a plug-in need not stand to be built twice at a time.
        """
        with self._lock:
            if self._offered is None:
                self._offered = [
                    (ability.transfer_syntax_uid, _offer(ability, plugin))
                    for plugin, codec in self._built()
                    for ability in codec.abilities
                ]
            return self._offered

    def _built(self) -> list[tuple[str, Codec]]:
        """The codecs that there are, with their names if they are plug-ins."""
        plugins = [self._registry.plugin("codec", name) for name in self._registry.names("codec")]
        plugins.sort(key=lambda plugin: plugin.origin != "mapdr")
        built: list[tuple[str, Codec]] = []
        for plugin in plugins:
            if plugin.factory is None:
                continue  # `mapdr plugins` says why
            try:
                config = TypeAdapter(plugin.factory.config).validate_python({})
                codec = plugin.factory.build(self._settings, config, None)
                built.append(("" if plugin.origin == "mapdr" else plugin.type, codec))
            except Exception as error:  # noqa: BLE001  one broken codec takes no other with it
                log.error('codec "%s" cannot be used: %s', plugin.type, in_words(error))
        return built


@dataclass(frozen=True, slots=True)
class _Offer:
    """An ability of a codec; `plugin` is its name, if it is one."""

    decode: Decoder | str
    encode: Encoder | LossyEncoder | Recompressor | str
    plugin: str = ""


def _offer(ability: Ability, plugin: str) -> _Offer:
    encode = contained(ability.encode) if plugin else ability.encode
    return _Offer(ability.decode, encode, plugin)


def _row(uid: str, abilities: Sequence[_Offer]) -> Row:
    decoder = next((each.decode for each in abilities if isinstance(each.decode, Decoder)), None)
    encoder = next((each.encode for each in abilities if isinstance(each.encode, Encoder)), None)
    lossy = next((each.encode for each in abilities if isinstance(each.encode, LossyEncoder)), None)
    recompressor = next((each.encode for each in abilities if isinstance(each.encode, Recompressor)), None)
    writers = [each for each in (encoder, lossy, recompressor) if each is not None]
    codec = next((each.plugin for each in abilities if any(each.encode is one for one in writers)), "")
    reasons = [each.decode for each in abilities if isinstance(each.decode, str)]
    objections = [each.encode for each in abilities if isinstance(each.encode, str)]
    return Row(
        uid,
        name_of(uid),
        decoder,
        encoder,
        lossy,
        recompressor,
        "" if decoder else (*reasons, "no codec reads it")[0],
        "" if writers else (*objections, "no codec writes it")[0],
        codec,
    )


def installed(registry: Registry) -> list[Row]:
    """The table of this installation, for a person; nothing that it holds is used."""
    return list(looked_at(registry).rows.values())


def looked_at(registry: Registry) -> Codecs:
    """The codecs of this installation, to see what there are; nothing is encoded or decoded with them."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings("table", "none", Path(folder), bytes(32), Watch())
        codecs = Codecs(registry, settings)
        _ = codecs.rows, codecs.own  # built while there is the folder
        return codecs
