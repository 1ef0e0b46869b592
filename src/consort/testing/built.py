"""Any registered model, built of small exact models: what laws over all registries need.

Arguments follow from the types that a signature asks for, and from what a method's decorator gives as `example`: plain
values, for a model the number of one of the law's models or the name of a strategy over them.
"""

from __future__ import annotations

import json
import sqlite3
import string
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from consort.core.catalogue import registries
from consort.core.errors import Unsupported
from consort.core.params import Param
from consort.core.registry import Registry
from consort.core.types import Prompt, Usage
from consort.knowledge.evidence import Evidence
from consort.models import ByteTokenizer, FakeTokenizer, FakeTokenModel, HFModel, TokenModel
from consort.testing.law import DoesNotApply, Law
from consort.testing.queries import observed

LETTERS = string.ascii_lowercase + " \n" + string.digits + string.ascii_uppercase + string.punctuation
KINDS = ("router", "ensemble", "answer", "speculate", "transfer", "mixture", "compress", "guard", "retrieve", "private")
"""Registries of models that are made of models."""
TAUGHT = (("Ann has a key.\n\n", "Who has it?", " Ann"), ("It rains.\n\n", "What does it do?", " It rains."))
"""Contexts, questions and answers for strategies that are taught by such."""


def strategies(kinds: Sequence[str] = KINDS) -> dict[str, Registry[Any]]:
    """The registry of each strategy over models, by name."""
    return {name: registry for registry in registries() if registry.kind in kinds for name in registry}


def letters_model(seed: int, name: str = "") -> FakeTokenModel:
    """Logits fixed by the seed, all negative, that depend on the last token; a token is a letter."""
    tokenizer = FakeTokenizer(LETTERS)
    size = tokenizer.vocab_size
    table = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) / 2 - 9
    table[:, tokenizer.bos], table[:, tokenizer.eos] = -99, -11
    rows = table.tolist()
    return FakeTokenModel(lambda tokens: rows[tokens[-1]], tokenizer, name=name or f"letters-{seed}")


@cache
def open_model(seed: int = 0) -> TokenModel:
    """A small random model of transformers whose hidden states are open; bytes are its tokens."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, eos_token_id=0, bos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)  # fresh weights are too alike to tell mistakes
    return HFModel(f"open-{seed}", module, ByteTokenizer(bos=1, eos=0))


class StubJudge:
    """Stands for a judge: the longer the better; of two texts by the difference."""

    name = "judge"

    def open(self) -> None:
        """It is open."""

    def rewards(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], Usage]:
        """The length of each answer."""
        return [float(len(answer)) for answer in answers], Usage(1, 0, 1)

    def compare(self, source: str, pairs: Sequence[tuple[str, str]]) -> tuple[list[float], Usage]:
        """How much longer the first of each pair is than the second."""
        return [float(len(a) - len(b)) for a, b in pairs], Usage(1, 0, 1)


class StubRetriever:
    """Finds the same text for every query."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        """One piece for each query."""
        return [[Evidence("1", "abc is cab", 1.0, query=query)][:k] for query in queries]


class NoFolder:
    """Stands for a checkpoint of a judge that is not opened."""

    name, path = "judge", None


def built(
    registry: Registry[Any],
    name: str,
    models: Sequence[Any],
    *,
    fit: bool = True,
    given: Mapping[str, Any] = MappingProxyType({}),
    **more: Any,
) -> Any:
    """The strategy `name` over `models`, fitted where it needs that; `more` and `given` stand over its example."""
    entry, turn = registry.entry(name), cycle(models)
    example = {**entry.options.get("example", {}), **more, **given}
    wanted = [p for p in entry.params if p.required or p.name in example]
    strategy = registry.get(name)(**{p.name: _argument(p, example, models, turn) for p in wanted})
    if isinstance(getattr(getattr(strategy, "judge", None), "checkpoint", None), NoFolder):
        strategy.judge = StubJudge()
    if fit and hasattr(strategy, "study"):
        texts, _, references = zip(*TAUGHT, strict=True)
        strategy, _ = strategy.study(texts, references[::-1], references, [False] * len(texts))
    elif fit and getattr(strategy, "needs_fit", False):
        if not hasattr(strategy, "fit"):
            strategy.learn(TAUGHT, Path(tempfile.mkdtemp(prefix="consort-law-")) / "soft.safetensors", steps=1)
        else:
            strategy = strategy.fit(_observed(strategy))
    return strategy


def _argument(p: Param, example: dict[str, Any], models: Sequence[Any], turn: Iterator[Any]) -> Any:
    value = example.get(p.name)
    if p.type != "model" and value is not None:
        return value
    if p.type == "model":
        if isinstance(value, int):
            return models[value]
        if isinstance(value, str):
            return built(strategies()[value], value, models)
        if value is not None:
            return value
        return list(models) if p.many else next(turn)
    if p.type == "checkpoint" and value is None:
        found = [one for one in models if hasattr(one, "spec")] or [NoFolder()]
        return found if p.many else found[0]
    if p.type == "judge":
        return StubJudge()
    if p.type == "retriever":
        return StubRetriever()
    if p.name == "database" and value is None:
        return database_file()
    return task_file() if p.name == "examples" and value is None else value


def exempt(registry: Registry[Any], name: str) -> dict[str, str]:
    """The laws that a method does not keep, each with the reason, as its decorator says: `exempt={LAW: REASON}`."""
    return dict(registry.entry(name).options.get("exempt", {}))


def run(registry: Registry[Any], laws: Sequence[Law], name: str) -> list[str]:
    """Every law over one name but those that it is exempt from; the names of the laws that held.

    Raises AssertionError where one is broken.
    """
    reasons, kept = exempt(registry, name), []
    for law in laws:
        with suppress(DoesNotApply):
            if law.__name__ not in reasons:
                law(name)
                kept.append(law.__name__)
    return kept


@cache
def task_file() -> str:
    """A task of a few letters, solved."""
    file = Path(tempfile.mkdtemp(prefix="consort-law-")) / "task.jsonl"
    lines = [{"prompt": text, "target": "a"} for text in ("ab", "ba", "aab", "bba", "abab", "bb", "a", "b")]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(file)


@cache
def database_file() -> str:
    """A database of one small table."""
    file = Path(tempfile.mkdtemp(prefix="consort-law-")) / "t.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');")
    return str(file)


def _observed(strategy: Any) -> Any:
    seen = observed(len(strategy.models))
    texts = tuple(tuple(f"{q:g}" for q in row) for row in seen.quality)
    return replace(seen, answers=texts)


def members_for(registry: Registry[Any], name: str) -> list[Any]:
    """Models that a strategy can work with: of transformers where it needs layers, folders where it needs weights."""
    if any(p.type == "checkpoint" and p.many for p in registry.entry(name).params):
        from consort import lab
        from consort.weights import open_checkpoint

        return [open_checkpoint(lab.path(one)) for one in ("base", "mirror", "order")]
    plain = [letters_model(seed) for seed in range(3)]
    try:
        built(registry, name, plain).generate(["ab"])
    except Unsupported:
        return [open_model(seed) for seed in range(3)]
    return plain
