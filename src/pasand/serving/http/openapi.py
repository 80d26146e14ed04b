"""The OpenAPI document of the service, generated from the table of routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pasand import __version__
from pasand.serving import schemas

REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True)
class Operation:
    """Description of one method of one path."""

    method: str
    path: str
    """With the names of path parameters in braces."""
    summary: str
    scope: str | None
    """Scope that an API key must have; None: the operation needs no key."""
    body: Any = None
    """Structure of the request body; None: there is no body."""
    response: Any = None
    """Structure of the response; None: a JSON object of no declared structure."""
    query: tuple[tuple[str, type, str], ...] = ()
    """Query parameters: name, type, meaning; a * before the name marks a required one."""
    content: str = "application/json"
    """Media type of the response."""


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the operations."""
    types = {
        option
        for operation in operations
        for structure in (operation.body, operation.response)
        for option in options(structure)
    }
    ordered = sorted(types | {schemas.ErrorResponse}, key=lambda kind: kind.__name__)
    references, components = msgspec.json.schema_components(ordered, ref_template=REFERENCE)
    by_type = dict(zip(ordered, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _description(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pasand",
            "version": __version__,
            "description": "Recommendations for known, new and anonymous users. Errors have the form of ErrorResponse.",
        },
        "paths": paths,
        "components": {
            "schemas": _with_numbers(components),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _with_numbers(schema: Any) -> Any:
    """Return a JSON schema whose ids are texts or whole numbers, as bodies may have them."""
    if isinstance(schema, list):
        return [_with_numbers(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    is_id = schema.get("examples") == schemas.ID_EXAMPLES["examples"]
    changed = {key: _with_numbers(one) for key, one in schema.items()}
    return {**changed, "type": ["string", "integer"]} if is_id else changed


def options(structure: Any) -> tuple[type, ...]:
    """Return the members of a union, or the structure itself; () for None."""
    return () if structure is None else getattr(structure, "__args__", (structure,))


def _description(operation: Operation, by_type: dict[type, Any]) -> dict[str, Any]:
    def schema_of(structure: Any) -> Any:
        references = [by_type[option] for option in options(structure)]
        return references[0] if len(references) == 1 else {"anyOf": references}

    description: dict[str, Any] = {"summary": operation.summary, "operationId": _operation_id(operation)}
    if parameters := [*_path_parameters(operation), *_query_parameters(operation)]:
        description["parameters"] = parameters
    if operation.body is not None:
        description["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of(operation.body)}},
        }
    json = {"type": "object"} if operation.response is None else schema_of(operation.response)
    schema = json if operation.content == "application/json" else {"type": "string"}
    description["responses"] = {
        "200": {"description": "Success.", "content": {operation.content: {"schema": schema}}},
        "default": {
            "description": "Failure.",
            "content": {"application/json": {"schema": by_type[schemas.ErrorResponse]}},
        },
    }
    if operation.scope is not None:
        description["security"] = [{"key": []}]
        description["description"] = f"Needs a key of scope {operation.scope} if the service uses keys."
    return description


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in (piece.partition("}")[0] for piece in operation.path.split("{")[1:])
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters = []
    for marked, kind, meaning in operation.query:
        name = marked.removeprefix("*")
        schema: dict[str, Any] = {int: {"type": "integer"}, bool: {"type": "boolean"}, str: {"type": "string"}}[kind]
        if name == "k":
            schema = {"type": "integer", "minimum": 1, "maximum": schemas.MAX_ITEMS}
        parameters.append(
            {"name": name, "in": "query", "required": marked != name, "description": meaning, "schema": schema}
        )
    return parameters


def _operation_id(operation: Operation) -> str:
    words = [word.strip("{}") for word in operation.path.split("/") if word and word != "v1"]
    return "_".join([operation.method.lower(), *words]).replace(".", "_")
