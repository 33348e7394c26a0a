"""Bytes from a generator that knows their structure, and draws lengths from a list that hurts.

Everything is made from a `random.Random`: a campaign's own, or Hypothesis's, which can then shrink what it
found. Most of what is drawn is right, so that a reader comes to the place where it is not.

    data_set      elements, sequences, items, delimiters, fragments, group lengths (PS3.5, section 7)
    frames        encapsulated pixel data with its offset tables (PS3.5, section A.4)
    file_meta     a file of PS3.10 with such a data set
    command_set   group 0000 (PS3.7, section 6.3)
    pdu, p_data   PDUs, their items, and PDVs (PS3.8, section 9.3)
    conversation  what follows an accepted association request: messages with such data sets
"""

from __future__ import annotations

import struct
from random import Random

from mapdr._fast.scan_tables import LONG_VRS
from mapdr.testing import peer

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
IMPLICIT, EXPLICIT, BIG = range(3)
"""The encodings of a data set."""
ENCODINGS = (IMPLICIT, EXPLICIT, BIG)

SOP_CLASS, SOP_INSTANCE = b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.3.4\0"
KNOWN: dict[int, tuple[bytes, bytes]] = {
    0x00080005: (b"CS", b"ISO_IR 100"),
    0x00080016: (b"UI", SOP_CLASS),
    0x00080018: (b"UI", SOP_INSTANCE),
    0x00080020: (b"DA", b"20261123"),
    0x00080050: (b"SH", b"ACC1"),
    0x00080060: (b"CS", b"CT"),
    0x00090010: (b"LO", b"GEMS_IDEN_01"),
    0x00091001: (b"LO", b"text"),
    0x00100010: (b"PN", b"A^B "),
    0x00100020: (b"LO", b"ID"),
    0x0020000D: (b"UI", b"1.2.3\0"),
    0x0020000E: (b"UI", b"1.2.3.1\0"),
    0x00280008: (b"IS", b"3 "),
    0x00280010: (b"US", b"\4\0"),
    0x00280103: (b"US", b"\0\0"),
    0x00400009: (b"SH", b"S1"),
    0xFFFCFFFC: (b"OB", b"\0\0"),
}
"""Elements with a value, in the order of their tags: those that MAPDR reads of every image among them."""
SEQUENCES = (0x00081140, 0x00091002, 0x00400275, 0x00400008)
STRANGE = (0, 0x00000100, 0x00020000, 0x00020010, ITEM, ITEM_END, SEQUENCE_END, 0xFFFFFFFF)
"""Tags that have no place at the top level of a data set, or end a walk."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010, 0x7FE00010, 0x7FE00010)
UIDS = (
    b"",
    b"1",
    b"1.2.3.4 ",
    b"1.2.3.4\0\0",
    b"1.2.3.5\0",
    b"\xff\xfe",
    b"1." + b"2" * 62,
    b"1" * 66,
    b"0" * 84,
)
DEEPEST = 4


def hostile(chance: Random, right: int, left: int, *, bits: int = 32, rare: float = 0.12) -> int:
    """A length: mostly the `right` one, else one that hurts a reader with `left` bytes before it."""
    if chance.random() >= rare:
        return right & ((1 << bits) - 1)
    return chance.choice(
        (
            0,
            1,
            right ^ 1,
            right + 1,
            right + 2,
            max(right - 1, 0),
            max(right - 2, 0),
            max(left - 1, 0),
            left,
            left + 1,
            left + 2,
            0xFFFE,
            0xFFFF,
            0x10000,
            0x7FFFFFFF,
            0x80000000,
            0xFFFFFFF4,
            0xFFFFFFFE,
            0xFFFFFFFF,
        )
    ) & ((1 << bits) - 1)


class Writer:
    """Writes data sets of one encoding, the last element first: then it is known how many bytes are left."""

    def __init__(self, chance: Random, encoding: int, rare: float) -> None:
        self.chance = chance
        self.encoding = encoding
        self.rare = rare

    def sometimes(self, rare: float | None = None) -> bool:
        """Whether something odd is due."""
        return self.chance.random() < (self.rare if rare is None else rare)

    def head(self, tag: int, vr: bytes, length: int, encoding: int) -> bytes:
        """An element's head; a length that its field does not hold is cut."""
        order = ">" if encoding == BIG else "<"
        begun = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if encoding == IMPLICIT or tag >> 16 == 0xFFFE:
            return begun + struct.pack(order + "L", length & UNDEFINED)
        if vr in LONG_VRS:
            reserved = 0xFFFF if self.sometimes(0.01) else 0
            return begun + vr + struct.pack(order + "HL", reserved, length & UNDEFINED)
        return begun + vr + struct.pack(order + "H", length & 0xFFFF)

    def level(self, tags: list[int], depth: int, after: int, encoding: int) -> bytes:
        """Elements in this order, with `after` bytes behind them."""
        out = b""
        group_size = 0
        for index in range(len(tags) - 1, -1, -1):
            tag = tags[index]
            if index + 1 < len(tags) and tags[index + 1] >> 16 != tag >> 16:
                group_size = 0
            one = self.element(tag, depth, after + len(out), encoding, group_size)
            group_size += len(one)
            out = one + out
        return out

    def element(self, tag: int, depth: int, after: int, encoding: int, group_size: int) -> bytes:
        """One element: head, value, delimiter if its length is undefined."""
        chance = self.chance
        vr = KNOWN.get(tag, (b"UN", b""))[0]
        if not tag & 0xFFFF:
            vr = b"UL"
        if tag in SEQUENCES:
            vr = b"SQ"
        if tag >> 16 == 0x7FE0 and tag & 0xFFFF:
            vr = chance.choice((b"OW", b"OB", b"OB"))
        if self.sometimes():
            vr = chance.choice(
                (b"UN", b"UN", b"UN", b"SQ", b"OB", b"UT", b"UI", b"UC", b"XX", b"  ", b"\0\0", b"ob")
            )
        undefined = tag in SEQUENCES and chance.random() < 0.5
        undefined |= tag >> 16 == 0x7FE0 and vr == b"OB" and chance.random() < 0.7
        undefined |= self.sometimes(self.rare / 2)
        inner = IMPLICIT if vr == b"UN" and undefined else encoding
        if undefined:
            pixels = tag >> 16 == 0x7FE0
            content = self.fragments(after, inner) if pixels else self.items(depth, after, inner)
            content += self.delimiter(SEQUENCE_END, inner)
            length = UNDEFINED
        else:
            content = (
                self.items(depth, after, inner) if tag in SEQUENCES else self.value(tag, encoding, group_size)
            )
            length = len(content)
        if undefined and encoding != IMPLICIT and vr not in LONG_VRS:
            vr = b"UN" if chance.random() < 0.8 else vr
        length = hostile(chance, length, len(content) + after, rare=self.rare / 2)
        return self.head(tag, vr, length, encoding) + content

    def value(self, tag: int, encoding: int, group_size: int) -> bytes:
        """A value that the element may have, or one beside it."""
        chance = self.chance
        if not tag & 0xFFFF:
            size = hostile(chance, group_size, group_size, rare=self.rare)
            return struct.pack(">L" if encoding == BIG else "<L", size)
        if tag in KNOWN and not self.sometimes():
            return KNOWN[tag][1]
        if tag in (0x00080016, 0x00080018):
            return chance.choice(UIDS)
        return bytes(chance.randrange(256) for _ in range(chance.choice((0, 1, 2, 4, 5, 8, 12))))

    def items(self, depth: int, after: int, encoding: int) -> bytes:
        """The items of a sequence."""
        chance, out = self.chance, b""
        for _ in range(chance.choice((0, 0, 1, 1, 2))):
            if depth >= DEEPEST:
                break
            undefined = chance.random() < 0.5
            end = self.delimiter(ITEM_END, encoding) if undefined else b""
            tags = self.tags(depth + 1)
            content = self.level(tags, depth + 1, after + len(out) + len(end), encoding)
            right = UNDEFINED if undefined else len(content)
            length = hostile(chance, right, len(content) + len(end) + len(out) + after, rare=self.rare / 2)
            tag = (
                ITEM
                if not self.sometimes(self.rare / 4)
                else chance.choice((ITEM_END, SEQUENCE_END, 0x00080018))
            )
            out = self.head(tag, b"UI", length, encoding) + content + end + out
        return out

    def fragments(self, after: int, encoding: int) -> bytes:
        """A Basic Offset Table and the fragments behind it."""
        out = b""
        for number in range(self.chance.choice((1, 2, 3, 4)), 0, -1):
            content = bytes(4 * (number % 3))
            length = hostile(self.chance, len(content), len(content) + len(out) + after, rare=self.rare / 2)
            out = self.head(ITEM, b"", length, encoding) + content + out
        return out

    def delimiter(self, tag: int, encoding: int) -> bytes:
        """A delimiter; now and then none, the other one, or one with a length."""
        if not self.sometimes(self.rare / 2):
            return self.head(tag, b"", 0, encoding)
        other = ITEM_END if tag == SEQUENCE_END else SEQUENCE_END
        kind = self.chance.randrange(4)
        if kind == 0:
            return b""
        if kind == 1:
            return self.head(other, b"", 0, encoding)
        if kind == 2:
            return self.head(tag, b"", hostile(self.chance, 0, 0, rare=1), encoding)
        return self.head(tag, b"", 0, encoding) * 2

    def tags(self, depth: int) -> list[int]:
        """Tags of one level, ascending unless something odd is due."""
        chance = self.chance
        known, most = [*KNOWN, *SEQUENCES], chance.choice((1, 2, 4, 8, 20))
        chosen = {tag for tag in known if chance.randrange(len(known)) < most}
        if depth == 0:
            if not self.sometimes():
                chosen |= {0x00080016, 0x00080018}
            if chance.random() < 0.6:
                chosen.add(chance.choice(PIXELS))
        if chance.random() < 0.3:
            chosen |= {tag & 0xFFFF0000 for tag in chosen if chance.random() < 0.4}
        out = sorted(chosen)
        if self.sometimes():
            out.insert(chance.randint(0, len(out)), chance.choice(STRANGE))
        if out and self.sometimes(self.rare / 3):
            out.insert(chance.randint(0, len(out)), chance.choice(out))
        return out


def data_set(chance: Random, encoding: int | None = None) -> bytes:
    """A data set in one of the encodings, a quarter of them without any fault of length."""
    encoding = chance.choice(ENCODINGS) if encoding is None else encoding
    writer = Writer(chance, encoding, chance.choice((0.0, 0.02, 0.1, 0.3)))
    out = writer.level(writer.tags(0), 0, 0, encoding)
    kind = chance.random()
    if kind < 0.05:
        return out[: chance.randint(0, len(out))]
    if kind < 0.1:
        return out + bytes(chance.choice((1, 2, 7, 8, 9, 64)))
    return out


def frames(chance: Random) -> bytes:
    """A data set of explicit VR little endian with encapsulated pixel data and tables that may lie."""
    rare = chance.choice((0.0, 0.1, 0.3))
    writer = Writer(chance, EXPLICIT, rare / 2)
    parts = [
        chance.choice((b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0cjP  ", b"", b"\0" * 12))
        + bytes(2 * chance.randrange(8))
        for _ in range(chance.choice((0, 1, 2, 3, 6)))
    ]
    number = (
        hostile(chance, len(parts), len(parts) + 1, rare=rare)
        if chance.random() < 0.5
        else chance.randint(0, 4)
    )
    offsets = [sum(8 + len(part) for part in parts[:index]) for index in range(len(parts))]
    lied = [hostile(chance, offset, offsets[-1] + 9, rare=rare) for offset in offsets]
    table = struct.pack(f"<{len(lied)}L", *lied) if chance.random() < 0.6 else b""
    table = table[: len(table) - chance.choice((0, 0, 0, 1, 4))] if table else table
    out, after = writer.delimiter(SEQUENCE_END, EXPLICIT), 0
    for part in reversed([table, *parts] if chance.random() > rare / 4 else parts):
        length = hostile(chance, len(part), len(part) + len(out) + after, rare=rare / 2)
        tag = ITEM if chance.random() > rare / 4 else chance.choice((ITEM_END, SEQUENCE_END))
        out = writer.head(tag, b"", length, EXPLICIT) + part + out
    out = writer.head(0x7FE00010, chance.choice((b"OB", b"OB", b"OW", b"UN")), UNDEFINED, EXPLICIT) + out
    if chance.random() < 0.4:
        wide = [hostile(chance, offset, len(out), bits=64, rare=rare) for offset in offsets]
        extended = struct.pack(f"<{len(wide)}Q", *wide)
        lengths = struct.pack(
            f"<{len(parts)}Q", *(hostile(chance, len(part), len(out), rare=rare) for part in parts)
        )
        for tag, value in ((0x7FE00002, lengths), (0x7FE00001, extended)):
            length = hostile(chance, len(value), len(value) + len(out), rare=rare / 2)
            out = writer.head(tag, b"OV", length, EXPLICIT) + value + out
    count = str(number).encode()
    return writer.head(0x00280008, b"IS", len(count), EXPLICIT) + count + out


def file_meta(chance: Random) -> bytes:
    """A file of PS3.10, or one that its writer took for one: group 0002 in any encoding, or none."""
    rare = chance.choice((0.0, 0.1, 0.3))
    writer = Writer(chance, EXPLICIT, rare)
    syntax = chance.choice(
        (b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", b"", b"\xff", b"9" * 70)
    )
    encoding = IMPLICIT if chance.random() < 0.15 else BIG if chance.random() < 0.05 else EXPLICIT
    values = {
        0x00020001: (b"OB", b"\0\1"),
        0x00020002: (b"UI", SOP_CLASS),
        0x00020003: (b"UI", chance.choice((SOP_INSTANCE, *UIDS)) if chance.random() < rare else SOP_INSTANCE),
        0x00020010: (b"UI", syntax),
        0x00020012: (b"UI", b"1.2\0"),
        0x00020016: (b"AE", b"PEER"),
        0x00020102: (b"OB", b'{"receiver":"a","received_at":1,"digest":"00"}'),
    }
    body = b""
    data = data_set(chance)
    for tag, (vr, value) in reversed(values.items()):
        if chance.random() < rare:
            continue
        length = hostile(chance, len(value), len(value) + len(body) + len(data), rare=rare)
        body = writer.head(tag, vr, length, encoding) + value + body
    if chance.random() > rare / 2:
        size = hostile(chance, len(body), len(body) + len(data), rare=rare)
        order = ">L" if encoding == BIG else "<L"
        body = (
            writer.head(0x00020000, b"UL", hostile(chance, 4, len(body), rare=rare / 4), encoding)
            + struct.pack(order, size)
            + body
        )
    preamble = bytes(128) + b"DICM" if chance.random() > 0.15 else b""
    whole = preamble + body + data
    return whole[: chance.randint(0, len(whole))] if chance.random() < 0.1 else whole


def command_set(
    chance: Random, field: int | None = None, *, rare: float = 0.1, with_data: bool | None = None
) -> bytes:
    """A command set of implicit VR little endian: right, or with lengths, tags and values beside it."""
    field = (
        chance.choice((0x0001, 0x0001, 0x0030, 0x0020, 0x8001, 0x8030, 0x0FFF, 0x0101, 0xFFFF))
        if field is None
        else field
    )
    follows = chance.random() < 0.5 if with_data is None else with_data
    values = {
        0x0002: SOP_CLASS,
        0x0100: struct.pack("<H", field),
        0x0110: struct.pack("<H", chance.choice((0, 1, 7, 0xFFFF))),
        0x0120: b"\1\0",
        0x0700: b"\0\0",
        0x0800: struct.pack("<H", 0 if follows else 0x0101),
        0x0900: struct.pack("<H", chance.choice((0, 0xA700, 0xB000, 0xFF00))),
        0x0902: b"comment ",
        0x1000: SOP_INSTANCE,
        0x1030: b"MOVER ",
        0x1031: b"\1\0",
    }
    answer = field & 0x8000
    leave = {0x0110, 0x1030, 0x1031} if answer else {0x0120, 0x0900, 0x0902, 0x1030, 0x1031}
    tags = [tag for tag in values if (tag not in leave) != (chance.random() < rare / 4)]
    if chance.random() < rare:
        chance.shuffle(tags)
    out = b""
    for tag in reversed(tags):
        value = values[tag]
        if chance.random() < rare / 3:
            value = chance.choice((b"", b"\1", b"\0\1\2", *UIDS))
        length = hostile(chance, len(value), len(value) + len(out), rare=rare / 4)
        group = 0 if chance.random() > rare / 8 else chance.choice((2, 8, 0xFFFE, 0xFFFF))
        out = struct.pack("<HHL", group, tag, length) + value + out
    size = hostile(chance, len(out), len(out), rare=rare / 3)
    if chance.random() > rare / 3:
        out = struct.pack("<HHLL", 0, 0, hostile(chance, 4, len(out), rare=rare / 8), size) + out
    return out


def item(chance: Random, kind: int, content: bytes, after: int, rare: float) -> bytes:
    """An item of an A-ASSOCIATE (PS3.8, section 9.3.2), its length of 16 bits."""
    if chance.random() < rare / 4:
        kind = chance.choice((0, 0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x51, 0x52, 0x54, 0x55, 0x58, 0xFF))
    length = hostile(chance, len(content), len(content) + after, bits=16, rare=rare / 3)
    return struct.pack(">BxH", kind, length) + content


def associate(chance: Random) -> bytes:
    """An A-ASSOCIATE-RQ or -AC with all the items that the standard has."""
    rare = chance.choice((0.0, 0.1, 0.4))
    answer = chance.random() < 0.3
    uid = SOP_CLASS.rstrip(b"\0")
    names = (uid, uid, peer.VERIFICATION.encode(), *UIDS)
    user = b""
    for kind, content in (
        (0x58, b"\1\0" + struct.pack(">H", hostile(chance, 4, 6, bits=16, rare=rare)) + b"user\0\0"),
        (0x56, struct.pack(">H", hostile(chance, len(uid), 9, bits=16, rare=rare)) + uid + b"\1\1"),
        (0x55, b"MAPDR"),
        (
            0x54,
            struct.pack(">H", hostile(chance, len(uid), len(uid) + 2, bits=16, rare=rare)) + uid + b"\1\0",
        ),
        (0x53, b"\0\1\0\1"),
        (0x52, b"1.2.3"),
        (0x51, struct.pack(">L", hostile(chance, 16384, 0, rare=rare))[: chance.choice((4, 4, 4, 4, 3, 0))]),
    ):
        if chance.random() < 0.7:
            user = item(chance, kind, content, len(user), rare) + user
    out = item(chance, 0x50, user, 0, rare)
    for number in range(chance.choice((0, 1, 1, 2, 4)), 0, -1):
        inner = b""
        for kind in (0x40, 0x40, 0x30)[chance.randrange(2) :]:
            syntax = (
                chance.choice((b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", *UIDS))
                if kind == 0x40
                else chance.choice(names)
            )
            inner = item(chance, kind, syntax, len(inner), rare) + inner
        context = bytes(
            (chance.choice((2 * number - 1, 1, 0, 255)) if chance.random() < rare else 2 * number - 1, 0)
        )
        result = bytes((chance.randrange(6) if answer else 0, 0))
        out = item(chance, 0x21 if answer else 0x20, context + result + inner, len(out), rare) + out
    out = item(chance, 0x10, b"1.2.840.10008.3.1.1.1", len(out), rare) + out
    version = chance.choice((1, 1, 1, 0, 3, 0xFFFF))
    body = struct.pack(">HH16s16s32x", version, 0, b"MAPDR".ljust(16), b"PEER".ljust(16)) + out
    return (
        struct.pack(">BxL", 2 if answer else 1, hostile(chance, len(body), len(body), rare=rare / 3)) + body
    )


def pdu(chance: Random) -> bytes:
    """Any PDU but P-DATA, mostly an A-ASSOCIATE."""
    if chance.random() < 0.85:
        return associate(chance)
    body = bytes(chance.choice((0, 1, 2, 3, 255)) for _ in range(chance.choice((4, 4, 4, 0, 3, 5))))
    return (
        struct.pack(
            ">BxL", chance.choice((3, 5, 6, 7, 0, 8, 255)), hostile(chance, len(body), len(body), rare=0.1)
        )
        + body
    )


def p_data(chance: Random, pdvs: list[tuple[int, int, bytes]], rare: float) -> bytes:
    """PDVs of (context, message control header, data), spread over P-DATA as it comes."""
    out = b""
    at = 0
    while at < len(pdvs):
        body = b""
        for context, control, data in pdvs[at : at + chance.choice((1, 1, 1, 2, 5))]:
            at += 1
            length = hostile(chance, len(data) + 2, len(data) + 3, rare=rare / 4)
            if chance.random() < rare / 4:
                body += (
                    struct.pack(">LBB", length, *chance.choices((0, 1, 2, 3, 4, 5, 0x83, 255), k=2)) + data
                )
            else:
                body += struct.pack(">LBB", length, context, control) + data
        kind = 4 if chance.random() > rare / 16 else chance.choice((1, 3, 5, 6, 7, 0x47))
        out += struct.pack(">BxL", kind, hostile(chance, len(body), len(body) + 6, rare=rare / 6)) + body
    return out


def message(chance: Random, context: int, command: bytes, data: bytes | None, rare: float) -> bytes:
    """One message, its command set and data set cut into PDVs."""
    pdvs = []
    for kind, whole in ((1, command), (0, data)):
        if whole is None:
            continue
        most = len(whole) if chance.random() < 0.6 else max(1, chance.choice((7, 40, 128)))
        pieces = [whole[at : at + most] for at in range(0, len(whole), max(most, 1))] or [b""]
        if chance.random() < rare / 4:
            pieces.insert(chance.randrange(len(pieces) + 1), b"")
        pdvs += [(context, kind, piece) for piece in pieces[:-1]] + [(context, kind | 2, pieces[-1])]
    return p_data(chance, pdvs, rare)


def conversation(chance: Random) -> bytes:
    """Messages behind an association request that was accepted, and mostly a release."""
    rare = chance.choice((0.0, 0.0, 0.1, 0.4))
    out = b""
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        context = chance.choice((3, 3, 5, 1, 11)) if chance.random() < 0.3 + rare else chance.choice((3, 5))
        if chance.random() < 0.1 + rare / 2:
            command, data = (
                command_set(chance, rare=rare),
                data_set(chance) if chance.random() < 0.5 else None,
            )
        else:
            command = command_set(chance, 0x0001, rare=rare / 2, with_data=True)
            encoding = IMPLICIT if context == 5 else EXPLICIT
            data = data_set(chance, encoding if chance.random() < 0.95 else None)
        out += message(chance, context, command, data, rare)
    if chance.random() < 0.1:
        return out[: chance.randint(0, len(out))]
    return out + (pdu(chance) if chance.random() < 0.1 else bytes.fromhex("05000000000400000000"))
