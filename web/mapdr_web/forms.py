"""The configuration as the page shows and changes it: functions of the API, as those of `mapdr_web.api`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapdr.operate import destination_form, rule_form, source_form
from mapdr.operate.access import Access
from mapdr.operate.destination_form import ConfiguredDestination, DestinationForm, Echoed
from mapdr.operate.rule_form import ConfiguredRule, RuleForm
from mapdr.operate.settings import FileState, Saved, file_state, read_file
from mapdr.operate.source_form import ConfiguredReceiver, SourceForm


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration file, and what the forms change of it."""

    file: FileState
    receivers: Sequence[ConfiguredReceiver]
    destinations: Sequence[ConfiguredDestination]
    rules: Sequence[ConfiguredRule]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of the configuration file, in their order."""

    rules: Sequence[ConfiguredRule]


def rules(opened: Access, *, identify: bool = False) -> Rules:
    """The rules of the configuration file, each as a sentence. With `identify` the values too that may
    identify somebody."""
    if identify:
        opened.audit.viewed(opened.actor, "rules", {})
    return Rules(rule_form.configured_rules(read_file(opened), identify=identify))


def settings(opened: Access, *, identify: bool = False) -> Settings:
    """The configuration file with its problems, its receivers, destinations and rules. With `identify` the
    text itself, and in rules the values that may identify somebody."""
    file = read_file(opened)
    return Settings(
        file=file_state(opened, file, identify=identify),
        receivers=source_form.configured_receivers(file),
        destinations=destination_form.configured_destinations(file),
        rules=rule_form.configured_rules(file, identify=identify),
    )


def save_source(
    opened: Access,
    name: str,
    *,
    ae_title: str,
    host: str,
    seen: str,
    old_ae_title: str = "",
    old_host: str = "",
) -> Saved:
    """Let a source send to the DICOM receiver `name`, and use that; as for a destination. With `old_ae_title`
    or `old_host` it takes the place of that source. What is empty matches any."""
    before = SourceForm(old_ae_title, old_host) if old_ae_title or old_host else None
    return source_form.save_source(opened, name, SourceForm(ae_title, host), seen, before=before)


def remove_source(opened: Access, name: str, *, ae_title: str, host: str, seen: str) -> Saved:
    """Let a source send to the receiver `name` no more. When it is the last in its list, anybody may."""
    return source_form.remove_source(opened, name, SourceForm(ae_title, host), seen)


def save_destination(
    opened: Access,
    name: str,
    ae_title: str,
    *,
    host: str,
    port: int,
    seen: str,
    tls: bool = False,
    new: bool = False,
) -> Saved:
    """Write a DICOM destination into the configuration file, and use it; `seen` is that of the file which the
    form was made from, `new` says that there is none of this name yet."""
    form = DestinationForm(name, ae_title, host, port, tls)
    return destination_form.save_destination(opened, form, seen, new=new)


def remove_destination(opened: Access, name: str, seen: str) -> Saved:
    """Take a destination out of the configuration file. What is owed to it waits until it is back."""
    return destination_form.remove_destination(opened, name, seen)


def echo_destination(
    opened: Access,
    name: str,
    ae_title: str,
    *,
    host: str,
    port: int,
    tls: bool = False,
    new: bool = False,
) -> Echoed:
    """Ask a destination as the form has it whether it is there, by C-ECHO; nothing is written."""
    form = DestinationForm(name, ae_title, host, port, tls)
    return destination_form.echo_destination(opened, form, new=new)


def save_rule(
    opened: Access,
    name: str,
    *,
    modality: Sequence[str],
    station: str,
    calling_ae: str,
    prefix: str,
    compress: rule_form.Compression,
    ratio: float,
    send_to: Sequence[str],
    seen: str,
    new: bool = False,
) -> Saved:
    """Write a rule into the configuration file, and use it; as for a destination. Empty texts and lists ask
    for nothing. A new rule becomes the last one."""
    form = RuleForm(name, modality, station, calling_ae, prefix, compress, ratio, send_to)
    return rule_form.save_rule(opened, form, seen, new=new)


def remove_rule(opened: Access, name: str, seen: str) -> Saved:
    """Take a rule out of the configuration file. What it has promised is delivered so."""
    return rule_form.remove_rule(opened, name, seen)
