"""Models that need no weights: answers by rote, and a tokenizer whose tokens are characters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import yaml

from consort.core.types import Completion, Usage
from consort.data.task import Task, load_task


class Rote:
    """Answers each prompt from a table, else with `default`."""

    def __init__(self, name: str, answers: Mapping[str, str], default: str = "") -> None:
        self.name, self.answers, self.default = name, answers, default
        self.asked: list[object] = []

    def generate(self, prompts, sampling):
        self.asked.extend(prompts)
        usage = Usage(prompt_tokens=3, completion_tokens=1, calls=1)
        return [Completion(self.answers.get(p, self.default), usage=usage, cost={self.name: usage}) for p in prompts]


class Characters:
    """Tokens are code points of ASCII; 1 is bos."""

    vocab_size, bos, eos = 128, 1, 2

    def __init__(self, vocabulary_key: str = "characters") -> None:
        self.vocabulary_key = vocabulary_key

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        return [1] * special + [ord(c) for c in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(chr(t) for t in tokens if t > 2)

    def chat(self, prompt) -> str:
        return "".join(f"<{m['role']}>{m['content']}" for m in prompt)


class Uniform:
    """Gives every token probability `p`; likes continuations that start with `liked` better."""

    def __init__(self, name: str, p: float, liked: str = "", vocabulary_key: str = "characters") -> None:
        self.name, self.p, self.liked, self.tokenizer = name, p, liked, Characters(vocabulary_key)
        self.pairs: list[tuple[str, str]] = []

    def score(self, pairs):
        self.pairs.extend(pairs)
        return [0.0 if self.liked and b.startswith(self.liked) else len(b) * math.log(self.p) for _, b in pairs]

    def logprobs(self, token_lists):
        return [np.full(len(tokens) - 1, math.log(self.p), dtype=np.float32) for tokens in token_lists]


@pytest.fixture
def rote():
    return Rote


@pytest.fixture
def uniform():
    return Uniform


@pytest.fixture
def task_of(tmp_path):
    """Rows as a task file, loaded; a YAML file with `settings` if there are any."""

    def make(rows, **settings) -> Task:
        (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        if not settings:
            return load_task(tmp_path / "task.jsonl")
        (tmp_path / "task.yml").write_text(yaml.safe_dump({"test": "task.jsonl"} | settings), encoding="utf-8")
        return load_task(tmp_path / "task.yml", allow_code=True)

    return make
