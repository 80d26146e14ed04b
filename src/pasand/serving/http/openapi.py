"""The OpenAPI document of the service, and a page that shows it; both are made from the routes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import msgspec

from pasand import __version__
from pasand.serving import schemas

REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True)
class Operation:
    """What the document says of one method of one path."""

    method: str
    path: str
    """With {names} in it."""
    summary: str
    scope: str | None
    """What a key must allow; None: no key is asked for."""
    body: Any = None
    """Structure of the body that is sent; None: there is none."""
    answer: Any = None
    """Structure of the answer; None: an object of JSON."""
    query: tuple[tuple[str, type, str], ...] = ()
    """Parameters behind the question mark: name, type, meaning; those that begin with * must be given."""
    content: str = "application/json"
    """Kind of the answer."""


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the operations."""
    types = {one for operation in operations for whole in (operation.body, operation.answer) for one in options(whole)}
    chosen = sorted(types | {schemas.ErrorResponse}, key=lambda kind: kind.__name__)
    bodies, components = msgspec.json.schema_components(chosen, ref_template=REFERENCE)
    by_type = dict(zip(chosen, bodies, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pasand",
            "version": __version__,
            "description": "Recommendations for users, known or new. Errors have the form of Failure.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def options(whole: Any) -> tuple[type, ...]:
    """Return the structures that a body may be: those of a union, or the one; () for None."""
    return () if whole is None else getattr(whole, "__args__", (whole,))


def _described(operation: Operation, by_type: dict[type, Any]) -> dict[str, Any]:
    def schema_of(whole: Any) -> Any:
        several = [by_type[one] for one in options(whole)]
        return several[0] if len(several) == 1 else {"anyOf": several}

    told: dict[str, Any] = {"summary": operation.summary, "operationId": _name(operation)}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 256}}
        for name in (piece.partition("}")[0] for piece in operation.path.split("{")[1:])
    ]
    for name, kind, meaning in operation.query:
        schema: dict[str, Any] = {int: {"type": "integer"}, bool: {"type": "boolean"}, str: {"type": "string"}}[kind]
        if name.removeprefix("*") == "k":
            schema = {"type": "integer", "minimum": 1, "maximum": schemas.MOST_ITEMS}
        required = name.startswith("*")
        parameters.append(
            {
                "name": name.removeprefix("*"),
                "in": "query",
                "required": required,
                "description": meaning,
                "schema": schema,
            }
        )
    if parameters:
        told["parameters"] = parameters
    if operation.body is not None:
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of(operation.body)}},
        }
    made = {"type": "object"} if operation.answer is None else schema_of(operation.answer)
    content = {operation.content: {"schema": made if operation.content == "application/json" else {"type": "string"}}}
    told["responses"] = {
        "200": {"description": "The answer.", "content": content},
        "default": {
            "description": "Why there is none.",
            "content": {"application/json": {"schema": by_type[schemas.ErrorResponse]}},
        },
    }
    if operation.scope is not None:
        told["security"] = [{"key": []}]
        told["description"] = f"Asks for a key of scope {operation.scope}, where keys are in use."
    return told


def _name(operation: Operation) -> str:
    words = [word.strip("{}") for word in operation.path.split("/") if word and word != "v1"]
    return "_".join([operation.method.lower(), *words]).replace(".", "_")


def page(operations: Sequence[Operation]) -> str:
    """Return the documentation as one HTML page that needs nothing else."""
    lines = []
    for operation in operations:
        more = "".join(
            f"<li><code>{escape(name.removeprefix('*'))}</code> {escape(meaning)}</li>"
            for name, _, meaning in operation.query
        )
        body = "" if operation.body is None else f"<p>Body: {_structure(operation.body)}</p>"
        answer = "" if operation.answer is None else f"<p>Answer: {_structure(operation.answer)}</p>"
        scope = f" <small>{operation.scope}</small>" if operation.scope else ""
        lines.append(
            f"<section><h2><b>{operation.method}</b> <code>{escape(operation.path)}</code>{scope}</h2>"
            f"<p>{escape(operation.summary)}</p>{body}{answer}{f'<ul>{more}</ul>' if more else ''}</section>"
        )
    return PAGE.replace("<!-- operations -->", "\n".join(lines))


def _structure(kind: Any) -> str:
    """Return a structure's fields in words."""
    told = []
    for one in options(kind):
        fields = ", ".join(f"<code>{field.encode_name}</code>" for field in msgspec.structs.fields(one))
        told.append(f"{one.__name__} {{ {fields} }}")
    return " or ".join(told)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pasand: the HTTP interface</title>
<link rel="stylesheet" href="/static/docs.css">
</head>
<body>
<main>
<h1>The HTTP interface</h1>
<p>The same as a document for programs: <a href="/openapi.json">openapi.json</a>. With keys in use, send
<code>Authorization: Bearer KEY</code>. What is not answered comes back as
<code>{"error": {"code", "message", "field"}}</code>.</p>
<!-- operations -->
</main>
</body>
</html>
"""
