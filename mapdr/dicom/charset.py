"""Text in a data set's Specific Character Set (PS3.3, C.12.1.1.2; PS3.5, 6.1.2), to and from str.

Code extensions are decoded and encoded here, without pydicom.charset: it warns and replaces where MAPDR
must know, its switch for strictness is global, and it leaves the escape sequences of GB 2312 in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from mapdr.kernel.character_set import AssumedSet

UTF8 = "ISO_IR 192"

TEXT_VRS = frozenset(b"LO LT PN SH ST UC UT".split())
"""The VRs that Specific Character Set governs (PS3.5, 6.1.2.3)."""

_WHOLE = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
"""Stand-alone sets, which take no code extensions."""

_SINGLE = {
    6: "ascii",
    13: "jisx0201",
    100: "latin-1",
    101: "iso8859-2",
    109: "iso8859-3",
    110: "iso8859-4",
    126: "iso8859-7",
    127: "iso8859-6",
    138: "iso8859-8",
    144: "iso8859-5",
    148: "iso8859-9",
    166: "iso8859-11",
    203: "iso8859-15",
}
_MULTI = {87: "jisx0208", 159: "jisx0212", 149: "euc_kr", 58: "gb2312"}

# Escape sequence -> (code element, set). PS3.3, tables C.12-3 and C.12-4.
_ESCAPES = {
    b"\x1b(B": (0, "ascii"),
    b"\x1b(J": (0, "ascii"),
    b"\x1b)I": (1, "jisx0201"),
    b"\x1b-A": (1, "latin-1"),
    b"\x1b-B": (1, "iso8859-2"),
    b"\x1b-C": (1, "iso8859-3"),
    b"\x1b-D": (1, "iso8859-4"),
    b"\x1b-F": (1, "iso8859-7"),
    b"\x1b-G": (1, "iso8859-6"),
    b"\x1b-H": (1, "iso8859-8"),
    b"\x1b-L": (1, "iso8859-5"),
    b"\x1b-M": (1, "iso8859-9"),
    b"\x1b-T": (1, "iso8859-11"),
    b"\x1b-b": (1, "iso8859-15"),
    b"\x1b$@": (0, "jisx0208"),
    b"\x1b$B": (0, "jisx0208"),
    b"\x1b$(D": (0, "jisx0212"),
    b"\x1b$)C": (1, "euc_kr"),
    b"\x1b$)A": (1, "gb2312"),
}
_DESIGNATE = {name: (element, escape) for escape, (element, name) in _ESCAPES.items() if escape != b"\x1b(J"}
_TWO_BYTE_G0 = {"jisx0208": ("iso2022_jp", b"\x1b$B"), "jisx0212": ("iso2022_jp_2", b"\x1b$(D")}

_TERM = re.compile(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?([0-9]{1,3})")
_PIECES = re.compile(rb"\x1b\$[()][A-Z]|\x1b[()$-][@-Zb]|[\t\n\f\r]|[^\x1b\t\n\f\r]+|\x1b")
_ENDS = (b"\t", b"\n", b"\f", b"\r")
_LEVELS = re.compile(rb"[\x80-\xff]+|[\x00-\x20]+|[\x21-\x7f]+")
_RUNS = re.compile(rb"[\\^=]|[^\\^=]+")


class _Declared:
    """A parsed Specific Character Set: one stand-alone codec, or what holds initially and what may follow."""

    def __init__(self, terms: tuple[str, ...]) -> None:
        self.whole = ""
        self.g1 = ""
        self.sets: list[str] = []
        self.known = True
        self.ascii = b"\x1b(B"
        for index, raw in enumerate(terms or ("",)):
            term = raw.strip().upper()
            if term in _WHOLE or term in ("ISO 2022 GBK", "ISO 2022 58", "UTF-8", "UTF8"):
                name = _WHOLE.get(term) or ("utf-8" if term.startswith("UTF") else "gbk")
                if index == 0:
                    self.whole = name
                    return
                continue
            match = _TERM.fullmatch(term)
            number = int(match[2]) if match else 6
            if number == 192 and index == 0:
                self.whole = "utf-8"
                return
            self.known &= not term or (match is not None and (number in _SINGLE or number in _MULTI))
            name = _SINGLE.get(number) or _MULTI.get(number, "ascii")
            if index == 0 and number in _SINGLE:
                self.g1 = "" if name == "ascii" else name
                # With JIS X 0201 goes its Roman set, ISO-IR 14, in G0 (PS3.3, table C.12-2).
                self.ascii = b"\x1b(J" if number == 13 else self.ascii
            if name not in ("ascii", *self.sets):
                self.sets.append(name)
        upper = [name for name in self.sets if name not in _TWO_BYTE_G0]
        # Some writers do not repeat the escape sequence after a delimiter: where only one set can be
        # meant, it is read so.
        self.spare = upper[0] if len(upper) == 1 else ""


@lru_cache(maxsize=64)
def _declared(terms: tuple[str, ...]) -> _Declared:
    return _Declared(terms)


def parse_terms(raw: bytes) -> tuple[str, ...]:
    """The defined terms in a value of Specific Character Set."""
    text = raw.decode("ascii", "replace").rstrip(" \0")
    return tuple(term.strip() for term in text.split("\\")) if text else ()


def is_known(terms: tuple[str, ...]) -> bool:
    """Whether every term is one that MAPDR can decode; no term at all is the default repertoire."""
    return _declared(terms).known


@lru_cache(maxsize=256)
def terms_in_use(declared: tuple[str, ...], assumed: tuple[AssumedSet, ...]) -> tuple[str, ...]:
    """The terms in which text is read that is declared as `declared`: the first of the sets that are assumed
    for such a declaration, or what is declared."""
    parsed = _declared(declared)
    is_silent = not parsed.known or not (parsed.whole or parsed.sets)
    for one in assumed:
        if is_silent if not one.declared else _spelt(one.declared.split("\\")) == _spelt(declared):
            return parse_terms(one.terms.encode())
    return declared


def _spelt(terms: Iterable[str]) -> list[str]:
    """Terms as they are compared: devices write them in more than one way."""
    return [re.sub(r"[ _-]+", " ", term.strip().upper()) for term in terms]


def is_plain(raw: bytes) -> bool:
    """Whether the bytes mean the same in every character set: ASCII without escape sequences."""
    return raw.isascii() and b"\x1b" not in raw


def decode(raw: bytes, terms: tuple[str, ...], *, person: bool = False) -> str:
    """The text of a value; what cannot be decoded becomes U+FFFD.

    Bytes above 127 without a declared set are taken as UTF-8 if they are that, else as Latin-1.
    `person`: `^` and `=` reset the code extensions, as in PN.
    """
    if is_plain(raw):
        return raw.decode("ascii")
    declared = _declared(terms)
    if not declared.whole and not declared.sets and b"\x1b" not in raw:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    return _decode(raw, declared, person, "replace")


def decode_or_none(raw: bytes, terms: tuple[str, ...], *, person: bool = False) -> str | None:
    """The text of a value if it is what the declared set allows, else None."""
    if is_plain(raw):
        return raw.decode("ascii")
    declared = _declared(terms)
    if not declared.known:
        return None
    try:
        return _decode(raw, declared, person, "strict")
    except UnicodeError:
        return None


def _decode(raw: bytes, declared: _Declared, person: bool, errors: str) -> str:
    if declared.whole:
        return raw.decode(declared.whole, errors)
    out: list[str] = []
    g0, g1 = "ascii", declared.g1
    for piece in _PIECES.findall(raw):
        if piece in _ESCAPES:
            element, name = _ESCAPES[piece]
            g0, g1 = (name, g1) if element == 0 else (g0, name)
        elif piece[0] == 0x1B:
            out.append(piece.decode("ascii", errors) if errors != "strict" else _fail(piece))
        elif piece in _ENDS:
            out.append(piece.decode("ascii"))
            g0, g1 = "ascii", declared.g1
        elif g0 != "ascii":
            # Both bytes of these sets may look like delimiters; there are none until G0 is ASCII again.
            out.extend(_level(run, g0, g1 or declared.spare, errors) for run in _LEVELS.findall(piece))
        elif not person and b"\\" not in piece:
            out.append(_level(piece, g0, g1 or declared.spare, errors))
        else:
            for run in _RUNS.findall(piece):
                if run == b"\\" or (person and run in b"^="):
                    g1 = declared.g1
                out.append(_level(run, g0, g1 or declared.spare, errors))
    return "".join(out)


def _fail(piece: bytes) -> str:
    raise UnicodeDecodeError("iso2022", piece, 0, 1, "unknown escape sequence")


def _level(run: bytes, g0: str, g1: str, errors: str) -> str:
    """Decode bytes under fixed designations of G0 and G1."""
    if 0x20 < run[0] < 0x80 and g0 != "ascii":
        codec, escape = _TWO_BYTE_G0[g0]
        return (escape + run).decode(codec, errors)
    if g1 == "jisx0201":
        # Shift JIS holds JIS X 0201 as its single bytes; its double bytes are not meant.
        if any(byte > 0x7F and not 0xA1 <= byte <= 0xDF for byte in run):
            return run.decode("ascii", errors)
        return run.decode("shift_jis", errors)
    return run.decode(g1 or "ascii", errors)


def encode_or_none(text: str, terms: tuple[str, ...], *, person: bool = False) -> bytes | None:
    """The bytes of a value in the declared set, or None if it cannot hold the text."""
    if text.isascii() and "\x1b" not in text:
        return text.encode("ascii")
    declared = _declared(terms)
    if not declared.known:
        return None
    try:
        raw = text.encode(declared.whole) if declared.whole else _encode(text, declared, person)
    except UnicodeEncodeError:
        return None
    # What does not come back as it went in has no place in a data set.
    return raw if decode_or_none(raw, terms, person=person) == text else None


def _encode(text: str, declared: _Declared, person: bool) -> bytes:
    resets = "\t\n\f\r\\" + ("^=" if person else "")
    out = bytearray()
    g0, g1 = "ascii", declared.g1
    for char in text + "\t":
        if char in resets:
            # The set of value 1 is active again before a delimiter and at the end (PS3.5, 6.1.2.5.3).
            if g0 != "ascii":
                out += declared.ascii
            if declared.g1 and g1 != declared.g1:
                out += _DESIGNATE[declared.g1][1]
            g0, g1 = "ascii", declared.g1
            out += char.encode("ascii")
        elif char.isascii():
            if g0 != "ascii":
                out += declared.ascii
                g0 = "ascii"
            out += char.encode("ascii")
        else:
            order = [name for name in (g0, g1) if name and name != "ascii"] + declared.sets
            for name in order:
                raw = _char(char, name)
                if raw:
                    break
            else:
                raise UnicodeEncodeError("iso2022", char, 0, 1, "not in the declared sets")
            element, escape = _DESIGNATE[name]
            if name != (g0, g1)[element]:
                out += escape
                g0, g1 = (name, g1) if element == 0 else (g0, name)
            out += raw
    return bytes(out[:-1])


def _char(char: str, name: str) -> bytes:
    """One non-ASCII character in a set, or nothing if the set lacks it."""
    codec, escape = _TWO_BYTE_G0.get(name, ("shift_jis" if name == "jisx0201" else name, b""))
    try:
        raw = char.encode(codec)
    except UnicodeEncodeError:
        return b""
    if escape:
        return raw[len(escape) : len(escape) + 2] if raw.startswith(escape) else b""
    if name == "jisx0201" and (len(raw) != 1 or raw[0] < 0x80):
        return b""
    return raw
