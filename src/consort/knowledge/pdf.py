"""The pages of a PDF, read by pypdf in a process of its own that may use neither much time nor much memory."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from consort.core.errors import BadData, MissingExtra, Unsupported

SECONDS, BYTES, PAGES, LETTERS = 60, 2 << 30, 20_000, 1 << 24
"""What reading one file may take: processor time, address space, pages, letters in all."""


def pages_of(path: Path) -> list[str]:
    """The text of each page. Raises BadData for a file that is no PDF or takes too much, MissingExtra."""
    if find_spec("pypdf") is None:
        raise MissingExtra("PDF files need pypdf", field=str(path), hint="pip install 'consort[rag]'")
    if find_spec("resource") is None:
        what = "this system cannot bound what reading a PDF takes"
        raise Unsupported(what, field=str(path), hint="save it as text, or build the index on Linux or macOS")
    program = "import sys; from consort.knowledge.pdf import _main; _main(sys.argv[1])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(path.resolve())], capture_output=True, timeout=4 * SECONDS, check=False
        )
        made = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError):
        made = None
    if not isinstance(made, list):
        why = f"it is no PDF, or takes more than {SECONDS} s or {BYTES >> 30} GiB to read"
        raise BadData(f"cannot be read: {why}", field=str(path), hint="save it as text, or leave it out")
    return [str(page) for page in made]


def _main(path: str) -> None:
    """In the process of its own: print the pages as a JSON list."""
    import logging
    import resource

    import pypdf

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    with suppress(ValueError):  # macOS bounds no addresses; time is bounded there
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    logging.disable(logging.CRITICAL)
    pages: list[str] = []
    letters = 0
    for page in pypdf.PdfReader(path).pages:
        text = page.extract_text().encode("utf-8", "replace").decode()
        letters += len(text)
        if len(pages) >= PAGES or letters > LETTERS:
            raise SystemExit(1)
        pages.append(text)
    print(json.dumps(pages))
