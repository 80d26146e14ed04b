"""The documentation of the HTTP API as one HTML page: a section for each route, with types, a command and its body."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from pasand.serving.http.openapi import Operation, document, options

EXAMPLES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/recommend"): {"user_id": "u1", "k": 5, "explain": True},
    ("POST", "/v1/home"): {"history": ["ITEM"], "features": {}},
    ("POST", "/v1/onboarding"): {"user_id": "u1", "skipped": ["ITEM"], "k": 3},
    ("PUT", "/v1/items/{id}"): {"features": {"title": "A title"}},
    ("POST", "/v1/events"): {"id": "event-1", "user_id": "new-user", "item_id": "ITEM"},
    ("POST", "/v1/admin/reload"): {},
    ("POST", "/v1/admin/rollback"): {},
}
"""Bodies of the commands, by method and path; ITEM becomes the id of an item."""
ADDRESS = "http://127.0.0.1:8000"


def page(operations: Sequence[Operation], item: str = "ITEM", address: str = ADDRESS) -> str:
    """Return the documentation as one HTML page, which loads nothing but its style sheet and its icon.

    The commands request this item from the service at this address.
    """
    components = document(operations)["components"]["schemas"]
    used = sorted({one.__name__ for each in operations for part in (each.body, each.response) for one in options(part)})
    sections = "\n".join(_section(operation, command(operation, item, address)) for operation in operations)
    structures = "\n".join(_structure(name, components[name]) for name in sorted({*used, *components}))
    listed = "".join(
        f'<li><a href="#{_anchor(each)}"><b>{each.method}</b> <code>{escape(each.path)}</code></a></li>'
        for each in operations
    )
    about = "" if item != "ITEM" else "<code>ITEM</code> is the id of an item, "
    return PAGE.format(routes=listed, operations=sections, structures=structures, item=about)


def _anchor(operation: Operation) -> str:
    return escape(f"{operation.method}-{operation.path.strip('/').replace('/', '-') or 'page'}".replace("{id}", "id"))


def _section(operation: Operation, line: str) -> str:
    """Return the HTML of one operation with its command."""
    scope = f" <small>key of scope {operation.scope}</small>" if operation.scope else ""
    rows = "".join(
        f"<tr><th scope=row><code>{escape(name.removeprefix('*'))}</code></th><td>{kind.__name__}"
        f"{', required' if name.startswith('*') else ''}</td><td>{escape(meaning)}</td></tr>"
        for name, kind, meaning in operation.query
    )
    table = f"<div class=scroll tabindex=0 role=region aria-label='Parameters of {escape(operation.path)}'>"
    query = f"{table}<table><tbody>{rows}</tbody></table></div>" if rows else ""
    body = f"<p>Body: {_links(operation.body)}</p>" if operation.body is not None else ""
    response = f"<p>Response: {_links(operation.response)}</p>" if operation.response is not None else ""
    return (
        f'<section id="{_anchor(operation)}"><h2><b>{operation.method}</b> <code>{escape(operation.path)}</code>{scope}'
        f"</h2><p>{escape(operation.summary)}</p>{query}{body}{response}"
        f"<pre tabindex=0><code>{escape(line)}</code></pre></section>"
    )


def command(operation: Operation, item: str = "ITEM", address: str = ADDRESS) -> str:
    """Return a curl command for an operation on an item, or on a new one where it writes.

    >>> command(Operation("GET", "/v1/items/{id}/similar", "", "read"), "3 Idiots")
    "curl -s 'http://127.0.0.1:8000/v1/items/3%20Idiots/similar'"
    """
    writes = operation.method in ("PUT", "DELETE")
    path = operation.path.replace("/users/{id}", f"/users/{'new-user' if writes else 'u1'}")
    path = path.replace("{id}", "new-item" if writes else quote(item, safe=""))
    required = "&".join(f"{name[1:]}={quote(item, safe='')}" for name, _, _ in operation.query if name.startswith("*"))
    body = EXAMPLES.get((operation.method, operation.path))
    method = "" if operation.method == ("GET" if body is None else "POST") else f"-X {operation.method} "
    key = " -H 'x-api-key: KEY'" if operation.scope == "admin" else ""
    line = f"curl -s {method}'{address}{path}{f'?{required}' if required else ''}'{key}"
    if body is None:
        return line
    text = json.dumps(body, ensure_ascii=False).replace('"ITEM"', json.dumps(item, ensure_ascii=False))
    return f"{line} --json {shlex.quote(text)}"


def _links(structure: Any) -> str:
    names = [option.__name__ for option in options(structure)]
    return " or ".join(f'<a href="#{name}"><code>{name}</code></a>' for name in names)


def _structure(name: str, schema: dict[str, Any]) -> str:
    """Return the HTML of a structure: its fields with their types, and what must be given."""
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><th scope=row><code>{escape(field)}</code></th><td>{_type(kind)}"
        f"{', required' if field in required else ''}{_default(kind)}</td></tr>"
        for field, kind in schema.get("properties", {}).items()
    )
    about = escape(str(schema.get("description", "")).partition("\n")[0])
    return (
        f'<section id="{name}"><h3><code>{name}</code></h3><p>{about}</p><div class=scroll tabindex=0 role=region '
        f"aria-label='Fields of {name}'><table><tbody>{rows}</tbody></table></div></section>"
    )


def _type(schema: dict[str, Any]) -> str:
    """Return a JSON schema in words, with links to structures."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(map(escape, kind)) + _examples(schema)
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return escape(" ".join([str(kind), *bounds]))


def _examples(schema: dict[str, Any]) -> str:
    examples = " or ".join(f"<code>{escape(json.dumps(one))}</code>" for one in schema.get("examples", ()))
    return f", such as {examples}" if examples else ""


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, [], {}) else f", by default <code>{escape(json.dumps(default))}</code>"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>HTTP API · pasand</title>
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/docs.css">
</head>
<body>
<main>
<p><a href="./">pasand</a></p>
<h1>HTTP API</h1>
<p>The same as a document for programs: <a href="openapi.json">openapi.json</a>. If the service uses API keys, send
<code>Authorization: Bearer KEY</code>. Every error response is an
<a href="#ErrorResponse"><code>ErrorResponse</code></a>. Ids are texts; a whole number is read as its digits. In the
commands, {item}<code>u1</code> is the id of a user, and <code>KEY</code> the key in the file
<code>admin-key</code>.</p>
<nav aria-label="Routes"><ul>{routes}</ul></nav>
{operations}
<h2>Structures</h2>
{structures}
</main>
</body>
</html>
"""
