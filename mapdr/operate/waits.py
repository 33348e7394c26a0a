"""The words for why a delivery that is owed has not been delivered yet: one list for all faces."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

IN_HAND = "in-hand"
CODEC = "waits-for-codec"
MEMORY = "waits-for-memory"
WINDOW = "window"
QUIET = "study-not-quiet"
BEHIND = "behind-others"
PUT_OFF = "put-off"
LICENSE = "license"
HELD = "held"
NO_NODE = "node-stopped"
UNKNOWN = "node-silent"

REASONS: Mapping[str, str] = MappingProxyType(
    {
        HELD: "somebody holds its destination",
        NO_NODE: "the node does not run",
        LICENSE: "no license holds, and forwarding pauses (`mapdr license show`, *Settings* on the page)",
        UNKNOWN: "the node says nothing, or its index cannot be read",
        WINDOW: "its destination is outside its hours; `due_at` says until when",
        QUIET: "images of its study may still come (`wait_for_study`)",
        BEHIND: "it is due, and others are before it",
        IN_HAND: "it is leased: it is on the wire, or goes next",
        CODEC: "it is leased, and a codec works on it, or on others before it",
        MEMORY: "it is leased, and waits for its share of `[node] memory`",
        PUT_OFF: "of a destination: all that waits there was tried, and waits for its next try",
        "unreachable": "no connection can be made, or the receiver does not answer to it",
        "association-rejected": "the receiver does not let this node in",
        "no-answer": "the receiver hung up, aborted or fell silent",
        "receiver-busy": "the receiver is out of resources, or could not process it for now",
        "not-accepted": "the receiver accepts no presentation context for it at present",
        "syntax-refused": "the receiver wants another transfer syntax, in which it goes next",
        "refused": "the receiver refused it; it is tried again",
        "failed": "the receiver's answer is none that DICOM defines; it is tried again",
        "unnamed": "the receiver's answer did not name it",
        "busy": "the server asks to come later",
        "unauthorized": "the server does not let this node in, or there is no token",
        "no-service": "the server knows no such service at this URL",
        "redirected": "the server redirects to where images may not be sent",
        "unreadable-answer": "the server's answer cannot be read, so that nothing is taken for delivered",
        "no-room": "the receiver has no room",
        "read-only": "the folder cannot be written to",
        "no-folder": "the folder is not there",
        "unconfirmed": "the server did not confirm it; it is tried again",
        "preparing": "it could not be prepared for now",
        "unexpected": "it could not be prepared or sent, by a fault of this node",
        "out-of-memory": "this machine had no memory to prepare it; it is tried again",
        "own-fault": "no connection can be opened here: a fault of this node",
        "interrupted": "the node ended while it was leased",
    }
)
"""Reason to what it means. A plug-in's egress, and a receiver that wants to be left alone, may add words."""
