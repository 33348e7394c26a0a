"""The first configuration that `mapdr init` writes: a tutorial in comments, and right as it stands.

Lines that begin with `#` and a space explain; lines that begin with `#` and a key are examples, which are
right too once the `#` is taken away (a test does so).
"""

from __future__ import annotations

import json

_TEXT = """\
# The configuration of MAPDR. After each change: mapdr check
# It names every mistake with its line and its cure. docs/configuration.md explains each key.

# 1. This program on this machine.
[node]
name = {name}
data = "{data}"           # images, index and keys: a folder on a disk with room, beside this file
durability = "power-loss"     # answer Success only when an image would survive a power cut
retention = "7 days"          # how long delivered images are kept; or "forever"
#study_quiet = "30 s"         # a study counts as complete when no image came for that long

# 2. Where modalities send to. Enter the AE title, this machine's address and the port at the modality.
#    Anything that sends DICOM may be let in by name and network; without `allow` everybody may send.
[receive.modalities]
type = "dicom"
ae_title = {ae_title}
host = "0.0.0.0"              # every network card; or the address of one
port = {port}
#allow = [{{ ae_title = "CT1", host = "10.1.2.0/24" }}, {{ host = "10.1.3.7" }}]

# 3. Where images go. The name after the dot is yours: rules, dashboard and reports use it.
#    Try the connection with: mapdr echo {to}
[egress.{to}]
type = "dicom"
ae_title = {to_ae}
host = {to_host}
port = {to_port}
#bandwidth = "20 Mbit/s"      # leave some of the line to others
#tls = {{ ca = "ca.pem", cert = "me.pem", key = "me.key" }}

# Or over HTTPS, by STOW-RS to a DICOMweb server.
#[egress.cloud]
#type = "dicomweb"
#url = "https://pacs.example/dicom-web"
#auth = {{ token = "env:CLOUD_TOKEN" }}

# 4. Which images go where, changed how. All rules that match count, from top to bottom.
#    An image that no rule takes is kept and shown as unrouted. Try one with: mapdr explain FILE
[[rule]]
name = "everything to {to}"
when = {{}}                     # every image
send_to = ["{to}"]

# A rule may ask for any tag and change what it sends. The original stays as it is.
#[[rule]]
#name = "CT and MR of the emergency room"
#when = {{ Modality = ["CT", "MR"], StationName = "ER*" }}
#tags = [
#  {{ set = "InstitutionName", to = "Clinic North" }},
#  {{ prefix = "AccessionNumber", with = "CN-" }},
#]
#compress = {{ to = "jpeg2000-lossless" }}
#send_to = ["{to}"]

# 5. Tell another system what happened. Secrets stand outside: env:NAME or file:PATH.
#[webhook.ris]
#url = "https://ris.example/hooks/mapdr"
#on = ["study.delivered", "delivery.parked"]
#secret = "env:RIS_SECRET"
#payload = {{ accession = "{{AccessionNumber}}", modality = "{{Modality}}", images = "{{images}}" }}

# 6. A page for the browser; for this machine alone, unless you say more. Sign in with: mapdr web open
{page}[web]
{page}port = {page_port}
"""

PAGE_PORT = 8484
DATA = "mapdr-data"
"""The data folder, beside the file."""


def starter(
    *,
    name: str = "mapdr",
    ae_title: str = "MAPDR",
    port: int = 11112,
    to: str = "pacs",
    to_ae: str = "PACS",
    to_host: str = "192.0.2.10",
    to_port: int = 104,
    page_port: int | None = None,
) -> str:
    """The text of a first configuration. `to` is the destination's name, those that begin with it are its
    values; with `page_port` it has the page."""
    return _TEXT.format(
        name=_quoted(name),
        data=DATA,
        ae_title=_quoted(ae_title),
        port=port,
        to=to,
        to_ae=_quoted(to_ae),
        to_host=_quoted(to_host),
        to_port=to_port,
        page="#" if page_port is None else "",
        page_port=page_port or PAGE_PORT,
    )


def _quoted(text: str) -> str:
    """A TOML basic string: what JSON escapes, TOML escapes in the same way."""
    return json.dumps(text, ensure_ascii=False)


STARTER = starter()
"""The first configuration with an example for a destination (an address that nobody has, RFC 5737)."""
