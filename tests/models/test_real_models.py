"""Real pretrained models: known perplexities, and answers that do not depend on the batch."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import pytest

from consort.core.errors import BadCheckpoint
from consort.core.types import Sampling
from consort.ensemble.after.cascade import Cascade
from consort.ensemble.during.average import Average
from consort.models import HFModel, TokenModel, load_model
from consort.testing import model_laws as laws

KNOWN = {
    "stories260K": 4.67,
    "stories260K-qat-strong": 9.66,
    "stories260K-qat-384": 9.66,
    "bit-1M": 4.93,
    "bit-3M": 4.093,
    "llama2xs": 8.64,
}


@cache
def model(folder: Path, tokenizer: str | None = None) -> HFModel:
    return load_model(folder, tokenizer=tokenizer, device="cpu")


def stories(shared: Path) -> list[str]:
    lines = (shared / "eval/tinystories/stories.jsonl").read_text("utf-8").splitlines()[:100]
    return [json.loads(line)["text"] for line in lines]


def perplexity(model: TokenModel, texts: list[str]) -> float:
    """Over all predicted tokens together, 256 tokens of a text at most, bos included."""
    values = model.logprobs([model.tokenizer.encode(text)[:256] for text in texts])
    return math.exp(-sum(float(v.double().sum()) for v in values) / sum(map(len, values)))


@pytest.mark.parametrize("name", KNOWN)
def test_perplexity(shared: Path, name: str) -> None:
    assert perplexity(model(shared / "models" / name), stories(shared)) == pytest.approx(KNOWN[name], abs=0.01)


def test_the_average_is_better_than_both(shared: Path) -> None:
    team = Average([model(shared / "models" / name) for name in ("stories260K", "bit-3M")])
    assert perplexity(team, stories(shared)) == pytest.approx(3.966, abs=0.01)


def test_bytes_are_the_tokens_of_rwkv(shared: Path) -> None:
    folder = shared / "models/rwkv4-tiny"
    with pytest.raises(BadCheckpoint, match="rwkv4-tiny: has no tokenizer"):
        load_model(folder)
    bits = math.log2(perplexity(model(folder, "bytes"), stories(shared)[:10]))
    assert bits == pytest.approx(3.5, abs=0.1)


@pytest.mark.parametrize("name", ["stories260K", "bit-3M", "llama2xs"])
def test_greedy_answers_do_not_depend_on_the_batch(shared: Path, name: str) -> None:
    prompts = [text[: 5 + 7 * i] for i, text in enumerate(stories(shared)[:10])]
    sampling, one = Sampling(max_tokens=25), model(shared / "models" / name)
    together = [answer.tokens for answer in one.generate(prompts, sampling)]
    assert together == [one.generate([prompt], sampling)[0].tokens for prompt in prompts]


def test_laws_hold_on_a_real_model(shared: Path) -> None:
    for law in laws.SESSION_LAWS:
        law(model(shared / "models/stories260K"))


def test_a_leading_space_belongs_to_the_answer(shared: Path) -> None:
    one = model(shared / "models/stories260K")
    (answer,) = one.generate(["Once upon"], Sampling(max_tokens=4))
    assert answer.text.startswith(" a time")


def test_a_cascade_asks_the_larger_model_where_the_smaller_is_unsure(shared: Path) -> None:
    small, large = (model(shared / "models" / name) for name in ("stories260K", "bit-3M"))
    prompts = [text[:60] for text in stories(shared)[:20]]
    answers = Cascade([small, large], threshold=0.7).generate(prompts, Sampling(max_tokens=8))
    assert {answer.details["answered_by"] for answer in answers} == {"stories260K", "bit-3M"}
    assert all("stories260K" in answer.cost for answer in answers)
