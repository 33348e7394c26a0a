"""Studies for a terminal: as rows of a listing, and as the answer to `mapdr find`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from mapdr.kernel.item import Source
from mapdr.operate import words
from mapdr.operate.sources import BY_SEND
from mapdr.operate.studies import Standing, Study, confirmed, waits
from mapdr_cli.render.tables import (
    ACCESSION,
    PATIENT,
    STATE_STYLE,
    TAGS,
    WIDE,
    Column,
    moment,
    number,
    short_name,
    uid,
)


def study_columns(width: int, identify: bool, uids: bool) -> list[Column]:
    """What fits: on a narrow terminal a whole UID leaves room for little else."""
    wide = width >= WIDE
    when = moment("last_at", "last image", wide=wide)
    study = uid("study_instance_uid", "study", whole=uids)
    modalities = Column("modality", lambda row: "+".join(map(words.modality, row.modalities)))
    images = Column("images", number("images"), right=True)
    confirmed = Column("confirmed", _confirmed, fold=True)
    if uids and not wide:
        return [ACCESSION if identify else when, study]
    size = Column("size", lambda row: words.size(row.bytes), right=True)
    if not identify:
        return [when, study, modalities, images, size, confirmed]
    if wide:
        return [when, *TAGS, study, modalities, images, size, confirmed]
    return [when, PATIENT, study, confirmed]


def found_study(study: Study, troubles: Mapping[str, str]) -> Iterator[Text]:
    """A study in a few lines, with what keeps a destination from taking what waits for it (`troubles`); what
    identifies it only if that was asked for."""
    yield Text(words.plain(study.study_instance_uid), "bold")
    if study.tags is not None:
        told = [study.study_date or "", *(value for _, value in sorted(study.tags.items()))]
        yield Text("  " + words.plain(" · ".join(text for text in told if text)))
    what = "+".join(map(words.modality, study.modalities))
    came = words.day_and_clock(study.last_at)
    yield Text(f"  {what} · {words.many(study.images, 'image')} · last one received {came}")
    for source in study.sources:
        yield Text(f"  {_from(source)}")
    for name, standings in sorted(study.destinations.items()):
        line = Text(f"  to {words.plain(name)}: ").append_text(_said(standings))
        if waits(standings) and name in troubles:
            line.append(f"; it takes none now: {words.plain(troubles[name])}")
        yield line
    if study.unrouted:
        yield Text(f"  {words.many(study.unrouted, 'image')} that no rule takes", STATE_STYLE["unrouted"])


def _from(source: Source) -> str:
    """Who brought a study; there is no address where none called."""
    if source == BY_SEND:
        return "by mapdr send on this machine"
    at = f" at {words.plain(source.address)}" if source.address else ""
    return f"from {words.plain(source.peer)}{at}"


def _said(standings: Sequence[Standing]) -> Text:
    parts = [
        Text(
            f"{words.count(one.images)} {one.state}{' again' if one.again else ''}"
            f"{f' ({words.plain(one.reason)})' if one.reason else ''}",
            STATE_STYLE.get(one.state, ""),
        )
        for one in standings
    ]
    return Text(", ").join(parts)


def _confirmed(study: Study) -> Text:
    """For each destination how many images it has, of how many were promised, and what else is to say."""
    text = Text()
    for name, standings in sorted(study.destinations.items()):
        has = confirmed(standings)
        beside = (("parked", has.parked), ("dismissed", has.dismissed))
        told = [f"{number} {word}" for word, number in beside if number]
        told += [f"{number} {state} again" for state, number in has.again.items()]
        text.append("  " if text else "")
        text.append(f"{short_name(name)} {has.delivered}/{has.promised}", has.level)
        if told:
            text.append(f" ({', '.join(told)})", has.level)
    if study.unrouted:
        text.append("  " if text else "")
        text.append(f"{study.unrouted} unrouted", "warn")
    return text
