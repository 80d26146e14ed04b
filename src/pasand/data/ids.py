"""The one rule for ids of users, items and events, which holds wherever an id enters: logs, commands, the service."""

from __future__ import annotations

import re

MAX_LENGTH = 256
"""Characters of an id at most."""
PATTERN = "^(?!\\s)[^\\x00-\\x1f\\x7f-\\x9f]+(?<!\\s)$(?!\\n)"
"""Regular expression of an id, but for its length; `$` alone would accept a line break at the end."""
RULE = f"an id has 1 to {MAX_LENGTH} characters, no control characters, and no spaces around it"
"""The rule in words, for messages."""

_matches = re.compile(PATTERN).search


def fault(text: str) -> str | None:
    """Return what is wrong with an id, None if nothing is.

    >>> fault("a/b"), fault(" a"), fault("")
    (None, 'it has spaces around it', 'it is empty')
    """
    if not text:
        return "it is empty"
    if len(text) > MAX_LENGTH:
        return f"it has {len(text):,} characters; the limit is {MAX_LENGTH}"
    if _matches(text):
        return None
    return "it has spaces around it" if text != text.strip() and text.isprintable() else "it has a control character"
