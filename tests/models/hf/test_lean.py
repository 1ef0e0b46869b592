"""The lean forward pass is the module's own, to rounding; its sessions read trees and show hidden states."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from consort.core.errors import BadData, Unsupported
from consort.core.types import Sampling
from consort.models import ByteTokenizer, FakeTokenModel, HFModel, load_model
from consort.models.abilities import SequentialTrees, able, depths_of, with_hidden, with_trees
from consort.models.hf.choose import find_stock_opener, is_lean
from consort.models.hf.lean_session import LeanSession
from consort.models.hf.packing import worth_it_apart
from consort.testing import model_laws as laws

GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
KINDS: dict[str, dict[str, Any]] = {
    "Llama": GROUPED,
    "LlamaTied": {**GROUPED, "tie_word_embeddings": True, "attention_bias": True},
    "Qwen2": {**GROUPED, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "Qwen3": {**GROUPED, "head_dim": 16},
    "Mistral": {**GROUPED, "sliding_window": 5},
    "BitNet": {**GROUPED, "hidden_act": "relu2"},
}


@cache
def tiny(kind: str) -> HFModel:
    import transformers

    config = getattr(transformers, f"{kind.removesuffix('Tied')}Config")(
        vocab_size=256, hidden_size=32, num_hidden_layers=3, max_position_embeddings=64, eos_token_id=0, **KINDS[kind]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return HFModel(kind, module, ByteTokenizer(bos=1, eos=0))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_module(kind: str) -> None:
    model = tiny(kind)
    assert is_lean(model)
    rows = laws.rows_of(model, [1, 23, 7])
    session = model.open(3)
    assert isinstance(session, LeanSession)
    for got, row in zip(session.feed(rows), rows, strict=True):
        with torch.no_grad():
            wanted = model.module(torch.tensor([row])).logits[0]
        assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max().clamp(min=1)


@pytest.mark.parametrize("law", laws.SESSION_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", ["LlamaTied", "Qwen3", "Mistral", "BitNet"])
def test_laws(kind: str, law: Callable[..., None]) -> None:
    law(tiny(kind))


@pytest.mark.parametrize("name", ["stories260K", "bit-3M", "llama2xs"])
def test_greedy_answers_are_those_of_the_stock_session(shared: Path, name: str) -> None:
    model = load_model(shared / "models" / name, device="cpu")
    assert isinstance(model.open(), LeanSession)
    prompts, sampling = ["Once upon a time", "The dog", "Lily and Ben"], Sampling(max_tokens=40)
    lean = [answer.tokens for answer in model.generate(prompts, sampling)]
    model.__dict__["_opener"] = find_stock_opener(model)
    assert not isinstance(model.open(), LeanSession)
    assert [answer.tokens for answer in model.generate(prompts, sampling)] == lean


def test_a_module_that_does_more_is_left_to_itself() -> None:
    model = tiny("Llama")
    assert isinstance(model.open(), LeanSession)
    seen: list[int] = []
    hook = model.module.model.layers[0].mlp.register_forward_hook(lambda *_: seen.append(1))
    assert not isinstance(session := model.open(), LeanSession)
    session.feed([[5]])
    hook.remove()
    assert seen
    assert isinstance(model.open(), LeanSession)

    class Adapted(nn.Linear):
        pass

    plain = model.module.lm_head
    model.module.lm_head = Adapted(32, 256, bias=False)
    assert not isinstance(model.open(), LeanSession)
    model.module.lm_head = plain


class Held(torch.Tensor):
    """Weights of a type of their own, as packages of quantisation have them: some operations are not theirs."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.t:
            raise NotImplementedError("t is not implemented")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_weights_of_a_type_of_their_own_are_left_to_transformers() -> None:
    model = copy.deepcopy(tiny("Llama"))
    model.module.lm_head.weight = nn.Parameter(model.module.lm_head.weight.data.as_subclass(Held))  # type: ignore[arg-type]
    assert not isinstance(model.open(), LeanSession)
    answers = [one.generate(["abc"], Sampling(max_tokens=6))[0].tokens for one in (model, tiny("Llama"))]
    assert answers[0] == answers[1]


def test_weights_that_are_changed_in_place_are_seen() -> None:
    model = tiny("Llama")
    before = model.open().feed([[5, 6]])[0]
    weight = model.module.model.layers[0].mlp.down_proj.weight.data
    weight.mul_(2)
    after = model.open().feed([[5, 6]])[0]
    weight.div_(2)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(model.open().feed([[5, 6]])[0], before)


def random_tree(rng: random.Random, size: int) -> tuple[list[int], list[int]]:
    return [rng.randrange(1, 256) for _ in range(size)], [rng.randrange(-1, i) for i in range(size)]


def path_to(parents: Sequence[int], node: int) -> list[int]:
    path = [node]
    while parents[path[0]] >= 0:
        path.insert(0, parents[path[0]])
    return path


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("kind", ["Llama", "Mistral"])
def test_a_tree_is_its_branches(kind: str, sequential: bool) -> None:
    model, rng = tiny(kind), random.Random(3)
    session = SequentialTrees(model.open(3), 3) if sequential else with_trees(model.open(3), 3)
    rows = laws.rows_of(model, [4, 9, 2])
    session.feed(rows)
    for sizes in ((5, 0, 3), (1, 6, 4), (2, 2, 2)):
        trees = [random_tree(rng, size) for size in sizes]
        found = session.feed_tree([t for t, _ in trees], [p for _, p in trees])
        kept = []
        for i, (tokens, parents) in enumerate(trees):
            assert len(found[i]) == len(tokens)
            for node in range(len(tokens)):
                branch = [tokens[k] for k in path_to(parents, node)]
                laws.close(found[i][node].log_softmax(-1), laws.alone(model, rows[i] + branch)[-1])
            kept.append(path_to(parents, rng.randrange(len(tokens))) if tokens else [])
            rows[i] = rows[i] + [tokens[k] for k in kept[-1]]
        session.keep(kept)
        new = laws.rows_of(model, [1, 2, 1], seed=sum(sizes))
        for got, row, more in zip(session.feed(new), rows, new, strict=True):
            laws.close(got.log_softmax(-1), laws.alone(model, row + more)[-len(more) :])
        rows = [row + more for row, more in zip(rows, new, strict=True)]


def test_trees_by_hand() -> None:
    assert depths_of([-1, 0, 0, 2, -1]) == [0, 1, 1, 2, 0]
    with pytest.raises(ValueError, match="no parents"):
        tiny("Llama").open().feed_tree([[1, 2]], [[1, -1]])  # type: ignore[attr-defined]
    with pytest.raises(BadData, match="context window"):
        tiny("Llama").open().feed_tree([[1] * 70], [list(range(-1, 69))])  # type: ignore[attr-defined]


def test_hidden_states_are_those_of_transformers() -> None:
    model = tiny("Qwen3")
    rows = laws.rows_of(model, [5, 2])
    session = with_hidden(model.open(2))
    found = session.feed_hidden(rows, (0, 1, 2, -1))
    for states, row in zip(found, rows, strict=True):
        with torch.no_grad():
            wanted = model.module(torch.tensor([row]), output_hidden_states=True)
        layers = torch.cat([wanted.hidden_states[i] for i in (0, 1, 2, -1)])
        torch.testing.assert_close(states.hidden, layers, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(states.logits, wanted.logits[0], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(session.layer_logits(states.hidden[-1]), wanted.logits[0], atol=1e-3, rtol=1e-4)
    last = session.feed_hidden([[7], []], (1,), last=True)
    assert (last[0].hidden.shape, last[1].hidden.shape, last[1].logits.shape) == ((1, 1, 32), (1, 0, 32), (0, 256))
    nothing = session.feed_hidden([[], []], (1, -1))
    assert [(x.hidden.shape, x.logits.shape) for x in nothing] == [((2, 0, 32), (0, 256))] * 2
    early = session.layer_logits(found[0].hidden[1], norm=True)
    torch.testing.assert_close(early, model.module.lm_head(model.module.model.norm(found[0].hidden[1])).detach())


def test_abilities_that_are_absent_are_refused_by_name() -> None:
    session = FakeTokenModel.random(0).open()
    assert not able(session, "hidden")
    with pytest.raises(Unsupported, match="fake: does not show its hidden states") as refused:
        with_hidden(session, "fake")
    assert "a single local transformers model" in str(refused.value.hint)
    assert isinstance(with_trees(session), SequentialTrees)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_attend_one_by_one_are_as_together(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(kind)
    rows, found = laws.rows_of(model, [1, 23, 7, 11]), []
    for call in (0, 2**60):
        monkeypatch.setattr("consort.models.hf.packing._CALL", call)
        session = model.open(4)
        session.feed(rows, last=True)
        given = [session.feed([[5], [6], [], [7]], last=True) for _ in range(3)]
        session = session.select([3, 0]).admit(1)
        given.append(session.feed([[8], [9], [3, 4]], last=True))
        given.append(session.feed([[8], [9], [3]], last=True))
        found.append(given)
    for apart, together in zip(*found, strict=True):
        for got, wanted in zip(apart, together, strict=True):
            assert torch.allclose(got, wanted, atol=1e-5, rtol=1e-4)


def test_rows_attend_one_by_one_where_that_spares_reading() -> None:
    session = tiny("Llama").open(2)
    session.feed([[1] * 2, [1] * 60])
    assert session._place([[5], []]).apart is False  # 60 slots spared are less than a call
    few, many = torch.zeros(1, 1, 2, 0, 8), torch.zeros(1, 1, 64, 0, 64)
    assert not worth_it_apart([1, 1], [2, 60], 61, few)
    assert worth_it_apart([1, 1], [2, 60], 61, many)
    assert not worth_it_apart([1, 1], [60, 60], 61, many)
