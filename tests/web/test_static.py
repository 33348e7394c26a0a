"""The page's own files: few, small, and nothing asked from anywhere else."""

from __future__ import annotations

import re
from importlib import resources

import httpx

from mapdr_web.static_files import TYPES, read_all

STATIC = resources.files("mapdr_web") / "static"
NAMESPACES = {"http://www.w3.org/2000/svg"}


def texts() -> dict[str, str]:
    return {each.name: each.read_text(encoding="utf-8") for each in STATIC.iterdir()}


def test_every_file_is_sent_and_all_are_small() -> None:
    found = texts()
    assert {name for name in found if name.rpartition(".")[2] not in TYPES} == set()
    assert read_all().keys() == found.keys()
    assert sum(len(text.encode()) for text in found.values()) < 300_000


def test_nothing_is_asked_from_anywhere_else() -> None:
    for name, text in texts().items():
        assert set(re.findall(r"""(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^"'`\s]*""", text)) <= NAMESPACES, name


def test_nothing_stands_in_line_that_the_policy_refuses() -> None:
    for name, text in texts().items():
        assert not re.search(
            r"<style|style=|<script(?! type=\"module\" src=)|\son[a-z]+=|javascript:", text
        ), name
        assert "innerHTML" not in text, name
        assert "insertAdjacentHTML" not in text, name
        assert not re.search(r"\beval\(|new Function", text), name


def test_what_a_page_asks_for_is_there(nobody: httpx.Client) -> None:
    found = texts()
    names = {each for text in found.values() for each in re.findall(r"/static/([a-z_.]+)", text)}
    names |= {each for text in found.values() for each in re.findall(r'from "\./([a-z_.]+)"', text)}
    assert names >= {"main.js", "page.css", "dom.js"}
    for name in names:
        answer = nobody.get(f"/static/{name}")
        assert answer.status_code == 200, name
        again = nobody.get(f"/static/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
