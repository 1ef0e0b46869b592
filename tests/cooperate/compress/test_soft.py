"""Soft prompts: who sees what, what is learned, what stays frozen, and that a file is for one reader."""

from __future__ import annotations

import json

import pytest
import torch

from consort import lab
from consort.cooperate.compress.auto_compressor import AutoCompressor, read_after
from consort.cooperate.compress.gist import Gist
from consort.cooperate.compress.icae import Icae
from consort.cooperate.compress.soft.encoder import frozen, reader_hash
from consort.cooperate.compress.soft.prompted import answer_loss
from consort.core.errors import BadCheckpoint, BadData, BadParameter, Incompatible, Unsupported
from consort.core.types import Sampling
from consort.models import FakeModel, load_model
from consort.testing.built import open_model

KINDS = {
    "gist": (Gist, {"slots": 2}),
    "auto": (AutoCompressor, {"slots": 3, "segment": 8}),
    "icae": (Icae, {"slots": 4}),
}
TAUGHT = [
    ("the key is red. it rained a lot.\n\n", "key?", " red"),
    ("the door is blue.\n\n", "door?", " blue"),
    ("my sea is pink and old.\n\n", "sea?", " pink"),
]
SHORT = Sampling(max_tokens=6)


def made(kind, model=None, **more):
    cls, given = KINDS[kind]
    return cls(model or open_model(0), **{**given, "rank": 2, **more})


def learned(kind, folder, **more):
    model = made(kind)
    model.learn(TAUGHT, folder / "soft.safetensors", steps=3, lr=1e-2, batch=3, **more)
    return model


def rows(model):
    return [model._taught(one) for one in TAUGHT]


def test_the_prompt_is_reached_through_the_gists_alone():
    """The answer's gradient at the context is exactly 0 once the gists' keys and values are cut off."""
    model = made("gist")
    encoder = model.fresh(0)
    (row,) = rows(model)[:1]
    embedded = encoder.embed(torch.tensor([row[0]]))[0].detach().requires_grad_()

    def gradient(cut):
        hooks = []
        at = slice(len(row[0]), len(row[0]) + model.slots)
        for layer in encoder.module.model.layers if cut else ():
            for name in ("k_proj", "v_proj"):

                def detach(module, given, out):
                    return torch.cat([out[:, : at.start], out[:, at].detach(), out[:, at.stop :]], 1)

                hooks.append(getattr(layer.self_attn, name).register_forward_hook(detach))
        logits = model.whole(encoder, [row], [embedded])
        loss = answer_loss([logits[0]], [row[2]])
        (found,) = torch.autograd.grad(loss, embedded)
        for hook in hooks:
            hook.remove()
        return found

    with frozen(model.model.module):
        assert gradient(cut=True).abs().max() == 0
        assert gradient(cut=False).abs().max() > 0


def test_a_cached_gist_is_the_masked_whole(tmp_path):
    """Logits and greedy tokens from the cache are those of one masked pass, for four contexts of unequal length."""
    model = learned("gist", tmp_path)
    batch = [*rows(model), model._taught(("a\n\n", "what?", " no"))]
    with torch.no_grad():
        whole = model.whole(model.encoder, batch)
    from consort.cooperate.compress.soft.prefix import Opened

    with torch.no_grad():
        prefixes = [model.prefix_of(model.encoder, context) for context, _, _ in batch]
        found = Opened(model.model, prefixes).open(4).feed([[*q, *a] for _, q, a in batch])
    for (context, question, answer), got, row in zip(batch, found, whole, strict=True):
        begin = len(context) + model.slots
        wanted = row[begin : begin + len(question) + len(answer)]
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
        assert got.argmax(-1).tolist() == wanted.argmax(-1).tolist()


def test_summaries_add_up_and_gradients_reach_two_segments():
    model = made("auto")
    encoder = model.fresh(0)
    tokens = torch.randint(3, 250, (2, 8 * 4), generator=torch.Generator().manual_seed(0))
    segments = [encoder.embed(part).detach().requires_grad_() for part in tokens.split(8, 1)]
    vectors = model.vectors(encoder, tokens, segments)
    assert vectors.shape == (2, model.slots * 4, 32)
    logits = read_after(encoder, vectors, [[5, 6], [7, 8]])
    grads = torch.autograd.grad(answer_loss(logits, [[6], [8]]), segments, allow_unused=True)
    assert [g is not None and bool(g.abs().max() > 0) for g in grads] == [False, False, True, True]


def test_the_encoder_without_lora_is_the_reader():
    model = made("icae")
    encoder = model.fresh(0)
    for part in encoder.deltas:
        part.lora_B.data.normal_(generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[9, 8, 7, 6]])
    with torch.no_grad(), encoder.switched(False) as module:
        plain = module(inputs_embeds=encoder.embed(ids), use_cache=False).logits
        wanted = model.model.module(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(plain, wanted)
    with torch.no_grad(), encoder.switched(True) as module:
        assert (module(inputs_embeds=encoder.embed(ids), use_cache=False).logits - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_learning_leaves_the_reader_and_saves_what_was_added(kind, tmp_path):
    from safetensors import safe_open

    before = reader_hash(open_model(0).module)
    model = learned(kind, tmp_path)
    assert reader_hash(open_model(0).module) == before
    assert all(p.requires_grad for p in open_model(0).module.parameters())
    with safe_open(tmp_path / "soft.safetensors", "pt") as file:
        assert all(name == "added" or ".lora_" in name for name in file.keys())
        assert json.loads(file.metadata()["soft_prompt"])["reader"] == before
    again = made(kind, state=str(tmp_path / "soft.safetensors"))
    prompts = [context + question for context, question, _ in TAUGHT]
    assert [a.text for a in again.generate(prompts, SHORT)] == [a.text for a in model.generate(prompts, SHORT)]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_streams_and_second_uses(kind, tmp_path):
    model = learned(kind, tmp_path)
    prompts = [context + question for context, question, _ in TAUGHT]
    first, again = model.generate(prompts, SHORT), model.generate(prompts, SHORT)
    alone = [model.generate([prompt], SHORT)[0] for prompt in prompts]
    assert [a.tokens for a in first] == [a.tokens for a in again] == [a.tokens for a in alone]
    context, question, _ = TAUGHT[0]
    slots = first[0].details["soft_prompt"]["slots"]
    assert first[0].cost["open-0"].prompt_tokens >= len(context)
    assert again[0].cost["open-0"].prompt_tokens == len(question) + (0 if kind == "gist" else slots)
    assert "".join(model.stream(prompts[1], SHORT)) == first[1].text
    sampled = Sampling(max_tokens=6, temperature=1.0, seed=4)
    assert [a.tokens for a in model.generate(prompts, sampled)][1] == model.generate([prompts[1]], sampled)[0].tokens


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_comes_to_the_same_weights(kind, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 2:
            raise Killed

    whole = made(kind)
    whole.learn(TAUGHT, tmp_path / "whole.safetensors", steps=4, lr=1e-2, batch=2, every=1)
    part = made(kind)
    asked = {"steps": 4, "lr": 1e-2, "batch": 2, "every": 1}
    with pytest.raises(Killed):
        part.learn(TAUGHT, tmp_path / "part.safetensors", progress=kill, **asked)
    part.learn(TAUGHT, tmp_path / "part.safetensors", **asked)
    assert (tmp_path / "part.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_a_soft_prompt_is_for_one_reader(tmp_path):
    learned("gist", tmp_path)
    file = str(tmp_path / "soft.safetensors")
    other = made("gist", open_model(1), state=file)
    with pytest.raises(Incompatible, match="other weights"):
        other.generate(["a\n\nb"], SHORT)
    with pytest.raises(BadCheckpoint, match="gist has learned, not icae"):
        made("icae", state=file).generate(["a\n\nb"], SHORT)
    with pytest.raises(BadCheckpoint, match="added is not as"):
        made("gist", state=file, slots=3).generate(["a\n\nb"], SHORT)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        made("gist", state=str(tmp_path / "bad.safetensors")).generate(["a\n\nb"], SHORT)
    with pytest.raises(BadParameter, match="has learned nothing"):
        made("gist").generate(["a\n\nb"], SHORT)
    with pytest.raises(Unsupported, match="single local model"):
        Gist(FakeModel({}))


def test_learning_lowers_the_loss(tmp_path):
    model = made("icae")
    first = model.learn(TAUGHT, tmp_path / "a", steps=1, lr=1e-2, batch=3)
    assert model.learn(TAUGHT, tmp_path / "b", steps=40, lr=1e-2, batch=3) < first - 0.3


def test_windows(tmp_path):
    reader = load_model(lab.path("base"))
    model = Icae(reader, slots=8, rank=2)
    model.learn([("mirror\n\n", "a", "b")], tmp_path / "soft", steps=1, lr=1e-3, batch=1)
    with pytest.raises(BadData, match="do not fit"):
        model.generate(["a b " * 150 + "\n\nc"], SHORT)
