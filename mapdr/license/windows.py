"""Facts of a Windows machine: the registry, the firmware's tables, the first disk, the adapters."""

from __future__ import annotations

import ctypes
import struct
import sys
import uuid

assert sys.platform == "win32"

import winreg  # noqa: E402
from ctypes import wintypes  # noqa: E402

_RSMB = 0x52534D42
"""'RSMB': the raw tables of SMBIOS (System Management BIOS Reference Specification, DSP0134)."""
_SYSTEM, _BOARD, _END = 1, 2, 127
_SHARED = 3  # FILE_SHARE_READ | FILE_SHARE_WRITE
_OPEN_EXISTING = 3
_QUERY_PROPERTY = 0x2D1400  # IOCTL_STORAGE_QUERY_PROPERTY
_SERIAL_OFFSET = 24  # of STORAGE_DEVICE_DESCRIPTOR.SerialNumberOffset
_INVALID = ctypes.c_void_p(-1).value
_BIOS = r"HARDWARE\DESCRIPTION\System\BIOS"
_CPU = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_NO_FLAGS, _UNSPECIFIED, _OVERFLOW = 0, 0, 111
_ETHERNET, _WIRELESS = 6, 71  # IF_TYPE_ETHERNET_CSMACD, IF_TYPE_IEEE80211

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_iphlp = ctypes.WinDLL("iphlpapi")


def firmware_words() -> str:
    """Maker, product and board as the firmware tells them."""
    names = ("SystemManufacturer", "SystemProductName", "BIOSVendor", "BaseBoardManufacturer")
    return " ".join(_registry(_BIOS, name, missing="") for name in names)


def _registry(key: str, name: str, *, missing: str | None = None) -> str:
    """A text of HKEY_LOCAL_MACHINE, as a 64-bit program sees it. Raises OSError without `missing`."""
    access = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, access) as opened:
            return str(winreg.QueryValueEx(opened, name)[0])
    except OSError:
        if missing is None:
            raise
        return missing


def _firmware() -> str:
    """The UUID of the system (SMBIOS, type 1): its first three fields are little endian."""
    data, _ = _table(_SYSTEM)
    return str(uuid.UUID(bytes_le=data[8:24]))


def _board() -> str:
    data, texts = _table(_BOARD)
    return " ".join(texts[number - 1] for number in data[4:8] if 0 < number <= len(texts))


def _table(kind: int) -> tuple[bytes, list[str]]:
    """The first structure of a type, and its texts. Raises LookupError."""
    size = _kernel.GetSystemFirmwareTable(_RSMB, 0, None, 0)
    buffer = ctypes.create_string_buffer(size)
    if _kernel.GetSystemFirmwareTable(_RSMB, 0, buffer, size) != size:
        raise LookupError("the firmware tells no tables")
    data, at = buffer.raw[8:], 0
    while at + 4 <= len(data):
        found, length = data[at], data[at + 1]
        end = data.index(b"\0\0", at + length)
        if found == kind:
            texts = data[at + length : end].split(b"\0")
            return data[at : at + length], [text.decode("ascii", "replace") for text in texts]
        if found == _END:
            break
        at = end + 2
    raise LookupError(f"no structure of type {kind}")


def _disk() -> str:
    """The serial number of the first disk; asking for a property needs no right to read the disk."""
    _kernel.CreateFileW.restype = wintypes.HANDLE
    handle = _kernel.CreateFileW(r"\\.\PhysicalDrive0", 0, _SHARED, None, _OPEN_EXISTING, 0, None)
    if handle == _INVALID:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        query = struct.pack("<III", 0, 0, 0)  # StorageDeviceProperty, PropertyStandardQuery
        answer = ctypes.create_string_buffer(1024)
        size = wintypes.DWORD()
        if not _kernel.DeviceIoControl(
            wintypes.HANDLE(handle),
            _QUERY_PROPERTY,
            query,
            len(query),
            answer,
            len(answer),
            ctypes.byref(size),
            None,
        ):
            raise ctypes.WinError(ctypes.get_last_error())
    finally:
        _kernel.CloseHandle(wintypes.HANDLE(handle))
    (place,) = struct.unpack_from("<I", answer.raw, _SERIAL_OFFSET)
    if not 0 < place < size.value:
        raise LookupError("the disk tells no serial number")
    return answer.raw[place : answer.raw.index(b"\0", place)].decode("ascii", "replace")


class _Adapter(ctypes.Structure):
    """The head of IP_ADAPTER_INFO, as far as it is read."""


_Adapter._fields_ = [
    ("next", ctypes.POINTER(_Adapter)),
    ("combo_index", wintypes.DWORD),
    ("name", ctypes.c_char * 260),
    ("description", ctypes.c_char * 132),
    ("address_length", wintypes.UINT),
    ("address", ctypes.c_ubyte * 8),
    ("index", wintypes.DWORD),
    ("type", wintypes.UINT),
]


def _network() -> str:
    """The lowest address of an Ethernet or wireless adapter that its maker has given (the second bit of its
    first byte says that somebody else has)."""
    size = wintypes.ULONG(0)
    if _iphlp.GetAdaptersInfo(None, ctypes.byref(size)) != _OVERFLOW:
        raise LookupError("there is no adapter")
    buffer = ctypes.create_string_buffer(size.value)
    error = _iphlp.GetAdaptersInfo(buffer, ctypes.byref(size))
    if error:
        raise ctypes.WinError(error)
    found, one = [], ctypes.cast(buffer, ctypes.POINTER(_Adapter))
    while one:
        adapter = one.contents
        address = bytes(adapter.address[: adapter.address_length])
        if adapter.type in (_ETHERNET, _WIRELESS) and address and not address[0] & 2:
            found.append(address.hex())
        one = adapter.next
    return min(found)


READERS = {
    "machine": lambda: _registry(r"SOFTWARE\Microsoft\Cryptography", "MachineGuid"),
    "firmware": _firmware,
    "board": _board,
    "disk": _disk,
    "cpu": lambda: f"{_registry(_CPU, 'ProcessorNameString')} {_registry(_CPU, 'Identifier')}",
    "network": _network,
}
