"""Text from elsewhere as it may be shown: what would move a cursor, ring a bell or turn the writing is spelled out."""

from __future__ import annotations

import json
import unicodedata

HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Unicode categories of characters that a terminal obeys or does not show; joiners inside words are among them."""
KEPT = "\n\t\u200c\u200d"


def visible(text: str) -> str:
    r"""The same text with control characters and overrides of direction written as escapes.

    >>> visible("red \x1b[31m, turned \u202e")
    'red \\x1b[31m, turned \\u202e'
    """
    return "".join(c if c in KEPT or unicodedata.category(c) not in HIDDEN else _escape(c) for c in text)


def in_json(text: str) -> str:
    r"""The same JSON document with such characters written as JSON escapes them; its values stay what they are.

    >>> in_json('{"name": "\u202ex"}') == '{"name": "' + chr(92) + 'u202ex"}'
    True
    """
    return "".join(c if c in KEPT or unicodedata.category(c) not in HIDDEN else json.dumps(c)[1:-1] for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()
