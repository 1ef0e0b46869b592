"""Ensembles of real models: story models of one vocabulary, lab models of two."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from consort.core.types import Sampling
from consort.ensemble.during.average import Average
from consort.ensemble.during.cp_delta import CpDelta
from consort.ensemble.during.deepen import Deepen
from consort.ensemble.during.eva import Eva
from consort.ensemble.during.gac import Gac
from consort.ensemble.during.pack_llm import PackLlm
from consort.ensemble.during.spec_fuse import SpecFuse
from consort.ensemble.during.unite import Unite
from consort.lab import path
from consort.models import HFModel, TokenModel, load_model
from consort.models.bytewise.model import AsBytes

PAIR = ("stories260K", "bit-3M")
KNOWN: list[tuple[Any, dict[str, Any], float]] = [
    (Average, {}, 3.966),
    (PackLlm, {"rule": "sim"}, 3.954),
    (CpDelta, {}, 4.015),
]
"""Perplexities on 100 stories; the models alone have 4.672 and 4.093."""
ACROSS: list[Any] = [Gac, Unite, PackLlm, Deepen, Eva, SpecFuse]


@cache
def model(folder: Path) -> HFModel:
    return load_model(folder, device="cpu")


def perplexity(one: TokenModel, shared: Path, count: int) -> float:
    lines = (shared / "eval/tinystories/stories.jsonl").read_text("utf-8").splitlines()[:count]
    values = one.logprobs([one.tokenizer.encode(json.loads(line)["text"])[:256] for line in lines])
    return math.exp(-sum(float(v.double().sum()) for v in values) / sum(map(len, values)))


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "options", "wanted"), KNOWN, ids=lambda x: getattr(x, "__name__", ""))
def test_perplexities_on_100_stories(shared: Path, strategy: Any, options: dict[str, Any], wanted: float) -> None:
    team = strategy([model(shared / "models" / name) for name in PAIR], **options)
    assert perplexity(team, shared, 100) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("strategy", [Gac, Deepen, lambda models: Unite(models, top_k=512)])
def test_over_one_vocabulary_all_are_the_average(shared: Path, strategy: Any) -> None:
    models = [model(shared / "models" / name) for name in PAIR]
    assert perplexity(strategy(models), shared, 3) == pytest.approx(perplexity(Average(models), shared, 3), rel=1e-4)


def test_the_average_is_better_than_both(shared: Path) -> None:
    models = [model(shared / "models" / name) for name in PAIR]
    alone = [perplexity(one, shared, 10) for one in models]
    assert perplexity(Average(models), shared, 10) < min(alone)


@pytest.mark.parametrize("strategy", ACROSS)
@pytest.mark.parametrize(("first", "other"), [("mirror", "b-echo"), ("b-echo", "mirror")])
def test_across_lab_tokenizers_all_weight_on_the_first_is_the_first(strategy: Any, first: str, other: str) -> None:
    models = [model(path(name)) for name in (first, other)]
    prompts, sampling = ["mirror a b c =", "echo r y a =", "order d b =", "a"], Sampling(max_tokens=8)
    got, wanted = (m.generate(prompts, sampling) for m in (strategy(models, weight=[1, 0]), models[0]))
    assert [a.text for a in got] == [a.text for a in wanted]


@pytest.mark.parametrize("strategy", ACROSS)
def test_across_lab_tokenizers_batch_is_single(strategy: Any) -> None:
    team = strategy([model(path("b-echo")), model(path("mirror"))])
    prompts, sampling = ["mirror a b c =", "echo r y a =", "echo d b =", "a"], Sampling(max_tokens=8)
    together = team.generate(prompts, sampling)
    assert [a.text for a in together] == [team.generate([prompt], sampling)[0].text for prompt in prompts]
    assert all(len(a.cost) == 2 for a in together)


@pytest.mark.parametrize("strategy", [Gac, Unite, PackLlm, Deepen])
def test_a_sure_model_leads_across_tokenizers(strategy: Any) -> None:
    """Of the model that knows the word most of the mass, of the other little: the answer is the first's."""
    team = strategy([model(path("mirror")), model(path("b-base"))], weight=[4, 1])
    answers = team.generate(["mirror a b c =", "mirror q w e ="], Sampling(max_tokens=8))
    assert [a.text.strip() for a in answers] == ["c b a", "e w q"]


def test_the_average_of_bytes_takes_any_two_models() -> None:
    """Two tokenizers over one alphabet: the byte probabilities are the mean of those of both."""
    models = [AsBytes(model(path(name))) for name in ("b-base", "b-echo")]
    text = [list(b"echo r y a =")]
    each = [m.open().feed(text, last=True)[0].softmax(-1) for m in models]
    got = Average(models, weight=[3, 1]).open().feed(text, last=True)[0].softmax(-1)
    torch.testing.assert_close(got, (3 * each[0] + each[1]) / 4, atol=1e-5, rtol=1e-4)
    pivot = AsBytes(model(path("pivot")))
    (answer,) = Average([models[1], pivot], weight=[1, 0]).generate(["echo r y a ="], Sampling(max_tokens=12))
    assert answer.text == models[1].generate(["echo r y a ="], Sampling(max_tokens=12))[0].text
    (mixed,) = Average([models[1], pivot], weight=[9, 1]).generate(["echo r y a ="], Sampling(max_tokens=12))
    assert set(mixed.cost) == {models[1].model.name, "pivot"}
