"""Who reads and who writes which transfer syntax: the codecs of the registry, in one table.

What a syntax is by itself stands in `mapdr.dicom.transfer_syntax`. Codecs are built when the first image
needs one, once for the node.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from mapdr.dicom.transfer_syntax import TRANSFER_SYNTAXES, name_of
from mapdr.kernel.codec import Ability, Codec, Decoder, Encoder, LossyEncoder, Recompressor
from mapdr.kernel.errors import Permanent
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch

log = logging.getLogger("mapdr.transform")


@dataclass(frozen=True, slots=True)
class Row:
    """One transfer syntax: who reads and writes it; `no_decode` and `no_encode` say why nobody does."""

    uid: str
    name: str
    decoder: Decoder | None
    encoder: Encoder | None
    lossy_encoder: LossyEncoder | None
    recompressor: Recompressor | None = None
    no_decode: str = ""
    no_encode: str = ""


class Codecs:
    """The codecs that a registry has, built with `settings`. Thread-safe."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings

    @cached_property
    def rows(self) -> dict[str, Row]:
        """A row for each transfer syntax that a codec knows, by UID, in the order of the syntaxes' table."""
        found: dict[str, list[Ability]] = {}
        for codec in self._built():
            for ability in codec.abilities:
                found.setdefault(ability.transfer_syntax_uid, []).append(ability)
        known = [syntax.uid for syntax in TRANSFER_SYNTAXES if syntax.uid in found]
        return {uid: _row(uid, found[uid]) for uid in dict.fromkeys((*known, *found))}

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

    def encoder(self, transfer_syntax_uid: str) -> Encoder:
        """What writes frames in a syntax without loss.

        Raises Permanent(reason="syntax") where no codec does.
        """
        row = self.rows.get(transfer_syntax_uid)
        if row is None or row.encoder is None:
            raise self._not_written(row)
        return row.encoder

    def lossy_encoder(self, transfer_syntax_uid: str) -> LossyEncoder:
        """What writes frames in a syntax with loss. Raises as `encoder`."""
        row = self.rows.get(transfer_syntax_uid)
        if row is None or row.lossy_encoder is None:
            raise self._not_written(row)
        return row.lossy_encoder

    def recompressor(self, transfer_syntax_uid: str) -> Recompressor:
        """What writes codestreams of other syntaxes in this one. Raises as `encoder`."""
        row = self.rows.get(transfer_syntax_uid)
        if row is None or row.recompressor is None:
            raise self._not_written(row)
        return row.recompressor

    def _not_written(self, row: Row | None) -> Permanent:
        if row is None:
            return Permanent("no codec here writes this transfer syntax", reason="syntax")
        why = row.no_encode or "it is written only where a rule says so"
        return Permanent(f"{row.name} is not written here, because {why}", reason="syntax")

    def _built(self) -> list[Codec]:
        """The codecs that there are: those of MAPDR first, then the others by name."""
        plugins = [self._registry.plugin("codec", name) for name in self._registry.names("codec")]
        plugins.sort(key=lambda plugin: plugin.origin != "mapdr")
        built: list[Codec] = []
        for plugin in plugins:
            if plugin.factory is None:
                continue  # `mapdr plugins` says why
            try:
                config = TypeAdapter(plugin.factory.config).validate_python({})
                built.append(plugin.factory.build(self._settings, config, None))
            except Exception as error:  # noqa: BLE001  one broken codec takes no other with it
                log.error('codec "%s" cannot be used: %s', plugin.type, in_words(error))
        return built


def _row(uid: str, abilities: Sequence[Ability]) -> Row:
    decoder = next((each.decode for each in abilities if isinstance(each.decode, Decoder)), None)
    encoder = next((each.encode for each in abilities if isinstance(each.encode, Encoder)), None)
    lossy = next((each.encode for each in abilities if isinstance(each.encode, LossyEncoder)), None)
    recompressor = next((each.encode for each in abilities if isinstance(each.encode, Recompressor)), None)
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
        "" if encoder or lossy or recompressor else (*objections, "no codec writes it")[0],
    )


def installed(registry: Registry) -> list[Row]:
    """The table of this installation, for a person; nothing that it holds is used."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings("table", "none", Path(folder), bytes(32), Watch())
        return list(Codecs(registry, settings).rows.values())
