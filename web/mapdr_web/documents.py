"""Answers that are files to keep, to print or for a spreadsheet: the same figures as the command line's."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from starlette.responses import Response

from mapdr.operate import report as reporting
from mapdr.operate.access import Access
from mapdr.operate.counts import CountLine, count_lines
from mapdr.operate.csv_text import csv_text
from mapdr.operate.report_page import STYLE, page
from mapdr_web import api

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
REPORT_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of a report: it runs nothing, asks for nothing, and has that one style in itself."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file, and the function that makes it: its parameters are read as those of `api.OPERATIONS`."""

    path: str
    function: Callable[..., Response]


def counts_csv(opened: Access, first: date, last: date) -> Response:
    """The counts of local days, both included, as CSV."""
    told = count_lines(api.counts(opened, first, last), first, last)
    until = "" if first == last else f"-{last}"
    return _csv(csv_text(told, CountLine), f"mapdr-counts-{first}{until}.csv")


def report_csv(opened: Access, month: str = "") -> Response:
    """The report of a month as CSV."""
    told = api.report(opened, month)
    return _csv(csv_text(reporting.lines(told), reporting.ReportLine), f"mapdr-report-{told.first[:7]}.csv")


def report_html(opened: Access, month: str = "") -> Response:
    """The report of a month as one page with plots, to be sent or printed."""
    told = api.report(opened, month)
    headers = {
        "content-security-policy": REPORT_POLICY,
        "content-disposition": f'inline; filename="mapdr-report-{told.first[:7]}.html"',
    }
    return Response(page(told), media_type="text/html; charset=utf-8", headers=headers)


def _csv(text: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(f"{text}\n", media_type="text/csv; charset=utf-8", headers=headers)


DOCUMENTS = (
    Document("/counts.csv", counts_csv),
    Document("/report.csv", report_csv),
    Document("/report.html", report_html),
)
