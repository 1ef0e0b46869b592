"""Speculation as a decoding method of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
import torch

from consort.cooperate.speculate import custom_generate
from consort.core.errors import Unsupported
from consort.testing.tables import z_score


@pytest.fixture(autouse=True)
def own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def module(seed: int, size: int = 40, hidden: int = 32) -> Any:
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.LlamaConfig(
            vocab_size=size,
            hidden_size=hidden,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        made = transformers.AutoModelForCausalLM.from_config(config).eval()
        for parameter in made.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return made


def fingerprint(made: Any) -> tuple[Any, ...]:
    digest = sha256(b"".join(t.numpy().tobytes() for t in made.state_dict().values())).hexdigest()
    return digest, [type(m) for m in made.modules()], [m.training for m in made.modules()], made.lm_head.weight.shape


PROMPTS = torch.tensor([[0, 0, 5, 9, 11], [7, 8, 9, 7, 8]])
MASK = (PROMPTS != 0).long()


@pytest.mark.parametrize("size", [40, 48])
@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}])
def test_greedy_is_generate(options: dict[str, Any], size: int) -> None:
    target, draft = module(1), module(2, size)
    given = {"attention_mask": MASK, "max_new_tokens": 24, "do_sample": False, **options}
    wanted = target.generate(PROMPTS, **given)
    before = fingerprint(target), fingerprint(draft)
    for method in (custom_generate(draft), custom_generate(), custom_generate(drafter="ngram")):
        assert target.generate(PROMPTS, custom_generate=method, **given).tolist() == wanted.tolist()
    assert (fingerprint(target), fingerprint(draft)) == before


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.7}, {"min_p": 0.1}, {"repetition_penalty": 1.3, "top_k": 8}],
    ids=lambda o: next(iter(o)),
)
def test_processors_see_the_draft_so_far(options: dict[str, Any]) -> None:
    """Pairs of tokens 2 and 3, against one forward pass for each first token, processors applied by hand."""
    target, draft = module(1, 12), module(2, 12)
    many = torch.tensor([[5, 9, 3]]).repeat(1500, 1)
    given = {"do_sample": True, "max_new_tokens": 3, "eos_token_id": None, "top_k": 0, **options}
    shown = target.generate(many, attention_mask=torch.ones_like(many), custom_generate=custom_generate(draft), **given)
    expected = odds(target, [5, 9, 3], given)
    seen: dict[tuple[int, ...], int] = {}
    for row in shown[:, 3:].tolist():
        seen[tuple(row)] = seen.get(tuple(row), 0) + 1
    assert z_score(seen, expected) < 4


def odds(target: Any, prompt: list[int], given: dict[str, Any]) -> dict[tuple[int, ...], float]:
    config, _ = target._prepare_generation_config(None, **given)
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(3):
        texts = [[*prompt, *tokens] for tokens in found]
        with torch.no_grad():
            logits = target(torch.tensor(texts)).logits[:, -1].double()
        longer = {}
        for (tokens, p), text, row in zip(found.items(), texts, logits, strict=True):
            ids = torch.tensor([text])
            processors = target._get_logits_processor(config, input_ids_seq_length=3, device="cpu")
            after = processors(ids, row.unsqueeze(0)).softmax(-1)[0]
            longer |= {(*tokens, t): p * float(after[t]) for t in after.nonzero().flatten().tolist()}
        found = longer
    return found


def test_seeds_and_returned_sequences() -> None:
    target, method = module(1), custom_generate(module(2))
    given: dict[str, Any] = {
        "do_sample": True,
        "max_new_tokens": 8,
        "num_return_sequences": 3,
        "custom_generate": method,
    }
    torch.manual_seed(3)
    first, second = (target.generate(PROMPTS[1:], **given) for _ in range(2))
    torch.manual_seed(3)
    assert target.generate(PROMPTS[1:], **given).tolist() == first.tolist() != second.tolist()
    assert len({tuple(row) for row in first.tolist()}) == 3


def test_training_flags_survive_an_error() -> None:
    target, draft = module(1), module(2)
    draft.train()
    given: dict[str, Any] = {"attention_mask": MASK, "max_new_tokens": 4}
    with pytest.raises(Unsupported, match="num_beams: beams cannot be speculated"):
        target.generate(PROMPTS, num_beams=2, custom_generate=custom_generate(draft), **given)

    def broken(ids: Any, scores: Any) -> Any:
        raise OSError("stop here")

    with pytest.raises(OSError, match="stop here"):
        target.generate(PROMPTS, logits_processor=[broken], custom_generate=custom_generate(draft), **given)
    assert all(m.training for m in draft.modules())
    assert not any(m.training for m in target.modules())


def test_a_draft_of_another_tokenizer_and_a_staged_one() -> None:
    """A bundled draft with its own tokenizer, and one that is drafted for itself; penalties on."""
    from transformers import AutoModelForCausalLM

    from consort.cooperate.speculate import Speculate
    from consort.lab import path
    from consort.models import load_model

    target = AutoModelForCausalLM.from_pretrained(path("target"))
    own = load_model(path("target"), device="cpu").tokenizer.tokenizer  # type: ignore[attr-defined]
    ids = own("Once upon a time", return_tensors="pt").input_ids
    given: dict[str, Any] = {"max_new_tokens": 32, "do_sample": False, "repetition_penalty": 1.2}
    wanted = target.generate(ids, **given).tolist()
    draft, other = (load_model(path(name), device="cpu") for name in ("draft", "pivot"))
    for guess in (other, Speculate(draft, drafter="ngram", gamma=3)):
        assert target.generate(ids, custom_generate=custom_generate(guess, tokenizer=own), **given).tolist() == wanted
