"""Methods by the names that rules have: those of MAPDR, and of codecs that plug-ins have brought.

The name of a plug-in's codec is that of its entry point (group `mapdr.codec`). Its method writes what the
codec has abilities for: without loss and with loss the first transfer syntax of each. MAPDR's names come
first.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.transform.encode.methods import AUTO, AUTO_METHODS, METHODS, Method

if TYPE_CHECKING:
    from mapdr.transform.codecs.table import Codecs, Row


def plugin_names() -> list[str]:
    """The names of codecs that are not MAPDR's, and so of their methods, available or not."""
    return _others(Registry())


def is_known(name: str) -> bool:
    """Whether `name` is that of a method, or "auto"."""
    return name == AUTO or name in METHODS or name in plugin_names()


def method_named(name: str) -> Method:
    """The method of that name; one of an unavailable plug-in has no transfer syntaxes. Raises KeyError."""
    if name in METHODS:
        return METHODS[name]
    registry = Registry()
    if name not in _others(registry):
        raise KeyError(name)
    rows = _installed(tuple(registry.names("codec"))).own.get(name, {}).values()
    lossless = next((row.uid for row in rows if row.encoder is not None), "")
    lossy = next((row.uid for row in rows if row.lossy_encoder is not None), "")
    return Method(name, f'"{name}"', lossless, lossy, codec=name)


def methods_named(names: Iterable[str]) -> tuple[Method, ...]:
    """The methods of `compress.to`, of "auto" all; names that are unknown here are left out."""
    names = tuple(names)
    return AUTO_METHODS if AUTO in names else tuple(method_named(name) for name in names if is_known(name))


def lacking(name: str) -> str:
    """Why this installation does not write what a method needs, or an empty string."""
    method = method_named(name)
    if method.codec:
        return _plugin_lacking(method)
    if method.way == "data-set":
        return ""
    rows = _installed().rows
    if method.way == "jpeg":
        row = rows.get(method.lossless)
        return "" if row is not None and row.recompressor is not None else _why(row)
    for syntax, writer in ((method.lossy, "lossy_encoder"), (method.lossless, "encoder")):
        row = rows.get(syntax)
        if syntax and (row is None or getattr(row, writer) is None):
            return _why(row)
    return ""


def _plugin_lacking(method: Method) -> str:
    if method.lossless or method.lossy:
        return ""
    registry = Registry()
    if reason := registry.plugin("codec", method.codec).reason:
        return reason
    rows = list(_installed(tuple(registry.names("codec"))).own.get(method.codec, {}).values())
    return _why(rows[0]) if rows else "it cannot be built"


def _others(registry: Registry) -> list[str]:
    return [name for name in registry.names("codec") if ("codec", name) not in BUILTIN]


@lru_cache(maxsize=2)
def _installed(names: tuple[str, ...] = ()) -> Codecs:
    """The codecs of this installation, built once a process for the same `names`, and when the first rule
    compresses."""
    from mapdr.transform.codecs.table import looked_at

    return looked_at(Registry())


def _why(row: Row | None) -> str:
    if row is None:
        return "no codec here knows it"
    return f"{row.name} is not written here: {row.no_encode or 'no codec writes it so'}"
