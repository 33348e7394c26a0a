"""Every message that a wrong configuration gets, pinned: file, line, path, what, cure."""
# ruff: noqa: E501  the messages are as long as they are

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import field_validator

from mapdr.config.read import read_text
from mapdr.config.validate import validate
from mapdr.kernel.finding import Finding
from mapdr.kernel.stage import StageConfig
from mapdr.node.plan import make_plan

from .fakes import fake_registry

BROKEN = {("receive", "broken"): "mapdr_no_such_module", ("transform", "broken"): "mapdr_no_such_module"}

CASES = {
    "no equals sign": (
        """\
[node]
name
""",
        """\
mapdr.toml:2: the line ends too early; write key = value, or [table]
""",
    ),
    "open string": (
        """\
[node]
name = "x
""",
        """\
mapdr.toml:2: a text is not closed before the end of the line; add the missing quote
""",
    ),
    "open list": (
        """\
[node]

name = ["a",
""",
        """\
mapdr.toml:3: the [ of this line is not closed before the end of the file; add ]
""",
    ),
    "key without value": (
        """\
[node]
name =
""",
        """\
mapdr.toml:2: the line ends too early; write key = value, or [table]
""",
    ),
    "wrong number": (
        """\
[node]
workers = 01
""",
        """\
mapdr.toml:2: invalid number; correct the TOML there
""",
    ),
    "spaces in a key": (
        """\
[node]
my name = 1
""",
        """\
mapdr.toml:2: invalid key "my name"; correct the TOML there
""",
    ),
    "control character": (
        """\
[node]
name = "a\x01b"
""",
        """\
mapdr.toml:2: control characters (codes less than 0x1f and 0x7f) are not allowed in strings, use \\u0001 instead; correct the TOML there
""",
    ),
    "key twice": (
        """\
[node]
name = "a"
workers = 1
name = "b"
""",
        """\
mapdr.toml:4: "name" is there twice; keep one of them
""",
    ),
    "table twice": (
        """\
[receive.a]
port = 1
[node]
[receive.a]
""",
        """\
mapdr.toml:4: "a" is there twice; keep one of them
""",
    ),
    "bare word": (
        """\
[node]
name = clinic
""",
        """\
mapdr.toml:2: 'c' is not expected here; put texts in quotes, check = , [ ] and { }
""",
    ),
    "unknown table": (
        """\
[nod]
name = "x"
[[rules]]
name = "y"
[alpha]
""",
        """\
mapdr.toml:1 nod: unknown key; did you mean "node"?
mapdr.toml:3 rules: unknown key; did you mean "rule"?
mapdr.toml:5 alpha: unknown key; known: egress, node, receive, rule, web, webhook
""",
    ),
    "node not a table": (
        """\
node = 1
receive = 2
rule = 3
webhook = "x"
""",
        """\
mapdr.toml:1 node: is not a table; write { key = value }
mapdr.toml:2 receive: is not a table; write [receive.NAME]
mapdr.toml:3 rule: is not a list of rules; write [[rule]], with two brackets, before each rule
mapdr.toml:4 webhook: is not a table; write [webhook.NAME]
""",
    ),
    "unknown keys of the node": (
        """\
[node]
nmae = "x"
zzz = 1
""",
        """\
mapdr.toml:2 node.nmae: unknown key; did you mean "name"?
mapdr.toml:3 node.zzz: unknown key; known: data, database, durability, journal, low_free, memory, min_free, name, repeats, retention, study_quiet, unrouted_retention, ...
""",
    ),
    "wrong values of the node": (
        """\
[node]
name = "a b/c"
data = 7
database = "mysql://x"
durability = "maybe"
retention = "7"
study_quiet = 30
min_free = "10 gigs"
workers = 0
repeats = true
""",
        """\
mapdr.toml:2 node.name: is not a name; use up to 64 letters, digits, -, _ and ., e.g. clinic-north
mapdr.toml:3 node.data: is not a path; write it in quotes
mapdr.toml:4 node.database: is not a database; write "sqlite" or "postgresql+psycopg://..."
mapdr.toml:5 node.durability: is not one of the choices; write 'power-loss' or 'process-crash'
mapdr.toml:6 node.retention: has no unit; write "30 s", "5 min", "2 h" or "7 days"
mapdr.toml:7 node.study_quiet: has no unit; write "30 s", "5 min", "2 h" or "7 days"
mapdr.toml:8 node.min_free: has an unknown unit "gigs"; write "512 kB", "10 GB" or "2 GiB"
mapdr.toml:9 node.workers: is too small; the limit is 1
mapdr.toml:10 node.repeats: is not one of the choices; write 'forward' or 'absorb'
""",
    ),
    "a reserve that is none": (
        """\
[node]
min_free = "999 kB"
""",
        """\
mapdr.toml:2 node.min_free: is too little to write the index in on a full disk; write at least "1 MB", better "1 GB"
""",
    ),
    "less low than reserve": (
        """\
[node]
low_free = "1 MB"
min_free = "2 MB"
""",
        """\
mapdr.toml:2 node.low_free: is less than min_free, below which nothing is taken; name more
""",
    ),
    "retention too short": (
        """\
[node]
retention = "1 s"
""",
        """\
mapdr.toml:2 node.retention: is less than a minute; write "7 days" or "forever"
""",
    ),
    "whole numbers": (
        """\
[node]
workers = "two"
[receive.a]
type = "dicom"
port = 1.5
[receive.b]
type="dicom"
port = 70000
[receive.c]
type="dicom"
port=[]
""",
        """\
mapdr.toml:2 node.workers: is not a whole number; write digits without quotes
mapdr.toml:5 receive.a.port: is not a whole number; leave out the fraction
mapdr.toml:8 receive.b.port: is too large; the limit is 65535
mapdr.toml:11 receive.c.port: is not a whole number; write it without quotes
""",
    ),
    "stage without type": (
        """\
[receive.a]
port = 104
[egress.b]
type = 7
[egress.c]
type = "dicm"
[egress.d]
type = "zzzzzz"
""",
        """\
mapdr.toml:1 receive.a.type: is missing; add type = ...; known: broken, dicom
mapdr.toml:4 egress.b.type: is not a text; write it in quotes
mapdr.toml:6 egress.c.type: there is no egress "dicm"; did you mean "dicom"?
mapdr.toml:8 egress.d.type: there is no egress "zzzzzz"; known: dicom
""",
    ),
    "stage not a table": (
        """\
receive.a = 1
""",
        """\
mapdr.toml:1 receive.a: is not a table; write [receive.NAME]
""",
    ),
    "stage with an odd name": (
        """\
[egress."a b"]
type = "dicom"
ae_title = "X"
host = "h"
port = 104
""",
        """\
mapdr.toml:1 egress."a b": is not a name; use up to 64 letters, digits, -, _ and ., e.g. clinic-north
""",
    ),
    "unknown key of a stage, and the missing one": (
        """\
[egress.pacs]
type = "dicom"
ae_title = "X"
host = "h"
prot = 104
""",
        """\
mapdr.toml:1 egress.pacs.port: is missing; add port = ...
mapdr.toml:5 egress.pacs.prot: unknown key; did you mean "port"?
""",
    ),
    "unknown key in a nested table": (
        """\
[egress.pacs]
type = "dicom"
ae_title = "X"
host = "h"
port = 104
[egress.pacs.tls]
cret = "x"
key = "y"
""",
        """\
mapdr.toml:6 egress.pacs.tls.cert: is missing; add cert = ...
mapdr.toml:7 egress.pacs.tls.cret: unknown key; did you mean "cert"?
""",
    ),
    "faults in a list of tables": (
        """\
[receive.a]
type = "dicom"
port = 104
allow = [
  { ae_title = "X", host = "h" },
  { ae_tite = "X", host = 7 },
]
""",
        """\
mapdr.toml:6 receive.a.allow[1].host: is not a text; write it in quotes
mapdr.toml:6 receive.a.allow[1].ae_tite: unknown key; did you mean "ae_title"?
""",
    ),
    "list instead of text": (
        """\
[egress.pacs]
type = "dicom"
ae_title = ["X"]
host = "h"
port = 104
""",
        """\
mapdr.toml:3 egress.pacs.ae_title: is not a text; write it in quotes
""",
    ),
    "unavailable stages": (
        """\
[receive.a]
type = "broken"
[[rule]]
name = "r"
when = {}
send_to = []
broken = 1
""",
        """\
mapdr.toml:2 receive.a.type: receive "broken" is unavailable, because ModuleNotFoundError: No module named 'mapdr_no_such_module'; install what it needs, or use another type
mapdr.toml:7 rule "r".broken: transform "broken" is unavailable, because ModuleNotFoundError: No module named 'mapdr_no_such_module'; install what it needs, or leave it out
""",
    ),
    "webhook": (
        """\
[webhook.ris]
url = "ris.example"
on = ["study.delivred", "x"]
secret = "abc"
headers = { Cookie = "a", X-Token = "b", Accept = "c" }
payload = { a = "{AccesionNumber}", b = ["{imges}", "{"], c = 2026-01-01, d = inf, e = { f = "{zz}" } }
timeout = 5
""",
        """\
mapdr.toml:2 webhook.ris.url: is not a URL; write https://host/path
mapdr.toml:3 webhook.ris.on[0]: there is no event "study.delivred"; did you mean "study.delivered"?
mapdr.toml:3 webhook.ris.on[1]: there is no event "x"; events: certificate.ends, delivery.parked, destination.back, destination.waits, disk.back, disk.low, images.expiring, license.ends, license.holds, source.back, source.silent, study.delivered, ...
mapdr.toml:4 webhook.ris.secret: is not a secret's place; write where the secret is kept: "env:NAME" or "file:PATH"
mapdr.toml:5 webhook.ris.headers: holds a secret in plain sight (Cookie, X-Token); write where the secret is kept: "env:NAME" or "file:PATH"
mapdr.toml:6 webhook.ris.payload.a: placeholder {AccesionNumber}: no DICOM keyword 'AccesionNumber'; did you mean AccessionNumber?
mapdr.toml:6 webhook.ris.payload.b[0]: no placeholder {imges}; did you mean {images}?
mapdr.toml:6 webhook.ris.payload.b[1]: '{': a lone {; write {{ for the brace itself
mapdr.toml:6 webhook.ris.payload.c: is not a JSON value; write it as a text, in quotes
mapdr.toml:6 webhook.ris.payload.d: is not a JSON value; write it as a text, in quotes
mapdr.toml:6 webhook.ris.payload.e.f: placeholder {zz}: no DICOM keyword 'zz'; write a tag such as {AccessionNumber}, or one of {destination}, {event}, {images}, {reason}, {series}, {state}
mapdr.toml:7 webhook.ris.timeout: has no unit; write "30 s", "5 min", "2 h" or "7 days"
""",
    ),
    "webhook without url": (
        """\
[webhook.ris]
on = []
""",
        """\
mapdr.toml:1 webhook.ris.url: is missing; add url = ...
mapdr.toml:2 webhook.ris.on: is too short a list; the limit is 1
""",
    ),
    "webhook urls": (
        """\
[webhook.a]
url = "https://u:p@h/"
on = ["study.received"]
[webhook.b]
url = "https://h:99999/"
on = ["study.received"]
[webhook.c]
url = "ftp://h/"
on = "x"
""",
        """\
mapdr.toml:2 webhook.a.url: holds a user or a password; move them to auth (of a proxy: proxy_auth)
mapdr.toml:5 webhook.b.url: is not a URL; write https://host/path
mapdr.toml:8 webhook.c.url: is not a URL; write https://host/path
mapdr.toml:9 webhook.c.on: is not a list; write ["...", "..."]
""",
    ),
    "webhook lists": (
        """\
[webhook.a]
url = "https://h/"
on = ["study.received"]
[webhook.a.payload]
right = [{ each = "series", uid = "{SeriesInstanceUID}", text = "{Modality} {images} {series}", n = [{ a = "{state}" }] }]
uid = "{SeriesInstanceUID}"
outside = { each = "series" }
other = [{ each = "serie" }, { each = "image" }, { each = 1 }]
tag = [{ each = "series", what = ["{SeriesDescription}"], wrong = "{imges}" }]
twice = [{ each = "series", in = [{ each = "series", uid = "{SeriesInstanceUID}" }] }]
""",
        """\
mapdr.toml:6 webhook.a.payload.uid: names one series, and a study has many; put it into a list: [{ each = "series", uid = "{SeriesInstanceUID}" }]
mapdr.toml:7 webhook.a.payload.outside.each: stands outside of a list; write [{ each = "series", ... }]
mapdr.toml:8 webhook.a.payload.other[0].each: there is no list of "serie"; did you mean "series"?
mapdr.toml:8 webhook.a.payload.other[1].each: there is no list of "image"; lists: series
mapdr.toml:8 webhook.a.payload.other[2].each: is not a text; write each = "series"
mapdr.toml:9 webhook.a.payload.tag[0].wrong: no placeholder {imges}; did you mean {images}?
mapdr.toml:9 webhook.a.payload.tag[0].what[0]: SeriesDescription is not known of each series; put it beside the list; of a series there are {SeriesInstanceUID}, {Modality} and {images}
mapdr.toml:10 webhook.a.payload.twice[0].in[0].each: stands within another list of that kind; write one list beside the other
""",
    ),
    "webhook placeholders elsewhere": (
        """\
[webhook.a]
url = "https://h/{AccessionNumber}"
on = ["study.received"]
headers = { X-Study = "{images}", X-Json = "{ }", X-More = "{{images}}" }
""",
        """\
mapdr.toml:2 webhook.a.url: has a placeholder, and is the same for all messages; write it into the payload
mapdr.toml:4 webhook.a.headers: has placeholders (X-Study), and is the same for all messages; write them into the payload
""",
    ),
    "webhook keys for the way there": (
        """\
[webhook.a]
url = "https://h/"
on = ["study.received"]
method = "GET"
auth = { user = "u" }
tls = { key = "k.pem" }
headers = { "bad name" = "x", X-Site = "Nürnberg" }
[webhook.b]
url = "https://h/"
on = ["study.received"]
auth = { token = "env:T" }
headers = { Authorization = "env:T" }
proxy_auth = "env:P"
""",
        """\
mapdr.toml:4 webhook.a.method: is not one of the choices; write 'POST', 'PUT' or 'PATCH'
mapdr.toml:5 webhook.a.auth: lacks password; add password = ...
mapdr.toml:6 webhook.a.tls: has a key without its cert; add cert
mapdr.toml:7 webhook.a.headers: has headers that HTTP cannot send (bad name, X-Site); write them in ASCII
mapdr.toml:8 webhook.b: has proxy_auth without proxy; add proxy = ...
""",
    ),
    "webhook with two ways to log in": (
        """\
[webhook.b]
url = "https://h/"
on = ["study.received"]
auth = { token = "env:T" }
headers = { Authorization = "env:T" }
""",
        """\
mapdr.toml:1 webhook.b: has auth and a header Authorization; leave out one of them
""",
    ),
    "rule without anything": (
        """\
[[rule]]
""",
        """\
mapdr.toml:1 rule[0].when: is missing; add when = { ... }; when = {} takes every image
mapdr.toml:1 rule[0].name: is missing; add name = ...
mapdr.toml:1 rule[0].send_to: is missing; add send_to = ...
""",
    ),
    "rule with one bracket": (
        """\
[rule]
name = "x"
""",
        """\
mapdr.toml:1 rule: is not a list of rules; write [[rule]], with two brackets, before each rule
""",
    ),
    "rule not a table": (
        """\
rule = [1]
""",
        """\
mapdr.toml:1 rule[0]: is not a table; write [[rule]]
""",
    ),
    "rule keys": (
        """\
[[rule]]
name = ""
when = {}
send_to = "a"
sendto = []
priority = "stats"
stop = "yes"
tag = []
""",
        """\
mapdr.toml:2 rule[0].name: is too short a text; the limit is 1
mapdr.toml:4 rule[0].send_to: is not a list; write ["...", "..."]
mapdr.toml:5 rule[0].sendto: unknown key; did you mean "send_to"?
mapdr.toml:6 rule[0].priority: there is no priority "stats"; did you mean "stat"?
mapdr.toml:8 rule[0].tag: unknown key; did you mean "tags"?
""",
    ),
    "transform values": (
        """\
[[rule]]
name = "r"
when = {}
send_to = []
tags = [{ set = "A", too = "x" }, 7]
compress = { too = "x" }
""",
        """\
mapdr.toml:5 rule "r".tags[0].too: unknown key; did you mean "to"?
mapdr.toml:5 rule "r".tags[1]: is not a table; write { key = value }
mapdr.toml:6 rule "r".compress.to: is missing; add to = ...
mapdr.toml:6 rule "r".compress.too: unknown key; did you mean "to"?
""",
    ),
    "when": (
        """\
[[rule]]
name = "r"
send_to = []
[rule.when]
Modalty = "CT"
modality = "CT"
caling_ae = "X"
xyz = 1
"(0010,0020" = "x"
PatientName = ""
PatientID = []
StudyID = true
StudyDate = { min = 2026-01-01, max = 5 }
StudyTime = { min = 12:00:00, max = 08:00:00 }
Rows = { min = "1" }
Columns = {}
StationName = { glb = "x", present = 1 }
Manufacturer = { regex = "(a+)+" }
InstitutionName = { regex = "(" }
SeriesDescription = { equals = [1], glob = 7 }
ImageType = [["A"]]
KVP = { min = nan }
address = "10.1.2.0/33"
called_ae = { present = true }
any = {}
all = []
not = "x"
""",
        """\
mapdr.toml:5 rule "r".when.Modalty: no DICOM keyword 'Modalty'; did you mean Modality?
mapdr.toml:6 rule "r".when.modality: no DICOM keyword 'modality'; did you mean Modality?
mapdr.toml:7 rule "r".when.caling_ae: 'caling_ae' is not a tag; did you mean "calling_ae"?
mapdr.toml:8 rule "r".when.xyz: no DICOM keyword 'xyz'; other keys: address, all, any, called_ae, calling_ae, not, receiver
mapdr.toml:9 rule "r".when."(0010,0020": '(0010,0020' is not a tag; write a keyword such as PatientID, (0010,0020), or a path of them joined by dots
mapdr.toml:10 rule "r".when.PatientName: is an empty text; write { empty = true } to ask for a missing value
mapdr.toml:11 rule "r".when.PatientID: is an empty list; name at least one value
mapdr.toml:12 rule "r".when.StudyID: is not a value; write { present = true } or { empty = false }
mapdr.toml:13 rule "r".when.StudyDate: mixes kinds in min and max; make both numbers, dates or times
mapdr.toml:14 rule "r".when.StudyTime: is an empty range; make min the smaller one
mapdr.toml:15 rule "r".when.Rows.min: is not a number, date or time; write 5, 2026-01-31 or 08:30:00
mapdr.toml:16 rule "r".when.Columns: is an empty table; write one of empty, equals, glob, max, min, not, present, regex
mapdr.toml:17 rule "r".when.StationName.glb: unknown key; did you mean "glob"?
mapdr.toml:17 rule "r".when.StationName.present: is not true or false; write present = true or present = false
mapdr.toml:18 rule "r".when.Manufacturer.regex: could take too long on some values; use fewer open repeats, none within another
mapdr.toml:19 rule "r".when.InstitutionName.regex: is not a regular expression (missing ), unterminated subpattern); correct the pattern
mapdr.toml:20 rule "r".when.SeriesDescription.equals: is not a text; write it in quotes
mapdr.toml:20 rule "r".when.SeriesDescription.glob: is not a text; write it in quotes
mapdr.toml:21 rule "r".when.ImageType[0]: is a list in a list; write one list
mapdr.toml:22 rule "r".when.KVP.min: is not a number, date or time; write 5, 2026-01-31 or 08:30:00
mapdr.toml:23 rule "r".when.address: is not an address or network; write "10.1.2.3" or "10.1.2.0/24"
mapdr.toml:24 rule "r".when.called_ae.present: is for tags only; leave it out: the association always has this
mapdr.toml:25 rule "r".when.any: is not a list of tables; write any = [{ ... }, { ... }]
mapdr.toml:26 rule "r".when.all: is not a list of tables; write all = [{ ... }, { ... }]
mapdr.toml:27 rule "r".when.not: is not a table; write conditions as { Modality = "CT" }
""",
    ),
    "when, more": (
        """\
[[rule]]
name = "r"
send_to = []
when = { address = ["10.0.0.0/8", 7], any = [{ Modalty = "CT" }, 3], RequestAttributesSequence = { StationNam = "x" }, Modality = { not = "" } }
[[rule]]
name = "s"
send_to = []
when = "CT"
[[rule]]
name = "t"
send_to = []
when = { address = [], receiver = 7, Modality.CT = 1, Rows = { x = 1 } }
""",
        """\
mapdr.toml:4 rule "r".when.address[1]: is not an address or network; write "10.1.2.3" or "10.1.2.0/24"
mapdr.toml:4 rule "r".when.any[0].Modalty: no DICOM keyword 'Modalty'; did you mean Modality?
mapdr.toml:4 rule "r".when.any[1]: is not a table; write conditions as { Modality = "CT" }
mapdr.toml:4 rule "r".when.RequestAttributesSequence.StationNam: no DICOM keyword 'StationNam'; did you mean StationName?
mapdr.toml:4 rule "r".when.Modality.not: is an empty text; write { empty = true } to ask for a missing value
mapdr.toml:8 rule "s".when: is not a table; write conditions as { Modality = "CT" }
mapdr.toml:12 rule "t".when.address: is an empty list; name at least one network
mapdr.toml:12 rule "t".when.Modality.CT: unknown key; known: empty, equals, glob, max, min, not, present, regex
mapdr.toml:12 rule "t".when.Rows.x: unknown key; known: empty, equals, glob, max, min, not, present, regex
""",
    ),
    "names across tables": (
        """\
[receive.a]
type = "dicom"
port = 104
[receive.b]
type = "dicom"
port = 104
[egress.pacs]
type = "dicom"
ae_title = "A"
host = "127.0.0.1"
port = 104
[[rule]]
name = "r"
when = { receiver = "aa" }
send_to = ["pcas", "pacs"]
[[rule]]
name = "r"
when = { receiver = ["a", "zzzz"] }
send_to = ["zzzz"]
""",
        """\
mapdr.toml:6 receive.b.port: tcp:104 is already taken by receive.a; choose another one
mapdr.toml:11 egress.pacs.port: is this node's own receiver (receive.a): images would go round in circles; name another host or port
mapdr.toml:14 rule "r".when.receiver: there is no receiver "aa"; did you mean "a"?
mapdr.toml:15 rule "r".send_to[0]: there is no destination "pcas"; did you mean "pacs"?
mapdr.toml:17 rule "r".name: an earlier rule is also named "r"; give each rule its own name
mapdr.toml:18 rule "r".when.receiver: there is no receiver "zzzz"; receivers: a, b
mapdr.toml:19 rule "r".send_to[0]: there is no destination "zzzz"; destinations: pacs
""",
    ),
    "no destinations": (
        """\
[[rule]]
name = "r"
when = { any = [{ receiver = "a" }] }
send_to = ["pacs"]
""",
        """\
mapdr.toml:3 rule "r".when.receiver: there is no receiver "a"; receivers: none
mapdr.toml:4 rule "r".send_to[0]: there is no destination "pacs"; destinations: none
""",
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_every_problem_has_its_line_and_its_cure(text, expected):
    registry = fake_registry(BROKEN)
    loaded = read_text(text, registry)
    problems = loaded.problems
    if loaded.config is not None:
        problems += loaded.locate(make_plan(loaded.config, registry, is_own=_loopback).problems)
    assert "\n".join(map(str, problems)) == expected.rstrip("\n")


def _loopback(host):
    return host.startswith("127.")


class Failing(StageConfig):
    """Its validator has a fault of its own."""

    url: str

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        raise KeyError(url)


def test_a_validator_that_fails_is_a_problem_and_no_traceback() -> None:
    findings: list[Finding] = []
    assert validate(Failing, {"url": "QXSECRETQX"}, ("egress", "bad"), Path(), findings) is None
    (told,) = findings
    assert told.place == ("egress", "bad")
    assert told.what.startswith("fails when it is read: internal error: KeyError")
    assert "QXSECRETQX" not in told.what
