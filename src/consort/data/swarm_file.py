"""The evaluation files of Model Swarms (2410.11163): one JSON object with lists `dev` and `test`.

An entry has a `question` with `choices` by letter and the letter of the `answer` (multiple choice, 10 tokens); or a
`question` with a text as `answer`, which the output must contain (10 tokens; GSM8k: 200, in the last 5 words); or a
`prompt` alone, for rewards and judges (200 tokens). `domain` is the group. `icl_prompt` comes before each question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consort.core.errors import BadData
from consort.core.files import machine_errors
from consort.data.rows import COLUMNS, SPLITS, Row

SUFFIX = ".json"
MOST_BYTES = 1 << 28
"""A larger file is no document; it may be one of lines."""
CHOICE = {"max_tokens": 10}
PROMPT = {"max_tokens": 200}
BY_DATASET = {"gsm8k": {"max_tokens": 200, "last_words": 5}}
SHORT = {"max_tokens": 10}
SETTINGS = {"choices": ("multiple_choice", CHOICE), "answer": ("contains", SHORT), "prompt": ("quality", PROMPT)}
"""By what an entry has: the metric, and how models are asked."""


def read_document(path: Path) -> Mapping[str, Any] | None:
    """The object of a JSON file that has `dev` or `test`; None for a file of another kind, as of one object a line."""
    if path.suffix != SUFFIX or not path.is_file():
        return None
    try:
        with machine_errors(path), open(path, "rb") as file:
            if path.stat().st_size > MOST_BYTES or b"\0" in file.read(1 << 16):
                return None
            file.seek(0)
            found = json.loads(file.read(MOST_BYTES))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and set(found) & set(SPLITS) else None


def rows_of(document: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any], dict[str, list[Row]]]:
    """Metric, options and the rows of each split, as of a task file's lines. Raises BadData."""
    kind, entries = "", {}
    for split in SPLITS:
        own = document.get(split, [])
        if not isinstance(own, list):
            raise BadData("is not a list", field=f"{name}: {split}", hint="a list of {question, choices, answer}")
        for i, entry in enumerate(own):
            found = _kind(entry, f"{name}: {split}[{i}]")
            if kind and found != kind:
                hint = "all have choices, or all an answer, or all a prompt alone"
                raise BadData("is of another kind than those before", field=f"{name}: {split}[{i}]", hint=hint)
            kind = found
        entries[split] = own
    before = document.get("icl_prompt") or ""
    if not isinstance(before, str):
        raise BadData("is not a text", field=f"{name}: icl_prompt", hint="what comes before each question")
    metric, options = SETTINGS[kind or "prompt"]
    options = BY_DATASET.get(str(document.get("dataset")).lower(), options) if kind == "answer" else options
    rows = {
        split: [_row(entry, kind, before, f"{name}: {split}[{i}]") for i, entry in enumerate(own)]
        for split, own in entries.items()
    }
    return metric, options, rows


def _kind(entry: Any, where: str) -> str:
    hint = '{"question": …, "choices": {"A": …, "B": …}, "answer": "A"}'
    if not isinstance(entry, Mapping):
        raise BadData("is not an object", field=where, hint=hint)
    foreign = [key for key in entry if key in COLUMNS and key not in SETTINGS]
    if foreign:
        hint = "such columns belong to a .jsonl file, one object a line"
        raise BadData(f"unknown key {foreign[0]!r}", field=where, hint=hint)
    subject = "question" if "answer" in entry else "prompt"
    if not isinstance(entry.get(subject), str):
        raise BadData(f"has no {subject}", field=where, hint=hint)
    return next(kind for kind in SETTINGS if kind in entry)


def _row(entry: Mapping[str, Any], kind: str, before: str, where: str) -> Row:
    """The columns of a task's line."""
    group = entry.get("domain")
    row: Row = {} if group is None else {"group": group}
    if kind == "prompt":
        return row | {"prompt": entry["prompt"]}
    answer = entry["answer"]
    if kind == "answer":
        return row | {"prompt": f"{before}\n\n{entry['question']}" if before else entry["question"], "target": answer}
    choices = entry["choices"]
    letters = list(choices) if isinstance(choices, Mapping) else []
    if answer not in letters or letters != [chr(ord("A") + i) for i in range(len(letters))]:
        hint = '"choices": {"A": …, "B": …}, in order, and one of the letters as "answer"'
        raise BadData(f"the answer {answer!r} is no option", field=where, hint=hint)
    shown = "".join(f"{letter}: {text}\n" for letter, text in choices.items())
    prompt = f"Question: {entry['question']}\n{shown}The answer is"
    return row | {
        "prompt": f"{before}\n\n{prompt}" if before else prompt,
        "choices": list(choices.values()),
        "answer": letters.index(answer),
    }
