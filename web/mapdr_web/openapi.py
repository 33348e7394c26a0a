"""The API as an OpenAPI 3.1 document, made of its typed functions."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import mapdr
from mapdr.kernel.item import Priority
from mapdr.operate.explain import Explanation
from mapdr.operate.selection import Selection
from mapdr_web.api import OPERATIONS, Operation
from mapdr_web.parameters import SELECTION, Parameter, parameters
from mapdr_web.upload import TYPE

ROOT = "/api/v1"
_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "field": {"type": "string"}},
}
_ABOUT = {
    "type": "object",
    "required": ["version", "command", "node", "at"],
    "properties": {
        "version": {"type": "string"},
        "command": {"type": "string"},
        "node": {"type": ["string", "null"]},
        "at": {"type": "string", "format": "date-time"},
    },
}
_SIGN_IN = {
    "post": {
        "summary": "Sign in by the token of a one-time link, or by user and password.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [
                            {
                                "type": "object",
                                "required": ["token"],
                                "properties": {"token": {"type": "string"}},
                            },
                            {
                                "type": "object",
                                "required": ["user", "password"],
                                "properties": {"user": {"type": "string"}, "password": {"type": "string"}},
                            },
                        ]
                    }
                }
            },
        },
        "security": [],
        "responses": {
            "200": {"description": "the session; its cookie is set"},
            "401": {"description": "wrong, used or too old"},
            "429": {"description": "too many wrong tries; Retry-After says how long to wait"},
        },
    },
    "get": {
        "summary": "Who is signed in, and the token for changes; null for nobody.",
        "responses": {"200": {"description": "it"}},
    },
    "delete": {"summary": "Sign out.", "responses": {"204": {"description": "signed out"}}},
}
_STREAM = {
    "get": {
        "summary": "The node's state, once a second, as server-sent events named `status`.",
        "responses": {"200": {"description": "events", "content": {"text/event-stream": {}}}},
    }
}


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, Any] = {
        f"{ROOT}/session": _SIGN_IN,
        f"{ROOT}/stream": _STREAM,
        f"{ROOT}/try": _tried(schemas),
    }
    for operation in OPERATIONS:
        paths[ROOT + operation.path] = _path(operation, schemas)
    cookie = {"type": "apiKey", "in": "cookie", "name": "session", "description": "set by signing in"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MAPDR",
            "version": mapdr.__version__,
            "description": "What the page of a node shows and does. Changes need the header X-CSRF-Token.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"session": cookie}},
        "security": [{"session": []}],
    }


def _tried(schemas: dict[str, Any]) -> dict[str, Any]:
    file = {"required": True, "content": {TYPE: {"schema": {"type": "string", "format": "binary"}}}}
    sender = {"name": "calling_ae", "in": "query", "required": False, "schema": {"type": "string"}}
    told = {"allOf": [{"type": "object", "properties": {"mapdr": _ABOUT}}, _schema(Explanation, "", schemas)]}
    return {
        "post": {
            "summary": "What the rules would do to the file in the body; its values are quoted.",
            "operationId": "try",
            "parameters": [sender],
            "requestBody": file,
            "responses": {
                "200": {"description": "the answer", "content": {"application/json": {"schema": told}}},
                "400": {"description": "it is no DICOM, or the node would refuse it"},
                "413": {"description": "the file is too long"},
            },
        }
    }


def _path(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    wanted = parameters(operation.function)
    in_path = re.findall(r"\{(\w+)\}", operation.path)
    pieces = [piece for each in wanted for piece in _pieces(each) if piece[0] not in in_path]
    body = {
        "type": "object",
        "properties": {name: schema for name, schema, _ in pieces},
        "required": [name for name, _, required in pieces if required],
        "additionalProperties": False,
    }
    shared: dict[str, Any] = {
        "summary": inspect.cleandoc(operation.function.__doc__ or "").replace("\n", " "),
        "responses": _responses(operation, schemas),
    }
    placed = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in in_path
    ]
    asked = {"required": True, "content": {"application/json": {"schema": body}}}
    post = {
        **shared,
        "operationId": operation.name.replace(" ", "-"),
        "parameters": placed,
        "requestBody": asked,
    }
    if operation.changes:
        return {"post": post}
    query = [
        {"name": name, "in": "query", "required": required, "schema": schema}
        for name, schema, required in pieces
    ]
    found: dict[str, Any] = {
        "get": {**shared, "operationId": operation.name, "parameters": [*placed, *query]}
    }
    if pieces:
        found["post"] = {**post, "operationId": f"{operation.name}-by-body"}
    return found


def _pieces(parameter: Parameter) -> list[tuple[str, dict[str, Any], bool]]:
    """Name, schema, and whether it is required, of what a parameter stands for."""
    if parameter.type is Selection:
        return [
            (name, {"type": kind, "description": text}, False) for name, (kind, text) in SELECTION.items()
        ]
    schema: dict[str, Any] = {"type": _PLAIN.get(parameter.type, "string")}
    if parameter.type == Sequence[str]:
        schema = {"type": "array", "items": {"type": "string"}}
    if typing.get_origin(parameter.type) is typing.Literal:
        schema["enum"] = list(typing.get_args(parameter.type))
    if parameter.type is date:
        schema["format"] = "date"
    if parameter.type is Priority:
        schema["enum"] = [each.word for each in Priority]
    return [(parameter.name, schema, parameter.required)]


def _responses(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    returned = get_type_hints(operation.function)["return"]
    answer = {"allOf": [{"type": "object", "properties": {"mapdr": _ABOUT}}, _schema(returned, "", schemas)]}
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    words = {
        "400": "the request is not clear, or names a foreign host",
        "401": "nobody is signed in",
        "403": "the role may not, or the request comes from elsewhere",
        "503": "the node's index or the audit cannot be used",
    }
    return {
        "200": {"description": "the answer", "content": {"application/json": {"schema": answer}}},
        **{status: {"description": text, "content": refused} for status, text in words.items()},
    }


def _schema(kind: Any, name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a type as `mapdr.operate.answer.plain` writes it; `name` is the field's."""
    if is_dataclass(kind) and isinstance(kind, type):
        return _object(kind, schemas)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(each, name, schemas) for each in inner]}
    if kind is types.NoneType:
        return {"type": "null"}
    if origin in (typing.Literal,):
        return {"enum": list(inner)}
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(inner[1], "", schemas)}
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return {"type": "array", "items": _schema(inner[0], "", schemas)}
    if kind in (int, float) and (name == "at" or name.endswith("_at")):
        return {"type": "string", "format": "date-time"}
    if kind is Path:
        return {"type": "string"}
    return {"type": _PLAIN[kind]} if kind in _PLAIN else {}


def _object(kind: type[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    if kind.__name__ in schemas:
        return reference
    schemas[kind.__name__] = {}  # a type may hold its own kind
    hints = get_type_hints(kind)
    shown = [each for each in fields(kind) if each.metadata.get("json", True)]
    schemas[kind.__name__] = {
        "type": "object",
        "description": inspect.cleandoc(kind.__doc__ or "").replace("\n", " "),
        "properties": {each.name: _schema(hints[each.name], each.name, schemas) for each in shown},
        "required": [each.name for each in shown],
    }
    return reference
