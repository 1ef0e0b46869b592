"""A page as what a reader does with it: texts, files to write, Python to run, commands to type and what they print.

```yaml                 a file, where its first line is a comment with its name (`# team.yml`)
```json title="a.json"  a file, where a comment is not possible
```python               Python; a ```text block right below is what it prints
```console              `$ command` lines, each with what it prints below (nothing: not shown)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
NAMED = re.compile(r"# ([\w./-]+\.\w+)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """`kind`: text (Markdown), shown (a fence to read only), file, python, printed or console; `name`: a file's."""

    kind: str
    text: str
    name: str = ""
    line: int = 1
    language: str = ""


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page in order; texts that are empty are left out."""
    end, last = 0, ""
    for fence in FENCE.finditer(page):
        between = page[end : fence.start()]
        if between.strip():
            yield Block("text", between.strip("\n") + "\n", line=page.count("\n", 0, end) + 1)
        language, title, text = fence[1], TITLE.search(fence[2]), fence[3]
        named = NAMED.match(text)
        name = title[1] if title else named[1] if named else ""
        printed = language == "text" and last == "python" and not between.strip()
        kind = "file" if name else "printed" if printed else language if language in ("python", "console") else "shown"
        yield Block(kind, text, name, page.count("\n", 0, fence.start()) + 1, language)
        end, last = fence.end() + 1, kind
    if page[end:].strip():
        yield Block("text", page[end:].strip("\n") + "\n", line=page.count("\n", 0, end) + 1)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, those over several lines joined, each with what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, printed = re.sub(r" *\\\n\s*", " ", part).partition("\n")
        yield command.strip(), printed.rstrip("\n")
