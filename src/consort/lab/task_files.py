"""The task files of the lab: what its models are measured on."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from consort.lab.facts import HELD_OUT, RELATIONS, Fact, lessons, table
from consort.lab.folder import make
from consort.lab.operations import SKILLS, WEAVE, Operation, Part, Row, balanced
from consort.lab.prose import stories
from consort.lab.reward import draw_pair
from consort.lab.second_family import B_SKILLS
from consort.lab.statements import ERRORS, plant

Line = Mapping[str, object]
Parts = Mapping[str, Sequence[Line]]


def write_tasks(folder: Path, seed: int) -> None:
    """Every task: a folder with `task.yml` and `dev` and `test` as JSONL. No test line is ever trained on."""
    write_task(folder / "skills", skill_parts(SKILLS, seed))
    write_task(folder / "weave", skill_parts(WEAVE, seed, dev=100, test=300))
    write_task(folder / "b-skills", skill_parts(B_SKILLS, seed))
    write_task(folder / "both", skill_parts({**SKILLS, **B_SKILLS}, seed))
    write_task(folder / "facts", fact_parts(seed))
    write_task(folder / "reward", {part: choices(part, count, seed) for part, count in _SIZES}, metric="choice")
    write_task(folder / "planted", planted_parts(seed), metric="token_f1")
    texts: Parts = {part: [{"text": text} for text in stories(count, part, seed)] for part, count in _SIZES}
    write_task(folder / "text", texts, metric="perplexity")


_SIZES: Sequence[tuple[Part, int]] = (("dev", 200), ("test", 400))


def write_task(folder: Path, parts: Parts, *, metric: str = "exact_match") -> None:
    """A task folder whose `parts` are JSONL files; task.yml names those called dev and test."""

    def write(partial: Path) -> None:
        for name, lines in parts.items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (partial / f"{name}.jsonl").write_text(text, encoding="utf-8")
        options = f"dev: dev.jsonl\ntest: test.jsonl\nmetric: {metric}\nmax_tokens: 16\n"
        (partial / "task.yml").write_text(options, encoding="utf-8")

    make(folder, write)


def skill_parts(skills: Mapping[str, Operation], seed: int, *, dev: int = 50, test: int = 100) -> Parts:
    """`dev` and `test` examples of every skill, the skills in turn, so that any prefix is balanced."""
    return {
        "dev": [asdict(row) for row in balanced(skills, dev, "dev", seed)],
        "test": [asdict(row) for row in balanced(skills, test, "test", seed)],
    }


def fact_parts(seed: int) -> Parts:
    """Both teachers' facts in the held-out phrasing, every third country dev; `train`: in the other phrasings.

    `train` is what a fusion may read. The lines alternate between the teachers; their group says whose fact it is.
    """
    facts = table(seed)
    halves = [[fact for fact in facts if fact.group == group] for group in ("north", "south")]
    turns = [fact for pair in zip(*halves, strict=True) for fact in pair]
    countries = 2 * len(RELATIONS)
    return {
        "dev": [_line(fact) for i, fact in enumerate(turns) if i // countries % 3 == 0],
        "test": [_line(fact) for i, fact in enumerate(turns) if i // countries % 3 != 0],
        "train": [asdict(row) for row in lessons(turns, ("north", "south"))],
    }


def _line(fact: Fact) -> Line:
    return asdict(fact.row(HELD_OUT))


def choices(part: Part, count: int, seed: int) -> list[Line]:
    """Pairs of answers to skill prompts, the right one at a random place."""
    rng = random.Random(f"{seed}:{part}:reward")
    lines: list[Line] = []
    for _ in range(count):
        pair, answer = draw_pair(rng, part), rng.randrange(2)
        both = [pair.rejected, pair.rejected]
        both[answer] = pair.chosen
        lines.append({"prompt": pair.prompt, "choices": both, "answer": answer, "group": pair.group})
    return lines


def planted_parts(seed: int) -> Parts:
    """`answers`: answers about sources, half of them with one planted error, as `consort check` reads them.

    `dev` and `test`, as a task: the source, and what is said of it without the error.
    """
    rng = random.Random(f"{seed}:planted")
    kinds = [ERRORS[i // 2 % len(ERRORS)] if i % 2 else None for i in range(300)]
    planted = [plant(rng, error) for error in kinds]
    pairs: list[Line] = [{"prompt": one.source, "target": one.meant, "group": one.error or "right"} for one in planted]
    answers: list[Line] = [
        {"answer": one.answer, "source": one.source, "right": one.error is None, "details": {"error": one.error}}
        for one in planted
    ]
    return {"dev": pairs[:100], "test": pairs[100:], "answers": answers}


def read_rows(path: Path) -> list[Row]:
    """The rows of an exact-match task's file."""
    return [Row(line["prompt"], line["target"], line["group"]) for line in read_lines(path)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a task's file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
