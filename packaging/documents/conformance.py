"""The DICOM Conformance Statement (PS3.2), made of the tables and constants that the node works with.

Every figure, UID and status comes from where the code has it. The words between them stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from tables import duration, size, table

import mapdr
from mapdr.config.model import NodeConfig
from mapdr.dicom import charset
from mapdr.dicom.deidentify.table import CODES, EDITION
from mapdr.dicom.transfer_syntax import TRANSFER_SYNTAXES, name_of
from mapdr.egress.dicom import destination, fetch
from mapdr.egress.dicom.destination import DimseEgressConfig
from mapdr.egress.dicomweb import reasons
from mapdr.egress.dicomweb.destination import AWAY, BY_BODY, NO_SERVICE, DicomwebEgressConfig
from mapdr.egress.dicomweb.request import ACCEPT
from mapdr.egress.folder import dicomdir
from mapdr.kernel import status as dimse_status
from mapdr.kernel import uids
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.net.http.status import LONGEST_WAIT
from mapdr.net.tls import SECURITY, SUITES, ServerTls
from mapdr.operate import audit
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.receive.dicom.doorkeeper import CAUSES
from mapdr.receive.dicomweb import app as stow
from mapdr.receive.dicomweb import parts
from mapdr.receive.dicomweb.config import DicomwebReceiveConfig
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.encode.methods import METHODS
from mapdr.wire import pdu, status
from mapdr.wire.contexts import MAY_PASS, REJECTIONS, choose, is_storage
from mapdr.wire.link import SHORTEST_PDU, Limits
from mapdr.wire.requestor import SLOWEST_STORE

YES, NO = "Yes", "No"

TREATMENT = {
    status.Kind.SUCCESS: "delivered",
    status.Kind.WARNING: "delivered; the warning is kept and shown",
    status.Kind.OUT_OF_RESOURCES: "waits, and is sent again after growing pauses; no try is used up",
    status.Kind.TROUBLE: "waits, and is sent again after growing pauses; no try is used up",
    status.Kind.REFUSED: "sent again up to `retry.tries` times, then parked for a person",
    status.Kind.ITEM_FAULT: "sent again up to `retry.tries` times, then parked for a person",
    status.Kind.UNKNOWN: "sent again up to `retry.tries` times, then parked for a person",
}
"""What a received C-STORE status does to the image (docs/configuration.md says it at length)."""

STOW_TREATMENT = {
    reasons.Cause.TROUBLE: "waits, and is sent again after growing pauses",
    reasons.Cause.SYNTAX: "goes in the next of `syntaxes`, else is parked",
    reasons.Cause.DUPLICATE: "delivered; parked if other bytes were delivered under its UID before",
    reasons.Cause.REFUSED: "sent again up to `retry.tries` times, then parked",
    reasons.Cause.UNKNOWN: "sent again up to `retry.tries` times, then parked",
}

ANSWERS = {
    dimse_status.SUCCESS: "the object is complete, on disk under its final name, and flushed",
    dimse_status.OUT_OF_RESOURCES: "no room, or the index takes nothing or is too far behind; also while the "
    "node stops. The sender keeps the object and may send it again",
    dimse_status.CANNOT_UNDERSTAND: "the data set is incomplete, cannot be read, or has no SOP Class, SOP "
    "Instance or Study Instance UID",
    dimse_status.PROCESSING_FAILURE: "a fault of the node: the object is not kept",
    dimse_status.NO_SUCH_SOP_CLASS: "the Affected SOP Class UID is not a UID",
    dimse_status.INVALID_SOP_INSTANCE: "the Affected SOP Instance UID is not a UID",
    dimse_status.SOP_CLASS_NOT_SUPPORTED: "a C-STORE in a context for Verification; C-FIND, C-GET and C-MOVE",
    dimse_status.UNRECOGNIZED_OPERATION: "any other operation",
}
"""What each status that the receiver answers means."""

TERMS = (
    *(f"ISO_IR {number}" for number in (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166)),
    *(f"ISO 2022 IR {number}" for number in (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166)),
    *(f"ISO 2022 IR {number}" for number in (87, 159, 149, 58)),
    "ISO_IR 192",
    "GB18030",
    "GBK",
)
"""The defined terms of PS3.3, section C.12.1.1.2."""


def document() -> str:
    """The whole statement, in Markdown."""
    chapters = (
        _cover,
        _overview,
        _introduction,
        _model,
        _storage_scp,
        _storage_scu,
        _query_scu,
        _dicomweb,
        _media,
        _configuration,
        _coercion,
        _character_sets,
        _security,
        _sop_classes,
        _transfer_syntaxes,
    )
    return "\n".join(chapter().strip() + "\n" for chapter in chapters)


def _cover() -> str:
    return f"""
# DICOM Conformance Statement

MAPDR, version {mapdr.__version__}. Made by `make documents` of the tables that the program works with: do not edit it.
A test fails when it is not what the program does.

It tells what PS3.2 asks for, in an order and with section numbers of its own. Words of MAPDR's own (parked, destination, spool) are told in
[glossary.md](glossary.md).
"""


def _overview() -> str:
    services = table(
        ("DIMSE service", "SOP classes", "as user (SCU)", "as provider (SCP)"),
        (
            ("Verification", "Verification", YES, YES),
            ("Storage", f"all: {len(_storage_classes())} of the standard, private and future ones", YES, YES),
            ("Query", f"Study Root, FIND (`{fetch.STUDY_FIND}`)", "Yes, `mapdr fetch`", NO),
            ("Retrieve", f"Study Root, GET (`{fetch.STUDY_GET}`)", "Yes, `mapdr fetch`", NO),
            ("Retrieve", f"Study Root, MOVE (`{fetch.STUDY_MOVE}`)", "Yes, `mapdr fetch --move`", NO),
            ("Storage Commitment, Modality Worklist, MPPS, Print", "", NO, NO),
        ),
    )
    web = table(
        ("DICOMweb service (PS3.18)", "as user agent", "as origin server"),
        (
            ("Studies: Store (STOW-RS)", YES, YES),
            ("Studies: Search (QIDO-RS)", "Yes, `mapdr fetch`", NO),
            ("Studies: Retrieve (WADO-RS)", "Yes, `mapdr fetch`", NO),
        ),
    )
    media = table(
        ("Media (PS3.10)", "reader", "creator"),
        (
            (
                "DICOM files in a folder",
                "Yes, receiver of type `folder`",
                "Yes, destination of type `folder`",
            ),
            ("DICOMDIR (File-set)", YES, "Yes, `dicomdir = true`"),
            ("zip archives of DICOM files", YES, NO),
        ),
    )
    security = table(
        ("Security (PS3.15)", "supported"),
        (
            ("B.12 BCP 195 TLS Secure Transport Connection Profile", 'Yes, `profile = "bcp195"` (default)'),
            ("B.13 Modified BCP 195 TLS profile", 'Yes, `profile = "bcp195-modified"`'),
            ("A.5 Audit Trail Message Format Profile", "Yes, into files"),
            ("A.6, A.7 Audit Trail Message Transmission", NO),
            ("E.2 Basic Application Level Confidentiality Profile", "Yes, see 10.1"),
            ("User identity negotiation (PS3.7, D.3.3.7)", "No: it is ignored"),
        ),
    )
    return f"""
## 1 Overview

MAPDR is a router. It receives composite objects, keeps them on disk, changes them by rule, and sends them on. It
creates no images of its own but the one of `mapdr doctor peer --test-image`, and shows none.

### 1.1 Network services

{services}
### 1.2 DICOMweb services

{web}
### 1.3 Media services

{media}
### 1.4 Security

{security}"""


def _introduction() -> str:
    identity = table(
        ("", ""),
        (
            ("Application Context Name", f"`{uids.APPLICATION_CONTEXT}`"),
            ("Implementation Class UID", f"`{uids.IMPLEMENTATION_CLASS_UID}`"),
            ("Implementation Version Name", f"`{uids.IMPLEMENTATION_VERSION_NAME}`"),
        ),
    )
    return f"""
## 2 Introduction

**Audience**: who connects a modality, a PACS or a DICOMweb server with MAPDR, and knows DICOM.

**Remarks**: this statement is no proof that two products work together. Try the connection: `mapdr echo NAME`, and
`mapdr doctor peer NAME`, which examines a receiver step by step.

**Abbreviations**: AE application entity, PDU protocol data unit, SCP service class provider, SCU service class user,
SOP service-object pair, UID unique identifier.

**References**: PS3.2 to PS3.8, PS3.10, PS3.15, PS3.18 and PS3.19 of the DICOM standard; BCP 195 (RFC 8996, RFC 9325).

### 2.1 Implementation identifying information

{identity}"""


def _model() -> str:
    return """
## 3 Implementation model

### 3.1 Application data flow

```
 modality ── C-STORE ──▶ Storage SCP ─┐                                   ┌─▶ Storage SCU ── C-STORE ──▶ PACS
 web client ─ STOW-RS ─▶ STOW server ─┼─▶ spool and index ─▶ rules ─▶ queue ─▶ STOW client ── STOW-RS ──▶ server
 folder, CD ── files ──▶ folder reader┘        ▲                          └─▶ folder writer ── files ──▶ folder
 PACS ── C-GET, C-MOVE, WADO-RS ─▶ Query/Retrieve SCU ─┘
```

### 3.2 Functional definition of the application entities

| application entity | configured as | what it does |
|---|---|---|
| Storage SCP | `[receive.NAME]`, type `"dicom"` | listens, answers C-ECHO, stores what C-STORE brings |
| Storage SCU | `[egress.NAME]`, type `"dicom"` | sends what the rules promise to this destination |
| Query/Retrieve SCU | the same table, by `mapdr fetch NAME` | finds studies at a PACS and has them sent here |
| STOW-RS origin server | `[receive.NAME]`, type `"dicomweb"` | stores what POST requests bring |
| DICOMweb user agent | `[egress.NAME]`, type `"dicomweb"` | STOW-RS; with `mapdr fetch` QIDO-RS and WADO-RS |
| File-set reader, creator | tables of type `"folder"` | takes files from a watched folder; writes files into one |

There may be any number of each. AE titles, addresses and ports are those of their tables.

### 3.3 Sequencing

An object is answered Success when it is complete, on disk and flushed (`durability = "power-loss"`), and before it is
sent on. Each destination is served for itself: one that is away holds up no other. What is not delivered stays in a queue
on disk, also over a restart. A receiver's final status is kept for each object and destination.
"""


def _storage_scp() -> str:
    config = DimseReceiveConfig()
    limits = table(
        ("Storage SCP: associations", "default", "configured by"),
        (
            ("Maximum length of a P-DATA-TF that is received", size(config.max_pdu), "`max_pdu`"),
            ("Associations at once", config.max_associations, "`max_associations`"),
            (
                "Associations at once from one address",
                config.max_associations_per_peer,
                "`max_associations_per_peer`",
            ),
            ("Longest A-ASSOCIATE that is read", size(pdu.MAX_ASSOCIATE), ""),
            ("Shortest maximum length of a peer", f"{SHORTEST_PDU} B", ""),
            (
                "Time for the association request (ARTIM), TLS included",
                duration(config.acse_timeout),
                "`acse_timeout`",
            ),
            ("Silence between two messages", duration(config.idle_timeout), "`idle_timeout`"),
            ("Time in which a PDU that has begun must go on", duration(config.pdu_timeout), "`pdu_timeout`"),
            ("Outstanding operations (asynchronous operations window)", "1: not negotiated", ""),
        ),
    )
    rejections = table(
        ("result", "source", "reason", "when"),
        (
            (
                each.result,
                each.source,
                each.reason,
                words.removeprefix("rejected: ").removeprefix("rejected for now: "),
            )
            for each, words in CAUSES.items()
        ),
    )
    contexts = table(
        ("abstract syntax", "transfer syntaxes", "role", "extended negotiation"),
        (
            (f"Verification `{uids.VERIFICATION}`", "any", "SCP", "none"),
            (
                "every storage SOP class ([annex A](#annex-a-storage-sop-classes)), private and unknown ones",
                "any that is proposed ([annex B](#annex-b-transfer-syntaxes)), private ones too",
                "SCP",
                "none",
            ),
        ),
    )
    big_endian = choose((uids.EXPLICIT_VR_BIG_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN))
    assert big_endian == uids.IMPLICIT_VR_LITTLE_ENDIAN
    answers = table(("status", "operation", "meaning"), _answers())
    return f"""
## 4 Storage SCP

### 4.1 Association policies

{limits}
An association is rejected (A-ASSOCIATE-RJ, PS3.8 table 9-21) for these reasons; which AE titles and addresses are let in
is configured (`ae_title`, `called_ae_titles`, `allow`):

{rejections}
### 4.2 Presentation contexts that are accepted

{contexts}
- Of several transfer syntaxes in one context the first is taken, the requestor's preference; Explicit VR Big Endian
  (retired) only if nothing else is offered.
- An abstract syntax that is known as something else than storage is rejected (result 3), so are Storage Commitment and the
  Media Storage Directory.
- **Role selection** (PS3.7, D.3.3.4): answered; the requestor may be SCU, not SCP.
- **SOP class extended and common extended negotiation, user identity, asynchronous operations**: ignored, and not answered.

### 4.3 SOP specific conformance

Storage is Level 2 (Full) of PS3.4, section B.4.1: all elements are kept, private ones too, as the bytes that were
received. C-ECHO is answered 0x0000.

{answers}
A warning status is never answered. An odd length and other oddities of a complete object are no reason to refuse it.
"""


def _answers() -> Iterator[tuple[str, str, str]]:
    others = {dimse_status.SOP_CLASS_NOT_SUPPORTED: "C-STORE, C-FIND, C-GET, C-MOVE"}
    others[dimse_status.UNRECOGNIZED_OPERATION] = "others"
    for code, words in ANSWERS.items():
        yield dimse_status.code(code), others.get(code, "C-STORE"), words


def _storage_scu() -> str:
    config = DimseEgressConfig(ae_title="PACS", host="pacs.example", port=104)
    fallbacks = ", ".join(name_of(uid) for uid in config.syntaxes)
    associations = DimseEgressConfig.model_fields["associations"]
    limits = table(
        ("Storage SCU: associations", "default", "configured by"),
        (
            (
                "Associations at once to one destination",
                f"{config.associations} ({_range(associations)})",
                "`associations`",
            ),
            ("Presentation contexts of an association", f"at most {pdu.MAX_CONTEXTS}", ""),
            (
                "Maximum length of a P-DATA-TF that is received, and of what is sent to a peer without a limit",
                size(Limits().max_pdu),
                "",
            ),
            ("Time for the TCP connection", duration(config.connect_timeout), "`connect_timeout`"),
            (
                "Time for the answer to an association request or release",
                duration(config.acse_timeout),
                "`acse_timeout`",
            ),
            (
                "Time for the answer to a C-STORE",
                f"{duration(config.dimse_timeout)}, and 1 s for each {size(SLOWEST_STORE)} of the object",
                "`dimse_timeout`",
            ),
            ("Time in which a PDU that has begun must go on", duration(config.pdu_timeout), "`pdu_timeout`"),
            ("Outstanding operations (asynchronous operations window)", "1: not negotiated", ""),
        ),
    )
    contexts = table(
        ("abstract syntax", "transfer syntaxes", "role", "extended negotiation"),
        (
            (
                "the SOP class of each object that waits",
                "a context for each: that of the object as the rule leaves it; "
                f"then those of `syntaxes` (default: {fallbacks})",
                "SCU",
                "none",
            ),
            (
                f"Verification `{uids.VERIFICATION}` (by `mapdr echo`, and while a destination is away, with up to "
                f"{destination.PROBED} of the contexts above)",
                "Implicit and Explicit VR Little Endian",
                "SCU",
                "none",
            ),
        ),
    )
    statuses = table(("status", "meaning", "the object"), _received(status.kind, status.meaning, TREATMENT))
    results = table(
        ("result", "meaning", "the object"),
        (
            (
                number,
                words,
                "goes in the next accepted of `syntaxes`, else "
                + ("waits" if number in MAY_PASS else "is parked (`syntax-refused`)"),
            )
            for number, words in REJECTIONS.items()
        ),
    )
    return f"""
## 5 Storage SCU

### 5.1 Association policies

An association is opened when objects wait for the destination, kept for those that follow, and released when none do. Many
objects go over one association.

{limits}
A rejection for good or for now, an abort, a time-out or a broken connection leave the objects in the queue: the
destination is asked again after growing pauses (`retry`).

### 5.2 Presentation contexts that are proposed

{contexts}
Each transfer syntax has a context of its own, so that a receiver may accept several of them. A context that was rejected:

{results}
### 5.3 SOP specific conformance

Priority in C-STORE requests is medium. Status of the response, and what it does:

{statuses}
An object that was answered 0x{dimse_status.DUPLICATE_SOP_INSTANCE:04X} is parked if other bytes were delivered under its UID before. A response
for another SOP instance, SOP class or message is none: the association is aborted.
"""


def _received(
    kind: Callable[[int], Any], meaning: Callable[[int], str], treatment: dict[Any, str]
) -> Iterator[tuple[str, str, str]]:
    """Every status of 16 bits, those in a row that mean the same together; what is undefined is last, once."""
    undefined = None
    first, said = 0, _said(kind, meaning, 0)
    for code in range(1, 0x10001):
        now = _said(kind, meaning, code) if code < 0x10000 else None
        if now == said:
            continue
        last = code - 1
        row = (f"{first:04X}" if first == last else f"{first:04X} to {last:04X}", said[1], treatment[said[0]])
        if "does not define" in said[1]:
            undefined = ("any other", *row[1:])
        else:
            yield row
        first, said = code, now or said
    if undefined:
        yield undefined


def _said(kind: Callable[[int], Any], meaning: Callable[[int], str], code: int) -> tuple[Any, str]:
    return kind(code), meaning(code).rpartition(" (0x")[0]


def _query_scu() -> str:
    others = ", ".join(name_of(uid) for uid in fetch.OTHERS)
    native = ", ".join(name_of(uid) for uid in fetch.NATIVE)
    contexts = table(
        ("abstract syntax", "transfer syntaxes", "role", "extended negotiation"),
        (
            (
                f"Study Root Query/Retrieve Information Model - FIND `{fetch.STUDY_FIND}`",
                native,
                "SCU",
                "none",
            ),
            (f"Study Root Query/Retrieve Information Model - GET `{fetch.STUDY_GET}`", native, "SCU", "none"),
            (
                f"Study Root Query/Retrieve Information Model - MOVE `{fetch.STUDY_MOVE}`",
                native,
                "SCU",
                "none",
            ),
            (
                "with GET: the storage SOP classes of the study",
                f"{native}; each in a context of its own, as far as there is room: {others}",
                "SCP, by role selection",
                "none",
            ),
        ),
    )
    keys = table(
        ("level", "keys"),
        (
            (
                "STUDY",
                "StudyInstanceUID, AccessionNumber, PatientID, StudyDate (range), ModalitiesInStudy, "
                "NumberOfStudyRelatedInstances",
            ),
            ("SERIES", "StudyInstanceUID, SeriesInstanceUID, Modality"),
            ("IMAGE", "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID"),
        ),
    )
    return f"""
## 6 Query/Retrieve SCU

Used by `mapdr fetch NAME` alone, at the peer of a destination of type `"dicom"`, with its address, titles, time-outs and
TLS.

{contexts}
A PACS that does not say the SOP classes of a study is offered {len(fetch.USUAL)} usual ones. C-FIND is hierarchical, without
relational queries; Specific Character Set is sent as `ISO_IR 192` where a key is not ASCII.

{keys}
C-FIND: {" and ".join(dimse_status.code(code) for code in fetch.PENDING)} are pending, 0x0000 ends, any other status is told and ends the command. C-MOVE: 0xA801 is
told as an unknown move destination. Objects that come by C-GET are answered as by the [Storage SCP](#4-storage-scp). By
C-MOVE they come to the first Storage SCP of this node.
"""


def _dicomweb() -> str:
    receiver, sender = DicomwebReceiveConfig(), DicomwebEgressConfig(url="https://pacs.example/dicom-web")
    server = table(
        ("STOW-RS origin server", ""),
        (
            (
                "Resources",
                " and ".join(f"`{root}/studies`, `{root}/studies/{{study}}`" for root in stow.ROOTS),
            ),
            ("Method, media type of the request", '`POST`, `multipart/related; type="application/dicom"`'),
            ("Media types of the answer", "`application/dicom+json` (default), `application/dicom+xml`"),
            ("Transfer syntaxes, SOP classes", "as the Storage SCP"),
            ("Instances in a request", f"at most {parts.MOST_PARTS:,}"),
            (
                "Requests at once; from one address",
                f"{receiver.max_requests} (`max_requests`); "
                f"{receiver.max_requests_per_peer} (`max_requests_per_peer`)",
            ),
            (
                "Time between two pieces of a request; for all of it",
                f"{duration(receiver.idle_timeout)} "
                f"(`idle_timeout`); {duration(receiver.request_timeout)} (`request_timeout`)",
            ),
            ("Authentication", "bearer token, HTTP basic, TLS client certificate"),
            ("Bulk data and metadata requests (`application/dicom+json` bodies)", "not supported: 415"),
        ),
    )
    answers = table(
        ("HTTP status", "when"),
        (
            (200, "all instances are stored"),
            (202, "some are; the others stand in FailedSOPSequence or OtherFailuresSequence"),
            ("400, 408", "nothing is stored; the request is broken, or did not come in time"),
            ("401, 403", "the sender is not let in"),
            ("404, 405, 406, 415", "not a resource, method or media type of STOW-RS"),
            (409, "nothing is stored, for the reasons in the answer"),
            (503, f"no room, or too many requests; Retry-After is {stow.RETRY_AFTER} s"),
        ),
    )
    agent = table(
        ("STOW-RS user agent", "default", "configured by"),
        (
            ("Requests at once", sender.requests, "`requests`"),
            ("Instances in a request", f"at most {sender.images_per_request}", "`images_per_request`"),
            ("Bytes in a request", size(sender.bytes_per_request), "`bytes_per_request`"),
            ("Accept", f"`{ACCEPT}`", ""),
            ("Transfer coding", "Content-Length; never chunked", ""),
            ("HTTP", "1.1; 2 if asked for", "`http2`"),
            (
                "Authentication",
                "none; HTTP basic, bearer token, OAuth 2 client credentials, TLS certificate",
                "`auth`, `tls`",
            ),
            (
                "Time for the connection; for each step",
                f"{duration(sender.connect_timeout)}; {duration(sender.timeout)}",
                "`connect_timeout`, `timeout`",
            ),
        ),
    )
    failures = table(
        ("Failure Reason", "meaning", "the object"),
        _received(reasons.cause, reasons.failure, STOW_TREATMENT),
    )
    return f"""
## 7 DICOMweb

### 7.1 Store: origin server

{server}
{answers}
FailureReason of an instance is the status that C-STORE would have had (section 4.3), or 0x{parts.OTHER_STUDY:04X} for an
instance of another study than the resource names. RetrieveURL is empty: nothing can be retrieved.

### 7.2 Store: user agent

{agent}
With status 2xx, {_numbers(BY_BODY)} the Store Instances Response Module (JSON or XML) says what became of each instance. One that it
does not name is not delivered (`unnamed`). {_numbers(NO_SERVICE)} mean a wrong URL, {_numbers(AWAY)} a server that is busy or away: the
destination waits, as long as Retry-After says, {duration(LONGEST_WAIT)} at most. WarningReason is shown, and the instance delivered.

{failures}
### 7.3 Search and Retrieve: user agent

`mapdr fetch NAME` at a destination of type `"dicomweb"`: `GET /studies` with StudyInstanceUID, AccessionNumber, PatientID,
StudyDate, ModalitiesInStudy and includefield; `GET /studies/{{study}}/instances`; then `GET /studies/{{study}}` with
`Accept: multipart/related; type="application/dicom"; transfer-syntax=*`, so that instances come as the server has them.
"""


def _numbers(found: Iterable[int]) -> str:
    *first, last = sorted(found)
    return f"{', '.join(map(str, first))} and {last}" if first else str(last)


def _media() -> str:
    return f"""
## 8 Media

**Reader** (`[receive.NAME]`, type `"folder"`): DICOM files (PS3.10) with or without preamble and File Meta Information, of
every SOP class and transfer syntax; zip archives of them; a `{dicomdir.NAME}`, whose files are taken. Files are known by their content.

**Creator** (`[egress.NAME]`, type `"folder"`, and `mapdr export`): one DICOM file for each object, with preamble and File Meta Information
(Implementation Class UID and Version Name as in section 2.1). With `dicomdir = true` each study's folder is a File-set: a
`{dicomdir.NAME}` with PATIENT, STUDY, SERIES and lower records, and File IDs of up to 8 characters. It is written when no object of the study
has come for {duration(dicomdir.QUIET)}. It claims no application profile of PS3.11: the SOP classes and transfer syntaxes are those of the
objects.
"""


def _configuration() -> str:
    receiver = DimseReceiveConfig()
    node = NodeConfig()
    rows = (
        ("Storage SCP: AE title", f'`"{receiver.ae_title}"`', "`[receive.NAME] ae_title`"),
        ("Storage SCP: TCP port", receiver.port, "`[receive.NAME] port`"),
        ("Storage SCP: further AE titles that are taken", "none", "`[receive.NAME] called_ae_titles`"),
        ("Storage SCP: peers that are let in", "all", "`[receive.NAME] allow`"),
        ("Storage SCU: called AE title, host, port", "none", "`[egress.NAME] ae_title`, `host`, `port`"),
        (
            "Storage SCU: calling AE title",
            f'`"{DimseEgressConfig.model_fields["calling_ae"].default}"`',
            "`[egress.NAME] calling_ae`",
        ),
        ("How long a delivered object is kept", duration(node.retention or 0), "`[node] retention`"),
        ("What Success promises", f'`"{node.durability}"`', "`[node] durability`"),
    )
    return f"""
## 9 Configuration parameters

All is configured in one file; [reference.md](reference.md) lists every key with its default and range.

{table(("parameter", "default", "key"), rows)}
IPv4 and IPv6 addresses and host names are taken; names are resolved by the operating system. There is no LDAP.
"""


def _coercion() -> str:
    targets = ", ".join(f'`"{each}"`' for each in METHODS)
    options = table(
        ("option", "code", "meaning"),
        [(f"`{option}`", value, name) for option, (value, name) in CODES.items()],
    )
    return f"""
## 10 Coercion of attributes

**On reception nothing is changed**: the data set is kept as the bytes that came, and rules without changes send these bytes.

**On sending**, only what the rule of the configuration says (docs/configuration.md, `deidentify`, `tags`, `blank` and `compress`):

- `deidentify`: see 10.1.
- `tags`: elements that are set, copied, prefixed, suffixed, emptied or removed. Text is written in the object's own character set; where
  that cannot express it, the data set moves to `ISO_IR 192`. SOP Class UID, SOP Instance UID and Specific Character Set are never removed.
- `compress` ({targets}): transfer syntax and Pixel Data. Where pixels change (lossy), the object gets a new SOP Instance UID, a
  Lossy Image Compression of `01` with ratio and method, an Image Type that begins with `DERIVED`, Derivation Description and Derivation Code
  Sequence (113040, DCM), and a Source Image Sequence that names the original (121320, DCM). Study and Series Instance UID stay.
- `blank`: Pixel Data, in the regions that the rule names. The object gets a new SOP Instance UID, an Image Type that begins with `DERIVED` (but with
  functional groups), Derivation Description, and a Source Image Sequence that names the original (121322, DCM); overlays (60xx), Icon Image
  Sequence, other sequences with Pixel Data, private groups 7FE1 and on, and Smallest and Largest Image Pixel Value are removed. Burned In Annotation becomes `NO`
  where the rule says that no text is left. What was compressed with loss is written without, with Lossy Image Compression `01`.
- A receiver that accepts only other transfer syntaxes (`syntaxes`) gets the object re-encoded in one of them, without loss.
- A data set of odd length gets the bytes that PS3.5 asks for (`odd_lengths`).
- `mapdr reroute --set` sets elements of chosen objects, and keeps who did it, old and new value.

### 10.1 De-identification

`deidentify` applies the Basic Application Level Confidentiality Profile of PS3.15, annex E, edition {EDITION}, as a de-identifier, to every
storage SOP class but encapsulated documents and recordings of sound, with these options (CID 7050):

{options}
Modified dates (113107) are moved into the past by a number of days that is the patient's own, or reduced to the year (`dates = "year"`, PS3.15 section E.3.6). With `clean-descriptors`
dates in text that is kept are modified too. Attributes of type D and Z get dummies, but for PatientID and PatientName, which get pseudonyms. UIDs become those that a keyed hash makes, under 2.25. Free text is
removed or replaced, not cleaned (C). Private elements are removed; with `retain-safe-private` those are kept that the Private Data Element Characteristics Sequence
calls safe, and a list of safe ones. Overlays and curves are removed. Objects whose header says that pixels may show who the patient is are not sent. The Encrypted
Attributes Sequence is not made: nothing is re-identified from the object itself.
"""


def _character_sets() -> str:
    known = [f"`{term}`" for term in TERMS if charset.is_known((term,))]
    return f"""
## 11 Character sets

Objects are relayed in any character set, as bytes. Rules, listings and webhooks read, and edits write, text in these
(PS3.3, C.12.1.1.2), with code extensions:

{", ".join(known)}

An object without Specific Character Set has the default repertoire (`ISO_IR 6`). Where a receiver is told
to assume another one (`assume_character_set`), text is read and edited in that, and declared with the first text beyond ASCII that an edit
writes. File names and the page are in UTF-8.
"""


def _security() -> str:
    profiles = table(
        ("`profile`", "cipher suites of TLS 1.2"),
        ((f'`"{name}"`', ", ".join(f"`{suite}`" for suite in suites)) for name, suites in SUITES.items()),
    )
    versions = get_args(ServerTls.model_fields["min_version"].annotation)
    events = table(
        ("EventID", "meaning", "when"),
        (
            (
                f"{audit.ACCESSED[0]}, {audit.ACCESSED[2]}",
                audit.ACCESSED[1],
                "a person acts on deliveries or images",
            ),
            (f"{audit.QUERY[0]}, {audit.QUERY[2]}", audit.QUERY[1], "identifying values were shown"),
            (
                f"{audit.AUTHENTICATION[0]}, {audit.AUTHENTICATION[2]}",
                audit.AUTHENTICATION[1],
                f"{audit.LOGIN[1]}, {audit.LOGOUT[1]}, at the page",
            ),
        ),
    )
    return f"""
## 12 Security

### 12.1 TLS

Each receiver and destination may speak TLS, DIMSE and HTTP alike: versions {" and ".join(versions)} (`min_version`), and no older one.

{profiles}
TLS 1.3 has OpenSSL's three suites. OpenSSL's security level is `{SECURITY.rpartition("=")[2]}`: RSA keys of 2048 bits and curves of 224 bits at least, no
SHA-1 in signatures. No compression, no renegotiation. Certificates and keys are PEM files, the key without a passphrase. A receiver with
`ca` asks for a certificate and lets in nobody without one; a destination checks the chain and the name (`name`, or `host`), by the
system's authorities or those of `ca`. Changed files are taken into use without a restart. There are no certificate revocation lists.

### 12.2 Association level

AE titles and addresses may be restricted (`allow`). User identity negotiation is not supported.

### 12.3 Audit

Audit messages (PS3.15, A.5) are written as XML, one a line, into `{audit.FOLDER}/YYYY-MM-DD.log` of the data folder. They are not
sent to an audit repository.

{events}
### 12.4 Personal data

The log, metrics and error messages hold no identifying value. The spool holds objects as received, unencrypted, in a folder of the
node's user.
"""


def _storage_classes() -> list[tuple[str, str, bool]]:
    """UID, name, and whether it is retired, of each SOP class of the dictionary that is taken for storage."""
    from pydicom.uid import UID, UID_dictionary

    found = [UID(uid) for uid in UID_dictionary if is_storage(uid)]
    return sorted((str(uid), uid.name.removesuffix(" (Retired)"), uid.is_retired) for uid in found)


def _sop_classes() -> str:
    classes = _storage_classes()
    current = table(
        ("SOP class", "UID"), ((name, f"`{uid}`") for uid, name, retired in classes if not retired)
    )
    retired = table(
        ("retired SOP class", "UID"), ((name, f"`{uid}`") for uid, name, retired in classes if retired)
    )
    return f"""
## Annex A: Storage SOP classes

All of them are received (SCP) and sent (SCU). A SOP class that is not listed is taken too if the data dictionary does not know it as
something else: private ones, and those of later editions of the standard.

{current}
{retired}"""


def _transfer_syntaxes() -> str:
    codecs = Codecs(Registry(BUILTIN), _settings()).rows
    rows = []
    for each in TRANSFER_SYNTAXES:
        row = codecs.get(each.uid)
        native = each.pixels == "native"
        reads = native or (row is not None and row.decoder is not None)
        writes = native or (row is not None and not row.no_encode)
        rows.append((each.name, f"`{each.uid}`", YES, YES if reads else NO, YES if writes else NO))
    return f"""
## Annex B: Transfer syntaxes

**Relayed**: received, kept and sent as it came. **Decoded**: its pixels can be re-encoded for a receiver, or compressed. **Encoded**:
objects can be made in it. What is not listed (video, private syntaxes) is relayed, too. What this installation can do says
`mapdr doctor`.

{table(("transfer syntax", "UID", "relayed", "decoded", "encoded"), rows)}"""


def _settings() -> Settings:
    return Settings("conformance", "conformance", Path(), bytes(32), Watch(), workers=1)


def _range(field: Any) -> str:
    bounds = {type(each).__name__: each for each in field.metadata}
    return f"{bounds['Ge'].ge} to {bounds['Le'].le}"
