"""Speculation with networks: bundled ones in every case of vocabularies, and real ones with a known acceptance."""

from __future__ import annotations

import json
import random
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from consort.cooperate.speculate import Draft, Speculate
from consort.cooperate.speculate.drafters.draft import branches_of
from consort.core.types import Sampling
from consort.lab import path as lab_path
from consort.models import HFModel, load_model
from consort.models.abilities import able
from consort.testing.speculation_laws import same_answers

PROMPTS = ["the quick", "a", "one two three one two", "Tom and"]
CASES: dict[str, dict[str, Any]] = {
    "model": {"draft": "draft"},
    "tree": {"draft": "draft", "drafter": "tree", "gamma": 4},
    "sampled_tree": {"draft": "draft", "drafter": "sampled_tree"},
    "adaptive": {"draft": "draft", "adapt": True},
    "lookup": {"drafter": "lookup", "gamma": 10},
    "ngram": {"drafter": "ngram"},
    "tli": {"draft": "pivot"},
    "slem": {"draft": "pivot", "vocabulary": "slem"},
    "tli of another family": {"draft": "teacher-south"},
    "slem of another family": {"draft": "teacher-south", "vocabulary": "slem"},
}


@cache
def lab(name: str) -> HFModel:
    return load_model(lab_path(name), device="cpu")


def made(case: str) -> Speculate:
    options = dict(CASES[case])
    draft = options.pop("draft", None)
    return Speculate(lab("target"), None if draft is None else lab(draft), **options)


def state(model: HFModel) -> tuple[Any, ...]:
    digest = sha256(b"".join(t.numpy().tobytes() for t in model.module.state_dict().values())).hexdigest()
    return digest, [type(m) for m in model.module.modules()], model.module.lm_head.weight.shape


@pytest.mark.parametrize("case", CASES)
def test_greedy_answers_are_the_targets_and_models_stay_as_they_were(case: str) -> None:
    model = made(case)
    before = [state(m) for m in model.members]
    same_answers(model, model.target, PROMPTS, Sampling(max_tokens=64))
    assert [state(m) for m in model.members] == before


@pytest.mark.parametrize("case", ["model", "tree", "sampled_tree", "tli", "slem"])
def test_a_sampled_batch_is_its_rows(case: str) -> None:
    """Up to rounding: logits of a batch and of a single row differ in the last bits, which draws rarely notice."""
    model, sampling = made(case), Sampling(max_tokens=24, temperature=0.8, top_p=0.9, seed=4)
    together = [a.text for a in model.generate(PROMPTS, sampling)]
    assert together == [model.generate([p], sampling)[0].text for p in PROMPTS]


def test_a_good_draft_is_accepted_and_a_tree_more() -> None:
    def accepted(case: str) -> float:
        answers = made(case).generate(PROMPTS, Sampling(max_tokens=64))
        told = [a.details["speculation"] for a in answers]
        return sum(sum(t["accepted_at"]) for t in told) / sum(t["rounds"] for t in told)

    chain, tree = accepted("model"), accepted("tree")
    assert chain > 0.5
    assert tree > chain


def stories(shared: Path) -> list[str]:
    lines = (shared / "eval/tinystories/stories.jsonl").read_text("utf-8").splitlines()[:100]
    return [json.loads(line)["text"] for line in lines]


def test_acceptance_of_stories_onto_bit(shared: Path) -> None:
    """Sum of min(p, q) along the text of 100 stories, 256 tokens of each, bos included."""
    target, draft = (load_model(shared / "models" / name, device="cpu") for name in ("bit-3M", "stories260K"))
    total, positions = 0.0, 0
    for text in stories(shared):
        tokens = target.tokenizer.encode(text)[:256]
        p, q = (model.open(1).feed([tokens[:-1]])[0].softmax(-1) for model in (target, draft))
        total += float(torch.minimum(p, q).sum())
        positions += len(p)
    assert total / positions == pytest.approx(0.783, abs=0.01)


def test_real_drafts_are_accepted_as_often_as_they_overlap(shared: Path) -> None:
    """Sampled speculation measures what teacher forcing predicts, within three standard errors and a drift of text."""
    target, draft = (load_model(shared / "models" / name, device="cpu") for name in ("bit-3M", "stories260K"))
    model = Speculate(target, draft)
    answers = model.generate(["Once upon a time"] * 12, Sampling(max_tokens=120, temperature=1.0))
    told = [a.details["speculation"] for a in answers]
    stood = sum(sum(t["accepted_at"]) for t in told)
    tested = sum(round(sum(t["accepted_at"]) / t["acceptance"]) for t in told)
    overlaps = [float(torch.minimum(p, q).sum(-1).mean()) for p, q in along(target, draft, answers)]
    expected = sum(overlaps) / len(overlaps)
    assert stood / tested == pytest.approx(expected, abs=3 * (expected * (1 - expected) / tested) ** 0.5 + 0.02)


def along(target: HFModel, draft: HFModel, answers: Any) -> Any:
    prompt = target.tokenizer.encode("Once upon a time")
    for answer in answers:
        tokens = [*prompt, *answer.tokens]
        yield tuple(m.open(1).feed([tokens[:-1]])[0][len(prompt) :].softmax(-1) for m in (target, draft))


def test_bfloat16_differs_at_near_ties_only() -> None:
    """A pass over six tokens rounds otherwise than one over one: answers may part only where two logits are close."""
    target, draft = (load_model(lab_path(name), device="cpu", dtype="bfloat16") for name in ("target", "draft"))
    plain = target.generate(PROMPTS, Sampling(max_tokens=64))
    for prompt, a, b in zip(
        PROMPTS, Speculate(target, draft).generate(PROMPTS, Sampling(max_tokens=64)), plain, strict=True
    ):
        parted = next((i for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=False)) if x != y), None)
        if parted is not None:
            read = [*target.tokenizer.encode(prompt), *b.tokens[:parted]]
            first, second = target.open(1).feed([read], last=True)[0][0].topk(2).values.tolist()
            assert first - second <= 0.05


def test_a_thousand_steps_forth_and_back_leave_no_trace() -> None:
    rng, session, rows = random.Random(0), lab("draft").open(3), [list[int]() for _ in range(3)]
    for step in range(1000):
        new = [[rng.randrange(400) for _ in range(rng.choice((0, 1, 6)))] for _ in rows]
        new = [more if len(row) + len(more) <= 256 else [] for row, more in zip(rows, new, strict=True)]
        logits = session.feed(new)
        rows = [row + more for row, more in zip(rows, new, strict=True)]
        if step % 100 == 99:
            for got, row, more in zip(logits, rows, new, strict=True):
                fresh = lab("draft").open(1).feed([row])[0][len(row) - len(more) :]
                torch.testing.assert_close(got, fresh, atol=1e-5, rtol=1e-5)
        lengths = [rng.randint(max(0, len(row) - 8), len(row)) if len(row) < 250 else 0 for row in rows]
        session.rollback(lengths)
        rows = [row[:length] for row, length in zip(rows, lengths, strict=True)]


def test_a_tree_is_read_as_its_branches_are() -> None:
    session = lab("target").open(2)
    assert able(session, "tree")
    prompts, nodes, parents = [[5, 6, 7], [8, 9]], [10, 11, 12, 13, 14, 15], [-1, 0, 0, -1, 3, 4]
    session.feed(prompts)
    found = session.feed_tree([nodes, nodes[:3]], [parents, parents[:3]])  # type: ignore[attr-defined]
    for prompt, logits in zip(prompts, found, strict=True):
        branches = branches_of(Draft(nodes[: len(logits)], None, parents[: len(logits)]))
        for branch, row in zip(branches, logits, strict=True):
            alone = lab("target").open(1).feed([[*prompt, *branch]], last=True)[0][0]
            torch.testing.assert_close(row, alone, atol=1e-5, rtol=1e-5)
