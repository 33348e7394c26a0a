"""docs/api.md: the page's API, of its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tables import table

from mapdr_web import openapi

Schema = Mapping[str, Any]


def document() -> str:
    """The whole description, in Markdown."""
    described = openapi.document()
    paths = "\n".join(_path(path, methods) for path, methods in described["paths"].items())
    kinds = "\n".join(
        _kind(name, schema) for name, schema in sorted(described["components"]["schemas"].items())
    )
    return f"""{_HEAD}
## Operations

{paths}
## Types

{kinds}"""


def _path(path: str, methods: Mapping[str, Schema]) -> str:
    parts = []
    for method, operation in methods.items():
        text = f"### {method.upper()} {path}\n\n{operation['summary']}\n"
        rows = list(_parameters(operation))
        if rows:
            text += "\n" + table(("parameter", "in", "type", "meaning"), rows)
        answers = [
            f"{status} {_answer(answer) or answer['description']}"
            for status, answer in operation["responses"].items()
            if status.startswith("2")
        ]
        parts.append(f"{text}\nAnswer: {'; '.join(answers)}.\n")
    return "\n".join(parts)


def _parameters(operation: Schema) -> Iterator[tuple[str, str, str, str]]:
    for each in operation.get("parameters", ()):
        yield _parameter(each["name"], each["in"], each["schema"], each["required"])
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("schema", {})
    for one in body.get("oneOf", [body]):  # of alternatives, none is required
        for name, schema in one.get("properties", {}).items():
            yield _parameter(name, "body", schema, name in body.get("required", ()))


def _parameter(name: str, where: str, schema: Schema, required: bool) -> tuple[str, str, str, str]:
    needed = " (required)" if required else ""
    return f"`{name}`{needed}", where, _type(schema), schema.get("description", "")


def _answer(answer: Schema) -> str:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return ", ".join(_type(part) for part in schema.get("allOf", ()) if "$ref" in part)


def _type(schema: Schema) -> str:
    """A JSON schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    if isinstance(kind, list):
        return " or ".join(kind)
    return f"{kind}, {schema['format']}" if "format" in schema else str(kind)


def _kind(name: str, schema: Schema) -> str:
    rows = ((f"`{key}`", _type(each)) for key, each in schema.get("properties", {}).items())
    about = f"{schema['description']}\n\n" if schema.get("description") else ""
    return f"### {name}\n\n{about}{table(('key', 'type'), rows)}"


_HEAD = """# The page's API

What a node with a table [`[web]`](configuration.md#web) answers below `/api/v1`. Made by `make documents` of the OpenAPI 3.1
document, which a node has at `/api/v1/openapi.json`: do not edit it.

Every answer has an envelope, `mapdr`, and the keys of its type; forms and words are those of [json.md](json.md). Sign in first
(`POST /api/v1/session`); a change needs the header `X-CSRF-Token`, with the `csrf` of `GET /api/v1/session`, and the role
operator. Errors are `{"error": "..."}`: 400 the request is not clear, 401 nobody is signed in, 403 the role may not, 429 too many
wrong tries, 503 the index or the audit cannot be used. What identifies anybody is asked for by POST, and shown to operators alone.

Without signing in: `/healthz` (200 while the page is served), `/readyz` (200 while the node takes images, else 503), and `/metrics`
(Prometheus) from the node's own machine.
"""
