"""What headers lose, keep and get on their way, as one HTML page that asks for no other file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mapdr.operate import words
from mapdr.operate.explain_page import document, table
from mapdr.operate.header_changes import HeaderChanges, kept_of, remarks


def page(told: Sequence[HeaderChanges], node: str) -> str:
    """The report as HTML."""
    parts = [_destination(one) for one in told]
    body = "\n".join(parts) or "<p>Nothing is promised of these images.</p>"
    foot = "It was worked out from the images that are still here, and holds no value of them."
    return document("What headers lose and keep", f"<p>{escape(words.plain(node))}</p>", body, foot)


def _destination(one: HeaderChanges) -> str:
    name = escape(words.plain(one.destination))
    told = "".join(f'<p class="bad">{escape(words.plain(each))}</p>' for each in remarks(one))
    rows = [
        (each.action, each.tag, each.path, f"{each.count:,}", "; ".join(each.by)) for each in one.elements
    ]
    elements, count = kept_of(one)
    caption = f"{words.many(elements, 'element')} kept, {count:,} in all"
    heads = ("change", "tag", "element", "count", "by")
    listed = table(caption, heads, rows, fixed=(0, 1, 3)) if rows else ""
    return f"<h2>{name} <small>{words.many(one.images, 'image')}</small></h2>{told}{listed}"
