"""DoLa and contrastive search, which look inside a model."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest
import torch

from consort.cooperate.transfer.contrastive_search import ContrastiveSearch
from consort.cooperate.transfer.dola import Dola, early_layers
from consort.cooperate.transfer.layered import jensen_shannon, most_different, released_divergence
from consort.core.errors import BadParameter, Unsupported
from consort.core.types import Sampling
from consort.lab import path
from consort.models import ByteTokenizer, FakeTokenModel, HFModel, load_model
from consort.models.abilities import with_hidden

PROMPTS = ["mirror a b c =", "order d b a =", "shout q w e =", "a b", "="]


@cache
def base() -> HFModel:
    return load_model(path("base"), device="cpu")


@cache
def reference() -> HFModel:
    """The same model apart: asking transformers for hidden states leaves its hooks on a module."""
    return load_model(path("base"), device="cpu")


def test_divergence_is_the_textbook_one() -> None:
    p, q = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.1, 0.2, 0.7]])
    m = (p + q) / 2
    wanted = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    assert float(jensen_shannon(p.log(), q.log())) == pytest.approx(float(wanted), abs=1e-7)
    assert float(jensen_shannon(q.log(), p.log())) == pytest.approx(float(wanted), abs=1e-7)
    assert float(jensen_shannon(p.log(), p.log())) == pytest.approx(0, abs=1e-7)
    apart = torch.tensor([[0.0, -torch.inf]]), torch.tensor([[-torch.inf, 0.0]])
    assert float(jensen_shannon(*apart)) == pytest.approx(math.log(2))
    swapped = ((m * (m / p).log()).sum() + (m * (m / q).log()).sum()) / 2 / 3
    assert float(released_divergence(p.log(), q.log())) == pytest.approx(float(swapped), abs=1e-7)


def test_every_position_has_its_own_layer() -> None:
    final = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    early = torch.tensor([[[0.8, 0.2], [0.8, 0.2]], [[0.2, 0.8], [0.2, 0.8]]]).log()
    torch.testing.assert_close(most_different(final, early).exp(), torch.tensor([[0.2, 0.8], [0.8, 0.2]]))


@torch.no_grad()
def test_dola_equals_a_full_forward_pass() -> None:
    model, head = reference(), base().tokenizer.encode(PROMPTS[0])
    out = model.module(input_ids=torch.tensor([head]), output_hidden_states=True)
    read = [model.module.lm_head(model.module.model.norm(out.hidden_states[layer]))[0] for layer in (1, 2)]
    final, early = out.logits[0].log_softmax(-1), most_different(out.logits[0], torch.stack(read))
    wanted = final - early.log_softmax(-1)
    got = Dola(base(), layers=[1, 2]).open().feed([head])[0]
    kept = final.exp() >= 0.1 * final.exp().amax(-1, keepdim=True)
    assert torch.equal(got > -1000, kept)
    torch.testing.assert_close(got[kept], wanted[kept], atol=1e-3, rtol=1e-3)


STOCK: dict[str, dict[str, int]] = {
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "OPT": {"num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "Qwen2Moe": {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48},
    "GPTNeoX": {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48},
    "Rwkv": {"num_hidden_layers": 2, "attention_hidden_size": 32, "context_length": 64},
    "Gemma2": {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
}


def stock(kind: str) -> HFModel:
    """A small random model of a family that has no lean pass."""
    import transformers

    size = {} if kind == "GPT2" else {"hidden_size": 32}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=256, bos_token_id=1, eos_token_id=0, pad_token_id=2, **size, **STOCK[kind]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return HFModel(kind, module, ByteTokenizer(bos=1, eos=0))


@pytest.mark.parametrize("kind", STOCK)
@torch.no_grad()
def test_families_without_a_lean_pass_show_their_layers(kind: str) -> None:
    model, text = stock(kind), list(b"some text")
    out = model.module(input_ids=torch.tensor([text]), output_hidden_states=True, use_cache=False)
    session = with_hidden(model.open(2))
    parts = [session.feed_hidden(piece, (1, -1))[0] for piece in ([text[:4], text[:2]], [text[4:], []])]
    torch.testing.assert_close(torch.cat([p.logits for p in parts]), out.logits[0], atol=1e-4, rtol=1e-3)
    for at, layer in enumerate((1, -1)):
        got = torch.cat([p.hidden[at] for p in parts])
        torch.testing.assert_close(got, out.hidden_states[layer][0], atol=1e-4, rtol=1e-3)
    if kind == "Gemma2":  # caps its logits after the head
        with pytest.raises(Unsupported, match="Gemma2: its logits are more than its head"):
            Dola(model).generate(["a"], Sampling(max_tokens=1))
        return
    torch.testing.assert_close(session.layer_logits(parts[1].hidden[1]), parts[1].logits, atol=1e-4, rtol=1e-3)
    (scored,) = Dola(model, layers=[1], alpha=0.0).open().feed([text])
    (last,) = Dola(model, layers=[1], alpha=0.0).open().feed([text], last=True)
    torch.testing.assert_close(scored[-1:], last, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["GPT2", "Rwkv"])
def test_contrastive_search_on_stock_modules_equals_brute_force(kind: str) -> None:
    model = stock(kind)
    (got,) = ContrastiveSearch(model, top_k=3, alpha=0.5).generate(["some"], Sampling(max_tokens=5))
    assert list(got.tokens) == brute_force(model, "some", 3, 0.5, 5)


def test_dola_on_a_real_recurrent_model(shared: Path) -> None:
    model = load_model(shared / "models/rwkv4-tiny", device="cpu", tokenizer="bytes")
    (got,) = Dola(model).generate(["Once upon"], Sampling(max_tokens=4))
    assert len(got.tokens) == 4


def test_buckets() -> None:
    model = base()  # four layers, the head tied to the embeddings
    assert early_layers(model, "low", None) == (1,)
    assert early_layers(model, "high", None) == (2,)
    with pytest.raises(BadParameter, match="layers"):
        Dola(model, layers=[4])


@pytest.mark.parametrize("strategy", [Dola, ContrastiveSearch])
def test_models_that_hide_their_layers_are_refused(strategy: type) -> None:
    with pytest.raises(Unsupported, match="random-1: does not show its"):
        strategy(FakeTokenModel.random(1))


@torch.no_grad()
def brute_force(model: HFModel, prompt: str, top_k: int, alpha: float, tokens: int) -> list[int]:
    """Contrastive search by full passes alone."""
    text, found = model.tokenizer.encode(prompt), list[int]()
    while len(found) < tokens and not (found and found[-1] in model.ends):
        out = model.module(input_ids=torch.tensor([text]), output_hidden_states=True)
        p, ids = out.logits[0, -1].softmax(-1).topk(top_k)
        scores = []
        for mass, token in zip(p.tolist(), ids.tolist(), strict=True):
            states = model.module(input_ids=torch.tensor([[*text, token]]), output_hidden_states=True).hidden_states[-1]
            near = torch.cosine_similarity(states[0, -1:], states[0, :-1], dim=-1).max()
            scores.append((1 - alpha) * mass - alpha * float(near))
        found.append(int(ids[max(range(top_k), key=scores.__getitem__)]))
        text = [*text, found[-1]]
    return found


def test_contrastive_search_equals_brute_force() -> None:
    words, letters = ("mirror", "order", "shout", "twice", "copy"), ("a b", "c d d", "e f g h", "x y z")
    prompts = [f"{word} {text} =" for word in words for text in letters]
    got = ContrastiveSearch(base(), top_k=3, alpha=0.5).generate(prompts, Sampling(max_tokens=5))
    assert len(prompts) == 20
    assert [list(a.tokens) for a in got] == [brute_force(reference(), prompt, 3, 0.5, 5) for prompt in prompts]


def test_without_penalty_contrastive_search_is_greedy() -> None:
    got = ContrastiveSearch(base(), alpha=0.0).generate(PROMPTS, Sampling(max_tokens=6))
    assert [a.tokens for a in got] == [a.tokens for a in base().generate(PROMPTS, Sampling(max_tokens=6))]
    assert all(a.cost["base"].total_tokens > len(a.tokens) * 4 for a in got)
