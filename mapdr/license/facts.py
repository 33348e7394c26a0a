"""What is known of this machine's hardware, read by the system's own interfaces, without a privilege.

A fact that cannot be read, or that its maker has left at a placeholder, is left out. A virtual machine has
the processor, board and disk of its host or of its hypervisor, which all of its kind share: there only its
own identity counts (machine, firmware, network).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mapdr.license.code import KINDS

SHARED_BY_VIRTUAL = frozenset({"board", "disk", "cpu"})
VIRTUAL = re.compile(
    r"\b(qemu|kvm|vmware|virtualbox|innotek|xen|bochs|parallels|bhyve|hyper-?v|virtual machine|hvm domu|"
    r"amazon ec2|google compute engine|openstack|digitalocean|droplet|hetzner|alibaba cloud|firecracker)\b",
    re.IGNORECASE,
)
"""What firmware of virtual machines and clouds says of itself."""

_PLACEHOLDERS = re.compile(
    r"(0+|f+|1234567890?|to be filled.*|default string|none|not specified|not applicable|n/?a|unknown|"
    r"system (serial number|product name|manufacturer)|base ?board serial number|chassis serial number|"
    r"invalid|o\.?e\.?m\.?|x+|03000200-?0400-?0500-?0006-?000700080009)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of a machine (kind to value), and what says that it is a virtual one (empty: nothing)."""

    facts: Mapping[str, str]
    virtual: str = ""


Readers = Mapping[str, Callable[[], str]]
"""How each kind of fact is read; one raises OSError, ValueError or LookupError where it cannot be."""


def machine() -> Machine:
    """This machine."""
    if sys.platform == "win32":
        from mapdr.license.windows import READERS, firmware_words
    elif sys.platform == "darwin":
        from mapdr.license.macos import READERS, firmware_words
    else:
        from mapdr.license.linux import READERS, firmware_words
    return machine_by(READERS, firmware_words)


def machine_by(readers: Readers, firmware_words: Callable[[], str]) -> Machine:
    """The machine that these read; `firmware_words` gives maker, product and board as the firmware says."""
    words = VIRTUAL.search(_read(firmware_words))
    facts = {kind: fact for kind in KINDS if kind in readers and (fact := plain(_read(readers[kind])))}
    if words is None:
        return Machine(facts)
    return Machine({kind: fact for kind, fact in facts.items() if kind not in SHARED_BY_VIRTUAL}, words[0])


def plain(value: str) -> str:
    """A fact in the one way in which it is hashed; empty for one that says nothing."""
    text = " ".join(value.replace("\0", " ").split()).lower()
    return "" if _PLACEHOLDERS.fullmatch(re.sub(r"^[{]|[}]$", "", text).replace("-", "") or "0") else text


def _read(reader: Callable[[], str]) -> str:
    try:
        return reader()
    except (OSError, ValueError, LookupError):
        return ""
