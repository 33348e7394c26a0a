"""Facts of a Linux machine: its machine id, DMI as far as anybody may read it, udev's names of the disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DMI = Path("/sys/class/dmi/id")
NETWORK = Path("/sys/class/net")
_OWN_ADDRESS = "0"
"""addr_assign_type of an address that is the card's own (NET_ADDR_PERM)."""


def firmware_words() -> str:
    """Maker, product and board as the firmware tells them, and what a hypervisor says of itself."""
    names = ("sys_vendor", "product_name", "product_version", "bios_vendor", "board_vendor", "chassis_vendor")
    words = [_text(DMI / name) for name in names if (DMI / name).exists()]
    hypervisor = Path("/sys/hypervisor/type")
    if hypervisor.exists():
        words.append(_text(hypervisor))
    if " hypervisor" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        words.append("virtual machine")
    return " ".join(words)


def _machine() -> str:
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if Path(name).exists():
            return _text(Path(name))
    raise FileNotFoundError(name)


def _board() -> str:
    """Maker, product and serial number; the last is for root alone, and is then left out for everybody."""
    return " ".join(_text(DMI / name) for name in ("board_vendor", "board_name", "product_name"))


def _disk() -> str:
    """The serial number of the disk of the root file system."""
    if sys.platform == "win32":  # there is another module for it
        raise FileNotFoundError("/sys")
    number = os.stat("/").st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    disk = device.parent if (device / "partition").exists() else device
    told = Path(f"/run/udev/data/b{_text(disk / 'dev')}")
    if told.exists():
        for line in told.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("E:ID_SERIAL="):
                return line.partition("=")[2]
    for name in ("device/serial", "device/wwid", "wwid"):
        if (disk / name).exists():
            return _text(disk / name)
    raise FileNotFoundError(disk)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    told = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    words = {key.strip(): value.strip() for key, value in told.items()}
    return " ".join(words[key] for key in ("vendor_id", "cpu family", "model", "model name", "stepping"))


def _network() -> str:
    """The lowest own address of a card that is hardware."""
    found = [
        _text(card / "address")
        for card in NETWORK.iterdir()
        if (card / "device").exists() and _text(card / "addr_assign_type") == _OWN_ADDRESS
    ]
    return min(found)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


READERS = {
    "machine": _machine,
    "firmware": lambda: _text(DMI / "product_uuid"),
    "board": _board,
    "disk": _disk,
    "cpu": _cpu,
    "network": _network,
}
