"""The statement in what a model wrote: a fenced block, or what begins with SELECT or WITH."""

from __future__ import annotations

import re

_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:\n?```|\Z)", re.DOTALL)
_START = re.compile(r"\b(?:SELECT|WITH)\b", re.IGNORECASE)
_TOKENS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|;|\n[ \t]*\n", re.DOTALL)


def statement_in(answer: str) -> str:
    """The first statement of an answer, "" where there is none; it ends at a semicolon or an empty line.

    >>> statement_in("Sure:\\n```sql\\nSELECT ';' FROM t;\\n```")
    "SELECT ';' FROM t"
    >>> statement_in("The query is select a from t\\n\\nIt works.")
    'select a from t'
    """
    fenced = _FENCED.search(answer)
    text = fenced[1] if fenced else answer
    start = _START.search(text)
    if not start:
        return ""
    text = text[start.start() :]
    end = next((t.start() for t in _TOKENS.finditer(text) if t[0][0] not in "'\""), len(text))
    return text[:end].strip()
