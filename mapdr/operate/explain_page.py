"""What the rules would do to a file, as one HTML page: it asks for no other file, and runs nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from html import escape

import mapdr
from mapdr.operate import words
from mapdr.operate.differences import ElementChange
from mapdr.operate.explain import AskedRule, Explanation, WouldDeliver

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#14181f;--dim:#5b6472;--line:#dfe3e9;--bad:#a3261d}
@media (prefers-color-scheme:dark){:root{--bg:#0f1216;--ink:#e8ebf0;--dim:#9aa4b2;--line:#2b323c;
--bad:#ff9b90}}
@media print{:root{color-scheme:light;--bg:#fff;--ink:#000;--dim:#444;--line:#bbb;--bad:#8c1d15}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1200px;margin:0 auto;padding:32px 24px 48px}
header{border-bottom:2px solid var(--ink);padding-bottom:12px;margin-bottom:24px}
header p{margin:0;color:var(--dim);overflow-wrap:anywhere}
h1{font-size:28px;line-height:1.2;margin:0 0 4px}h2{font-size:20px;margin:28px 0 8px}
h2 small{font-weight:400;color:var(--dim);font-size:14px}
p{margin:0 0 10px}.scroll{overflow-x:auto}
.scroll:focus-visible{outline:2px solid var(--dim);outline-offset:2px}
table{width:100%;min-width:48em;border-collapse:collapse;font-size:14px}
caption{text-align:left;color:var(--dim);padding-bottom:4px}
th,td{text-align:left;vertical-align:top;padding:5px 14px 5px 0;border-top:1px solid var(--line);
overflow-wrap:anywhere;min-width:5em}
thead th{border-top:0;color:var(--dim);font-weight:500}tbody th{font-weight:400}
.fixed{white-space:nowrap;overflow-wrap:normal;font-variant-numeric:tabular-nums}
.bad{color:var(--bad)}.dim{color:var(--dim)}
footer{border-top:1px solid var(--line);margin-top:28px;padding-top:12px;color:var(--dim);font-size:13px}
@media print{main{max-width:none;padding:0}.scroll{overflow:visible}body{font-size:11px}table{font-size:10px}
th,td{padding:2px 8px 2px 0}thead{display:table-header-group}tr,h2{break-inside:avoid}h2{break-after:avoid}
@page{size:A4 landscape;margin:14mm}}
"""

_SEAM = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[a-z\]]\.)(?=[A-Z])")


def document(title: str, head: str, body: str, foot: str) -> str:
    """A whole page; `title` is text, the rest HTML."""
    made = f"MAPDR {escape(mapdr.__version__)}, {time.strftime('%Y-%m-%d %H:%M')}."
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main><header><h1>{_text(title)}</h1>{head}</header>\n{body}\n"
        f"<footer><p>{foot} {made}</p></footer>"
        "</main></body></html>\n"
    )


def table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], fixed: Sequence[int] = ()
) -> str:
    """A table of texts, whose columns `fixed` are not broken."""

    def cell(kind: str, column: int, text: str, more: str = "") -> str:
        mark = ' class="fixed"' if column in fixed else ""
        return f"<{kind}{mark}{more}>{_breaking(text)}</{kind}>"

    head = "".join(cell("th", at, text, ' scope="col"') for at, text in enumerate(heads))
    body = "".join(
        f"<tr>{''.join(cell('td', at, text) for at, text in enumerate(row))}</tr>\n" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(caption)}"><table>'
        f"<caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def page(told: Explanation) -> str:
    """The explanation as HTML."""
    facts = [told.sop_class, told.transfer_syntax, words.size(told.bytes)]
    if told.assumed:
        facts.append(f"text is read as {told.character_set}, as the receiver assumes")
    head = f"<p>{_text(' · '.join(facts))}</p>"
    if told.identified:
        head = f"<p>{_text(told.file)}</p>{head}"
    parts = [
        "<h2>Rules</h2>",
        table("What became of each rule", ("rule", "", "why"), [_asked(one) for one in told.rules], (1,)),
    ]
    if not told.deliveries:
        parts.append('<p class="bad">No rule sends it anywhere: it would be kept and shown as unrouted.</p>')
    parts += [_delivery(one, told.bytes) for one in told.deliveries]
    foot = "It shows values of the file." if told.identified else "Values of the file are not shown."
    return document("What the rules would do", head, "\n".join(parts), foot)


def _asked(rule: AskedRule) -> tuple[str, str, str]:
    if not rule.reached:
        return rule.name, "not reached", "an earlier rule says stop"
    if not rule.matched:
        return rule.name, "does not match", rule.failure
    sends = f"sends to {', '.join(rule.send_to)}" if rule.send_to else "keeps it here"
    but = [f"an earlier rule decides for {name}" for name in rule.shadowed]
    but += [f"not to {name}, it came from there" for name in rule.returned]
    return rule.name, "matches", "; ".join([*rule.because, sends, *but])


def _delivery(one: WouldDeliver, size: int) -> str:
    title = f"<h2>{_text(one.destination)} <small>by the rule {_text(one.rule)}</small></h2>"
    if one.edits:
        title += f"<ul>{''.join(f'<li>{_text(each)}</li>' for each in one.edits)}</ul>"
    if one.error:
        return f'{title}<p class="bad">It would be parked: {_text(one.error)}</p>'
    facts = [
        one.treatment,
        f"{words.size(size)} \N{RIGHTWARDS ARROW} {words.size(one.bytes)}",
        one.transfer_syntax,
    ]
    if one.priority != "routine":
        facts.insert(0, one.priority)
    if one.note:
        facts.append(one.note)
    if one.quality:
        off = one.quality.max_error
        facts.append(f"pixels at most {off} off" if off else "pixels equal")
    if one.compression and one.compression.words:
        facts.append(one.compression.words)
    text = f"{title}<p>{_text(' · '.join(facts))}</p>"
    if one.unshown:
        return f'{text}<p class="bad">What changes cannot be shown: {_text(one.unshown)}</p>'
    if not one.changes:
        return f'{text}<p class="dim">No element changes.</p>'
    return text + _changes(one.changes, f"{words.many(len(one.changes), 'element')} changed, {one.kept} kept")


def _changes(found: Sequence[ElementChange], caption: str) -> str:
    are_told = any(each.before is not None for each in found)
    heads = ("tag", "element", "change", *(("before", "after") if are_told else ()), "by")
    rows = [
        (
            each.tag,
            each.path,
            each.action,
            *((each.before or "", each.after or "") if are_told else ()),
            "; ".join(each.by),
        )
        for each in found
    ]
    return table(caption, heads, rows, fixed=(0, 2))


def _text(text: str) -> str:
    return escape(words.plain(text))


def _breaking(text: str) -> str:
    """A text that may be broken between the words of a keyword, and behind the dots of a path."""
    return "<wbr>".join(_text(part) for part in _SEAM.split(words.plain(text)))
