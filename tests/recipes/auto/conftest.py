"""A task that no one model can do, with all that `auto` may be given.

The colours of the dams are known to no model, an index has them, and one of two endpoints (fakes) can read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consort import lab
from consort.knowledge.build import build
from consort.models.fake import FakeModel
from consort.server.run import Server

COLOURS = ("amber", "cobalt", "ochre", "teal", "ivory", "maroon")
DAMS = [f"{first}{last}" for first in ("oru", "vel", "kim", "tas", "nod", "pil") for last in ("ak", "em", "il", "os")]
FACTS = {dam: COLOURS[(5 * i + i // 6) % len(COLOURS)] for i, dam in enumerate(DAMS)}


def rows_of(task: str, group: str, part: str) -> list[dict[str, Any]]:
    """Rows of one skill."""
    lines = (lab.path(f"tasks/{task}") / f"{part}.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["group"] == group]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def clerk(prompt: str) -> str:
    """Knows nothing, and reads: the colour of a dam where a text that it is shown says so."""
    asked = re.findall(r"colour is the dam (\w+)", prompt)
    found = re.search(rf"the dam {asked[-1]} is (\w+)", prompt) if asked else None
    return found[1] if found else "unknown"


def sorter(prompt: str) -> str:
    """Puts letters into order, and does nothing else."""
    found = re.search(r"order ((?:\w )+)=\s*$", prompt)
    return " ".join(sorted(found[1].split())) if found else "unknown"


@dataclass(frozen=True)
class Everything:
    """A task of four groups (two skills of one family, one of another, facts), an index, rows to train on."""

    task: Path
    index: Path
    train: Path
    endpoints: tuple[str, str]


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    here = tmp_path_factory.mktemp("everything")
    for part, many in (("dev", slice(0, 16)), ("test", slice(16, 24))):
        facts = [(dam, FACTS[dam]) for dam in DAMS[many]]
        rows = [{"prompt": f"what colour is the dam {dam} ?", "target": c, "group": "fact"} for dam, c in facts]
        for task, group in (("skills", "mirror"), ("skills", "order"), ("b-skills", "echo")):
            rows += rows_of(task, group, part)[: len(facts)]
        write_rows(here / f"task/{part}.jsonl", rows)
    (here / "task/task.yml").write_text("{dev: dev.jsonl, test: test.jsonl, metric: exact_match, max_tokens: 16}")
    known = [{"id": dam, "text": f"the dam {dam} is {colour} ."} for dam, colour in FACTS.items()]
    index = build([write_rows(here / "docs/dams.jsonl", known)], here / "index")
    unseen = [row for group in ("mirror", "order") for row in rows_of("skills", group, "dev")[20:50]]
    train = write_rows(here / "train.jsonl", unseen)
    with Server(models={"clerk": FakeModel(clerk), "sorter": FakeModel(sorter)}, port=0) as server:
        names = (f"openai:{name}@{server.url}/v1" for name in ("clerk", "sorter"))
        yield Everything(here / "task", index, train, (next(names), next(names)))
