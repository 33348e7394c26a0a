"""What lies between this node and a DICOM receiver: associations that are asked for, and what answers cost.

What is proposed is what images would be sent with, each SOP class and transfer syntax in a context of its
own, as `destination.propose` does it: so what is accepted here is accepted then. The window of asynchronous
operations is asked for on an association of its own, and last: images are not sent so, and a receiver that
stumbles over it does no harm to what was found before.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from mapdr.egress.reach import Address, certificate_shown, reach, secure, speak_tls, tls_cure
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.examine import Examination, Level, PeerFinding
from mapdr.kernel.item import Need
from mapdr.kernel.status import SUCCESS
from mapdr.kernel.tls_words import TlsCause
from mapdr.kernel.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from mapdr.net.tls import ClientTls
from mapdr.wire import pdu, status
from mapdr.wire.contexts import MAY_PASS, REJECTIONS, TRANSFER_SYNTAXES_NOT_SUPPORTED
from mapdr.wire.link import SHORTEST_PDU, Limits
from mapdr.wire.survey import CHOOSES_ACKNOWLEDGEMENT, Answer, Survey, negotiated
from mapdr.wire.tls import TlsFailure
from mapdr.wire.words import abortion, rejection

AT_ONCE = pdu.MAX_CONTEXTS - 1
"""Storage contexts of one association: one more is Verification."""

ECHOES = 12
"""C-ECHOs that each way of writing is measured with; the first third is left out, for a TCP connection
acknowledges its first segments at once whatever it does later."""

STALL = 20.0
"""Milliseconds between two ways of writing that no network makes, but a delayed acknowledgement does: systems
delay them by 40 (Linux) to 200 (Windows)."""

SMALL_PDU, USUAL_PDU = 4096, 16384
IMAGE = 524_288
"""Bytes of the CT image that the cost of a PDU length is told of: 512 x 512 pixels of 16 bits."""

HELLO = 3.0
"""Seconds for a receiver that has not answered to show that it speaks TLS."""

_WINDOW = (8, 1)
_WITHOUT = "leave out tls"
_BACK = "a receiver that was down is asked so whether it is back"

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Called:
    """A receiver as it is configured. `syntaxes` are the fallbacks, the best first."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    tls: ClientTls | None
    syntaxes: Sequence[str]
    limits: Limits


def examine(called: Called, context: ssl.SSLContext | None, asked: Examination) -> Iterator[PeerFinding]:
    """Every step up to the test image; `context` is that of `called.tls`."""
    address = yield from reach(called.host, called.port, asked.seconds)
    if address is None:
        return
    if called.tls is not None:
        agreed = yield from speak_tls(address, called.host, called.tls, asked.seconds, without=_WITHOUT)
        if agreed is not True:
            if isinstance(agreed, TlsFailure) and agreed.cause is not TlsCause.NOT_TLS:
                yield from _plain_after_all(called, address, asked.seconds)
            return
    else:
        yield PeerFinding("TLS", Level.INFO, "not configured: who sits on the way can read the images")
    yield from _associations(_Line(called, address, context, asked.seconds), asked)


@dataclass(frozen=True, slots=True)
class _Line:
    """The way to a receiver that was reached."""

    called: Called
    address: Address
    context: ssl.SSLContext | None
    seconds: float

    def open(self) -> Survey:
        """A connection on which an association can be asked for. Raises OSError."""
        started = time.perf_counter()
        sock = self.address.connect(self.seconds)
        took = (time.perf_counter() - started) * 1000
        if self.context is None or self.called.tls is None:
            return Survey(sock, self.seconds, took)
        expected = self.called.tls.name or self.called.host
        secured = secure(sock, self.context, expected, self.seconds)
        return Survey(secured, self.seconds, took)

    def request(self, pairs: Sequence[Pair], window: tuple[int, int] | None = None) -> pdu.AssociateRequest:
        """One that proposes Verification and each of `pairs` alone in a context."""
        contexts = [pdu.Context(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))]
        contexts += [
            pdu.Context(2 * place + 3, sop_class, (syntax,))
            for place, (sop_class, syntax) in enumerate(pairs)
        ]
        called = self.called
        return pdu.AssociateRequest(
            called.calling_ae, called.called_ae, tuple(contexts), called.limits.max_pdu, window=window
        )


def _associations(line: _Line, asked: Examination) -> Iterator[PeerFinding]:
    pairs = _pairs(asked.needs, line.called.syntaxes)
    said: dict[Pair, int | None] = {}
    parts = [pairs[at : at + AT_ONCE] for at in range(0, len(pairs), AT_ONCE)] or [[]]
    for number, part in enumerate(parts):
        request = line.request(part)
        with _asked(line, request) as (survey, answer):
            if survey is None or not isinstance(answer.said, pdu.AssociateAccept):
                yield from _no_association(line, answer, number)
                return
            said |= negotiated(request, answer.said)
            if number:
                continue
            yield _associated(answer, line.called)
            yield _length(answer.said.max_length, line.called.limits)
            if 0 < answer.said.max_length < SHORTEST_PDU:
                return
            yield from _echoes(survey, line)
    said = {pair: result for pair, result in said.items() if pair[0] != VERIFICATION}
    yield from _contexts(said, len(parts), asked, line.called.syntaxes)
    yield from _window(line)


def _pairs(needs: Sequence[Need], fallbacks: Sequence[str]) -> list[Pair]:
    """Each SOP class in the transfer syntax that is needed, and in every fallback."""
    found: dict[Pair, None] = {}
    for need in needs:
        for syntax in (need.transfer_syntax_uid, *fallbacks):
            found[need.sop_class_uid, syntax] = None
    return list(found)


@contextmanager
def _asked(line: _Line, request: pdu.AssociateRequest) -> Iterator[tuple[Survey | None, Answer]]:
    """An association that was asked for (None: no connection) and its answer; it ends with the block."""
    try:
        survey = line.open()
    except OSError as error:
        words = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        yield None, Answer(trouble=f"no second connection: {words}")
        return
    try:
        yield survey, survey.ask(request)
    finally:
        survey.end()


# --- no association -----------------------------------------------------------------------------------------


def _no_association(line: _Line, answer: Answer, number: int) -> Iterator[PeerFinding]:
    part, said, called = "association", answer.said, line.called
    if isinstance(said, pdu.AssociateReject):
        yield PeerFinding(part, Level.BAD, rejection(said), _reject_cure(said, called), answer.milliseconds)
    elif isinstance(said, pdu.Abort):
        cure = "read the receiver's log: it says what it could not make of the request"
        yield PeerFinding(part, Level.BAD, abortion(said), cure, answer.milliseconds)
    elif answer.failure is not None:
        yield PeerFinding(part, Level.BAD, answer.trouble, tls_cure(answer.failure, _WITHOUT))
    elif number:
        cure = "the receiver may take few associations at a time; set associations = 1 and see"
        yield PeerFinding(part, Level.BAD, f"another association fails: {answer.trouble}", cure)
    elif answer.trouble == pdu.SPEAKS_TLS or (
        (answer.closed or answer.silent)
        and line.context is None
        and certificate_shown(line.address, called.host, None, min(HELLO, line.seconds)) is not None
    ):
        text = "the receiver speaks TLS, and this destination is set to plain TCP"
        yield PeerFinding(part, Level.BAD, text, "set tls = true, or { ca = ... } for a CA of its own")
    elif answer.silent:
        cure = "see whether a DICOM receiver listens at this port, and is not hung or full"
        yield PeerFinding(part, Level.BAD, f"connected, but {answer.trouble} to the request", cure)
    elif answer.closed and line.context is not None:
        cure = "set tls.cert and tls.key if it asks for a certificate; its log says why it closes"
        yield PeerFinding(part, Level.BAD, answer.trouble, cure)
    elif answer.closed:
        cure = "have this machine's address entered at the receiver; its log says why it closes"
        yield PeerFinding(part, Level.BAD, answer.trouble, cure)
    else:
        cure = "correct host and port: a DICOM receiver has to listen there"
        yield PeerFinding(part, Level.BAD, answer.trouble or "the answer is no answer to it", cure)


def _reject_cure(reject: pdu.AssociateReject, called: Called) -> str:
    """What to do about each rejection of PS3.8, table 9-21."""
    match reject.source, reject.reason:
        case 1, 2:
            return "correct host and port: what listens there has another application than DICOM's"
        case 1, 3:
            return (
                f'have the AE title "{called.calling_ae}" entered at the receiver, with this address; '
                "or set calling_ae to a title that it knows"
            )
        case 1, 7:
            return (
                f'set ae_title to the receiver\'s own ("{called.called_ae}" is not it; case and spaces count)'
            )
        case 2, 2:
            return "update the receiver: it does not speak version 1 of the protocol, the only one there is"
        case 3, 1:
            return "wait, and try again: it is busy; images wait meanwhile"
        case 3, 2:
            return "set associations lower, or have the receiver's limit raised; others may hold them"
        case _:
            return (
                f'compare both AE titles ("{called.calling_ae}" calls "{called.called_ae}") and this '
                "machine's address with what the receiver allows; its log has the reason"
            )


def _plain_after_all(called: Called, address: Address, seconds: float) -> Iterator[PeerFinding]:
    """Behind a failed handshake: whether the receiver answers without TLS."""
    line = _Line(called, address, None, seconds)
    with _asked(line, line.request(())) as (_, answer):
        spoken = answer.said is not None
    if spoken:
        text = "the receiver answers without TLS, and this destination is set to TLS"
        yield PeerFinding("association", Level.BAD, text, "leave out tls, or set up TLS at the receiver")


# --- the answer ---------------------------------------------------------------------------------------------


def _associated(answer: Answer, called: Called) -> PeerFinding:
    software = answer.software or answer.software_uid
    by = f" by {software}" if software else ""
    text = f'accepted{by}: "{called.calling_ae}" may call "{called.called_ae}"'
    return PeerFinding("association", Level.GOOD, text, "", answer.milliseconds)


def _length(length: int, limits: Limits) -> PeerFinding:
    """What the receiver takes in one P-DATA (PS3.8, annex D.1), and what that costs."""
    part = "PDU length"
    if not length:
        return PeerFinding(
            part, Level.GOOD, f"without limit; MAPDR sends up to {limits.max_pdu:,} bytes at a time"
        )
    cure = f"set the receiver's maximum PDU length to {USUAL_PDU} or more"
    if length < SHORTEST_PDU:
        return PeerFinding(
            part, Level.BAD, f"{length} bytes: too few for a message, so nothing can be sent", cure
        )
    pieces = -(-IMAGE // (min(length, limits.max_pdu) - 6))
    text = f"{length:,} bytes: a CT image of 524 kB goes in {pieces:,} pieces"
    if length < SMALL_PDU:
        text += f", {12 * pieces / IMAGE:.1%} more bytes and as many more steps on both sides"
        return PeerFinding(part, Level.WARN, text, cure)
    return PeerFinding(part, Level.GOOD if length >= USUAL_PDU else Level.INFO, text)


def _contexts(
    said: Mapping[Pair, int | None], associations: int, asked: Examination, fallbacks: Sequence[str]
) -> Iterator[PeerFinding]:
    part = "contexts"
    if not said:
        return
    accepted = sum(result == 0 for result in said.values())
    origin = "a usual list, as nothing was sent there yet" if asked.assumed else "what goes there"
    text = f"{accepted} of {len(said)} accepted ({origin})"
    if associations > 1:
        text += f", asked for on {associations} associations, as one has 128 at most"
    if not accepted:
        cure = "have the receiver take storage (C-STORE) from this AE title: it refuses every SOP class"
        yield PeerFinding(part, Level.BAD, text, cure)
    else:
        yield PeerFinding(part, Level.GOOD if accepted == len(said) else Level.INFO, text)
    groups: dict[_Alike, list[str]] = {}
    for sop_class in dict.fromkeys(pair[0] for pair in said):
        results = tuple((syntax, result) for (uid, syntax), result in said.items() if uid == sop_class)
        wanted = tuple(need.transfer_syntax_uid for need in asked.needs if need.sop_class_uid == sop_class)
        groups.setdefault(_Alike(results, wanted), []).append(sop_class)
    for alike, classes in groups.items():
        names = ", ".join(map(_short, classes))
        if asked.assumed and len(groups) == 1:
            names = f"all {len(classes)} SOP classes"
        level = Level.WARN if asked.assumed and accepted else Level.BAD
        yield alike.finding(names, fallbacks, level)


@dataclass(frozen=True, slots=True)
class _Alike:
    """What was answered for a SOP class: each transfer syntax's result; `wanted` are those of its images."""

    results: tuple[tuple[str, int | None], ...]
    wanted: tuple[str, ...]

    def finding(self, names: str, fallbacks: Sequence[str], worst: Level) -> PeerFinding:
        """The finding for the SOP classes `names`; `worst` is its level where images have no way there."""
        part = "contexts"
        takes = {syntax for syntax, result in self.results if result == 0}
        lost = {syntax: result for syntax, result in self.results if syntax in self.wanted and result != 0}
        instead = next((syntax for syntax in fallbacks if syntax in takes), "")
        accepted = ", ".join(_name(syntax) for syntax, result in self.results if result == 0)
        refused = ", ".join(map(_name, lost))
        if not lost:
            return PeerFinding(part, Level.GOOD, f"accepted in {accepted}: {names}")
        if instead:
            text = f"accepted in {accepted}; not in {refused}, so that {_name(instead)} is sent: {names}"
            return PeerFinding(part, Level.INFO, text)
        if takes:
            text = f"accepted in {accepted}; not in {refused}, nor in one of syntaxes in its place: {names}"
            return PeerFinding(part, worst, text, f"add a syntax that is accepted to syntaxes: {accepted}")
        results = set(lost.values())
        words = sorted({REJECTIONS.get(each or 0, "no usable answer") for each in results})
        return PeerFinding(part, worst, f"refused, {'; '.join(words)}: {names}", _refusal_cure(results))


def _refusal_cure(results: set[int | None]) -> str:
    if results <= MAY_PASS:
        return "the receiver may take it another time: try again, and read its log; images wait meanwhile"
    if TRANSFER_SYNTAXES_NOT_SUPPORTED in results:
        return "set syntaxes to one that the receiver supports: its conformance statement lists them"
    return "have the SOP class enabled at the receiver, or keep such images from it by a rule"


def _short(uid: str) -> str:
    return _name(uid).replace(" Image Storage", "").removesuffix(" Storage")


def _name(uid: str) -> str:
    from pydicom.uid import UID

    return str(UID(uid).name)


# --- time ---------------------------------------------------------------------------------------------------


def _echoes(survey: Survey, line: _Line) -> Iterator[PeerFinding]:
    part = "C-ECHO"
    if not survey.echoes:
        text = "Verification is not accepted, so nothing was measured; images do not need it"
        yield PeerFinding(part, Level.INFO, text)
        return
    ends = time.monotonic() + line.seconds
    try:
        plain, answered = _measure(survey, ends)
        if answered != SUCCESS:
            text = f"answered: {status.meaning(answered)}; {_BACK}"
            yield PeerFinding(part, Level.WARN, text, "read the receiver's log", plain)
            return
        late = _measure(survey, ends, quick=False)[0] if CHOOSES_ACKNOWLEDGEMENT else plain
        pieces = _measure(survey, ends, pieces=True)[0]
    except (OSError, EOFError, RemoteProtocolError) as error:
        words = "no answer in time" if isinstance(error, TimeoutError) else str(error) or "the peer hung up"
        cure = "read the receiver's log: it hangs, or images may end alike"
        yield PeerFinding(part, Level.BAD, f"accepted, and not answered: {words}; {_BACK}", cure)
        return
    way = min(survey.connected, line.address.milliseconds)
    slow = plain - way > STALL
    text = f"answered in {_ms(plain)} (median; a TCP connection took {_ms(way)})"
    cure = (
        "each image waits that long at least: switch Nagle's algorithm off at the receiver "
        "(DCMTK: TCP_NODELAY=1 in its environment), or look why it is slow"
    )
    yield PeerFinding(part, Level.WARN if slow else Level.GOOD, text, cure if slow else "", plain)
    yield from _stalls(plain, late, pieces)


def _stalls(plain: float, late: float, pieces: float) -> Iterator[PeerFinding]:
    """The stall of Nagle's algorithm (RFC 896) against delayed acknowledgements (RFC 1122, 4.2.3.2)."""
    part = "stall"
    if late - plain > STALL:
        text = (
            f"the receiver writes an answer in pieces, and waits {late - plain:.0f} ms for the "
            "acknowledgement of the first; this system acknowledges at once, so images do not wait, "
            "senders on other systems do"
        )
        cure = "switch Nagle's algorithm off at the receiver (DCMTK: TCP_NODELAY=1 in its environment)"
        yield PeerFinding(part, Level.INFO, text, cure, late - plain)
    if pieces - plain > STALL:
        text = (
            f"the receiver acknowledges {pieces - plain:.0f} ms late: who writes in small pieces waits "
            "so long for each image; MAPDR writes a message at once and does not"
        )
        yield PeerFinding(part, Level.INFO, text, "", pieces - plain)
    if late - plain <= STALL and pieces - plain <= STALL:
        measured = "written at once, in two small pieces" + (
            ", and acknowledged late" if CHOOSES_ACKNOWLEDGEMENT else ""
        )
        text = f"none seen with C-ECHO {measured}; a proxy or VPN on the way can hide one"
        yield PeerFinding(part, Level.GOOD, text)


def _measure(survey: Survey, ends: float, *, pieces: bool = False, quick: bool = True) -> tuple[float, int]:
    """The median of what ECHOES take, and the last status. Raises as `Survey.echo`."""
    taken: list[float] = []
    answered = SUCCESS
    while len(taken) < ECHOES and (len(taken) < 2 or time.monotonic() < ends):
        milliseconds, answered = survey.echo(pieces=pieces, quick=quick)
        taken.append(milliseconds)
        if answered != SUCCESS:
            break
    return median(taken[len(taken) // 3 :]), answered


def _ms(milliseconds: float) -> str:
    if milliseconds < 0.1:
        return "under 0.1 ms"
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def _window(line: _Line) -> Iterator[PeerFinding]:
    """How many operations at a time the receiver takes. MAPDR sends one after another on an association."""
    part = "asynchronous"
    with _asked(line, line.request((), _WINDOW)) as (_, answer):
        pass
    if not isinstance(answer.said, pdu.AssociateAccept):
        text = (
            "the receiver does not take an association that proposes a window of operations; MAPDR never does"
        )
        yield PeerFinding(part, Level.INFO, text)
        return
    invoked = 1 if answer.window is None else answer.window[0]
    if invoked == 1:
        text = "one operation at a time on an association, which is what MAPDR does"
    else:
        many = (
            "any number of"
            if not invoked
            else f"{invoked} or more"
            if invoked == _WINDOW[0]
            else str(invoked)
        )
        text = f"{many} operations at a time; MAPDR sends one after another, on several associations"
    yield PeerFinding(part, Level.INFO, text)
