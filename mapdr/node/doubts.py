"""What may be meant as it is written in a configuration, but hardly is: the warnings of `mapdr check`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import partial

from mapdr.config.model import Config, NodeConfig
from mapdr.config.read import Loaded
from mapdr.dicom import tags
from mapdr.dicom.path import tag_vr
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.finding import Finding, Place, nearest
from mapdr.kernel.item import TagPath
from mapdr.kernel.registry import Registry
from mapdr.node.plan import Plan, said
from mapdr.route.condition import All, Match, OneOf, exact_words, leaves

MODALITY = (tags.MODALITY,)

SAFE_FREE = 64 * 1000**2
"""Bytes: what a line of 1 Gbit/s brings between two looks at the free space (`store.spool.room`)."""

_DEFINED = """
ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DMS DG DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL
IVOCT IVUS KER KO LEN LS MG MR M3D NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG
RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN
TEXTUREMAP TG US VA XA XAPROTOCOL XC
"""
_RETIRED = "AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS OPR ST VF"
MODALITIES = frozenset((_DEFINED + _RETIRED).split())
"""The defined terms of Modality (PS3.3, section C.7.3.1.1.1), the retired ones as well."""


def warnings(loaded: Loaded) -> Iterator[Finding]:
    """Every doubt, in no order."""
    config = loaded.config
    if config is None:
        return
    if config.receive or config.egress or config.rule:
        if not config.receive:
            yield Finding((), "holds no receiver: no image comes in", "add [receive.NAME]")
        if not config.egress:
            yield Finding((), "holds no destination: images stay here", "add [egress.NAME]")
        if not config.rule:
            yield Finding((), "holds no rule: every image stays here, unrouted", "add [[rule]]")
    yield from _unnamed(config)
    yield from _unreached(config)
    yield from _room(config.node)
    yield from _titles(config)
    yield from _short_secrets(config)
    yield from _never_silent(config)
    for name, hook in config.webhook.items():
        doubted = hook.doubts(hook.url, sent="the messages")
        yield from (Finding(("webhook", name, *each.place), each.what, each.cure) for each in doubted)
    for index, rule in enumerate(config.rule):
        for leaf in leaves(rule.when):
            if isinstance(leaf, Match) and leaf.subject == MODALITY:
                yield from _modalities(leaf, ("rule", index, "when", "Modality"))
            if isinstance(leaf, Match) and isinstance(leaf.subject, tuple):
                yield from _dates(leaf, leaf.subject, ("rule", index, "when", leaf.label))


def twice(loaded: Loaded, registry: Registry) -> Iterator[Finding]:
    """Stages of the configuration whose name more than one distribution brings: only one of them is used."""
    if loaded.config is None:
        return
    stages = [("receive", loaded.config.receive), ("egress", loaded.config.egress)]
    used: list[tuple[str, str, Place]] = [
        (kind, one.type, (kind, name, "type")) for kind, group in stages for name, one in group.items()
    ]
    rules = enumerate(loaded.config.rule)
    used += [("transform", type_, ("rule", index, type_)) for index, rule in rules for type_, _ in rule.steps]
    for kind, type_, place in used:
        if doubt := registry.plugin(kind, type_).doubt:
            yield Finding(place, doubt, "remove the package that is not meant, or rename its stage")


def of_stages(plan: Plan) -> Iterator[Finding]:
    """What the stages themselves doubt of their configuration: what is hardly meant, and what soon ends."""
    for place, planned in plan.stages:
        yield from said(place, partial(planned.factory.doubts, planned.config))


def _unnamed(config: Config) -> Iterator[Finding]:
    """Destinations that no rule sends to."""
    named = {destination for rule in config.rule for destination in rule.send_to}
    for name in config.egress if config.rule else ():
        if name not in named:
            what = "no rule sends to it: no image goes there"
            yield Finding(("egress", name), what, f'add "{name}" to the send_to of a rule, or leave it out')


def _unreached(config: Config) -> Iterator[Finding]:
    """Rules behind one that takes every image and says stop."""
    for index, rule in enumerate(config.rule[:-1]):
        if rule.stop and rule.when == All(()):
            what = "takes every image and ends the rules: those behind it are never asked"
            yield Finding(("rule", index, "stop"), what, "make it the last rule, or leave out stop")
            return


def _room(node: NodeConfig) -> Iterator[Finding]:
    """A `min_free` that may be used up, or one or a `low_free` that the disk of the data folder never has."""
    if node.min_free < SAFE_FREE:
        what = "is less than images bring within half a second: the disk may fill, and then nothing leaves"
        yield Finding(("node", "min_free"), what, 'write at least "64 MB"')
    there = node.data
    while not there.is_dir() and there != there.parent:
        there = there.parent
    try:
        total = shutil.disk_usage(there).total
    except OSError:
        return  # a folder that cannot be used is found as such
    if node.min_free > total:
        what = f"is more than the disk of the data folder has ({total / 1000**3:.0f} GB): no image is taken"
        yield Finding(("node", "min_free"), what, "name less")
    elif node.low > total:
        what = f"the disk of the data folder has {total / 1000**3:.0f} GB: it is never free enough"
        key = "min_free" if node.low_free is None else "low_free"
        yield Finding(("node", key), what, "name a low_free that is less")


def _titles(config: Config) -> Iterator[Finding]:
    """AE titles of whom a receiver lets in that look like a pattern; each is compared whole."""
    for name, receiver in config.receive.items():
        for index, entry in enumerate(getattr(receiver.config, "allow", None) or ()):
            title = getattr(entry, "ae_title", None)
            if isinstance(title, str) and ("*" in title or "?" in title):
                place = ("receive", name, "allow", index, "ae_title")
                what = "is compared whole: * and ? stand for themselves there"
                yield Finding(place, what, "write each AE title whole, or let in by host alone")


SHORTEST_SECRET = 16
"""Characters: so many random letters and digits hold some 80 bits, which nobody guesses who has seen a
signed message and tries one secret after the other on it."""


def _short_secrets(config: Config) -> Iterator[Finding]:
    """Secrets of webhooks that can be guessed: then anybody can sign."""
    for name, hook in config.webhook.items():
        try:
            length = SHORTEST_SECRET if hook.secret is None else len(hook.secret.reveal())
        except ConfigurationError:
            continue  # a secret that cannot be had is found as such
        if length < SHORTEST_SECRET:
            what = f"holds {length} character{'s' * (length != 1)}: a secret so short can be guessed"
            cure = f"make a random one of at least {SHORTEST_SECRET}, better 32, for both ends"
            yield Finding(("webhook", name, "secret"), what, cure)


def _never_silent(config: Config) -> Iterator[Finding]:
    """Webhooks that wait for a silence which no receiver tells of."""
    if any(getattr(receiver.config, "watches", False) for receiver in config.receive.values()):
        return
    for name, hook in config.webhook.items():
        for event in ("source.silent", "source.back"):
            if event in hook.on:
                what = f"names {event}, which no receiver tells: none has silent_after"
                yield Finding(
                    ("webhook", name, "on"),
                    what,
                    'add silent_after = "4 h" to [receive.NAME], or leave it out',
                )
                break


_WRITTEN_DATE = re.compile(r"([0-9]{4})([-./])([0-9]{1,2})\2([0-9]{1,2})")


def _dates(leaf: Match, path: TagPath, place: Place) -> Iterator[Finding]:
    """Dates written as texts, in a form that a data set does not have (DA, PS3.5 section 6.2)."""
    if tag_vr(path[-1]) != "DA":
        return
    tests = leaf.test.tests if isinstance(leaf.test, OneOf) else (leaf.test,)
    for word in sorted({word for test in tests for word in exact_words(test) or ()}):
        found = _WRITTEN_DATE.fullmatch(word)
        if found is not None:
            date = f"{found[1]}-{found[3]:0>2}-{found[4]:0>2}"
            yield Finding(place, "is a text that no date of a data set has", f"write {date}, without quotes")


def _modalities(leaf: Match, place: Place) -> Iterator[Finding]:
    tests = leaf.test.tests if isinstance(leaf.test, OneOf) else (leaf.test,)
    for word in sorted({word for test in tests for word in exact_words(test) or ()} - MODALITIES):
        # Half of the table is near to a word of three letters: there only the case is a sure sign.
        near = word.upper() if word.upper() in MODALITIES else nearest(word, MODALITIES)
        sure = near is not None and (near == word.upper() or len(word) > 3)
        cure = f'did you mean "{near}"?' if sure else "see PS3.3, C.7.3.1.1.1; keep it if the senders use it"
        yield Finding(place, f'"{word}" is not a modality that DICOM defines', cure)
