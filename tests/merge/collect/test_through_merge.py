"""RegMean++: block by block through the merge; its first block is RegMean's, copies stay, a killed run goes on."""

from __future__ import annotations

import shutil

import pytest
import torch

import consort as c
from consort import lab
from consort.core.errors import BadData, BadParameter, OutputExists
from consort.merge.collect import through_merge as module
from consort.merge.collect.run import collect
from consort.merge.collect.through_merge import block_of, blocks_of, collect_through_merge
from consort.weights import open_folder
from consort.weights.checkpoint import Memory
from consort.weights.stats import description

TEXTS = {
    "mirror": ["mirror a b c = c b a <eos>", "mirror d a = a d <eos>"],
    "order": ["order d b a = a b d <eos>", "order c a = a c <eos>"],
}
FIRST, LATER = "model.layers.0.self_attn.q_proj.weight", "model.layers.2.mlp.down_proj.weight"


@pytest.fixture
def experts():
    """Two experts on the first one's embeddings and norms: the first block sees the same alone and in the merge."""
    first, second = (open_folder(lab.path(name)) for name in TEXTS)
    shared = ("norm", "embed_tokens")
    tensors = {k: (first if any(part in k for part in shared) else second)[k] for k in second.keys()}
    return [renamed(first, "mirror"), Memory(tensors, second.config, name="order", files=second.files())]


def renamed(model, name):
    return Memory({k: model[k] for k in model.keys()}, model.config, name=name, files=model.files())


def merge(models, **options):
    return c.merge("regmean", models, **options)


def test_blocks_in_order():
    names = ["lm_head.weight", *[f"model.layers.{i}.mlp.experts.3.w.weight" for i in (10, 2, 0)]]
    assert blocks_of(None, names) == [[names[3]], [names[2]], [names[1]], ["lm_head.weight"]]
    assert block_of("lm_head.weight") == "" and block_of(names[1]) == "model.layers.10."


def test_the_first_block_is_regmeans_and_later_ones_are_not(experts, tmp_path):
    folders = collect_through_merge(experts, TEXTS, tmp_path / "plus")
    assert [f.name for f in folders] == ["mirror", "order"]
    plus = [open_folder(f) for f in folders]
    plain = []
    for model in experts:
        collect("gram", model, TEXTS[model.name], tmp_path / model.name)
        plain.append(open_folder(tmp_path / model.name))
    for ours, theirs in zip(plus, plain, strict=True):
        assert set(ours.keys()) == set(theirs.keys())
        torch.testing.assert_close(ours[FIRST], theirs[FIRST], rtol=1e-4, atol=1e-6)
        assert (ours[LATER] - theirs[LATER]).norm() > 0.02 * theirs[LATER].norm()
    assert torch.linalg.matrix_rank(plus[0][FIRST]) < 64  # few tokens: a plain inverse, without a ridge, has none
    told = description(plus[0])
    assert (told.kind, told.texts, told.model) == ("gram", 2, "mirror")
    merged = [merge(experts, statistics=found) for found in (plus, plain)]
    assert torch.allclose(merged[0][FIRST], merged[1][FIRST], atol=1e-5)
    assert not torch.allclose(merged[0][LATER], merged[1][LATER], atol=1e-5)


def test_the_second_block_sees_the_merged_first(experts, tmp_path):
    """By hand: the first block of the merge, then the second's norm; the model's own first block would differ."""
    from consort.models import load_model

    folders = collect_through_merge(experts, TEXTS, tmp_path / "plus")
    plus = [open_folder(f) for f in folders]
    whole = merge(experts, statistics=plus)
    model = load_model(c.save(whole, tmp_path / "merged") and open_folder(tmp_path / "merged"), dtype="float32")
    inner, seen = model.module.model, []
    handle = inner.layers[1].self_attn.q_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    with torch.no_grad():
        for text in TEXTS["order"]:
            model.module(input_ids=torch.tensor([model.tokenizer.encode(text)]))
    handle.remove()
    x = torch.cat(seen)
    found = plus[1]["model.layers.1.self_attn.q_proj.weight"]
    torch.testing.assert_close(found, x.T @ x / len(x), rtol=0.02, atol=1e-3)  # the merge was rounded to bfloat16


def test_copies_are_the_model_and_their_order_is_free(experts, tmp_path):
    first = experts[0]
    copies = [renamed(first, name) for name in TEXTS]
    plus = [open_folder(f) for f in collect_through_merge(copies, TEXTS, tmp_path / "copies")]
    merged = merge(copies, statistics=plus)
    for key in (FIRST, LATER):
        torch.testing.assert_close(merged[key], first[key], rtol=1e-4, atol=1e-5)
    one = [open_folder(f) for f in collect_through_merge(experts, TEXTS, tmp_path / "one")]
    two = [open_folder(f) for f in collect_through_merge(experts[::-1], TEXTS, tmp_path / "two")]
    torch.testing.assert_close(one[0][LATER], two[1][LATER], rtol=1e-3, atol=1e-4)


def test_a_killed_run_goes_on(experts, tmp_path, monkeypatch):
    wanted = [open_folder(f) for f in collect_through_merge(experts, TEXTS, tmp_path / "whole")]
    done, original = [], module._Run.grams_of

    def killed(self, block, advance):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(block)
        return original(self, block, advance)

    monkeypatch.setattr(module._Run, "grams_of", killed)
    with pytest.raises(KeyboardInterrupt):
        collect_through_merge(experts, TEXTS, tmp_path / "again")
    monkeypatch.setattr(module._Run, "grams_of", original)
    found = [open_folder(f) for f in collect_through_merge(experts, TEXTS, tmp_path / "again")]
    assert all(torch.equal(a[k], b[k]) for a, b in zip(wanted, found, strict=True) for k in a.keys())


def test_refused(experts, tmp_path):
    with pytest.raises(BadParameter, match="are no weights"):
        collect_through_merge(experts, TEXTS, tmp_path / "x", weight=[1, -1])
    with pytest.raises(BadParameter, match="one name"):
        collect_through_merge([experts[0]] * 2, TEXTS, tmp_path / "x")
    with pytest.raises(BadData, match="no texts for order"):
        collect_through_merge(experts, {"mirror": TEXTS["mirror"]}, tmp_path / "x")
    with pytest.raises(BadData, match="texts of no model: ordre"):
        collect_through_merge(experts, {**TEXTS, "ordre": ["a b"]}, tmp_path / "x")
    with pytest.raises(BadParameter, match="1.5 is no share"):
        collect_through_merge(experts, TEXTS, tmp_path / "x", off_diagonal=1.5)
    assert not (tmp_path / "x").exists()


def test_the_folder_of_the_models_is_not_written_to(tmp_path):
    for name in TEXTS:
        shutil.copytree(lab.path(name), tmp_path / name)
    models = [open_folder(tmp_path / name) for name in TEXTS]
    for out in (tmp_path, tmp_path / "mirror"):
        with pytest.raises(OutputExists, match="holds the model itself"):
            collect_through_merge(models, TEXTS, out, force=True)
    assert all((tmp_path / name / "model.safetensors").exists() for name in TEXTS)


def test_the_command(tmp_path):
    import json
    import subprocess
    import sys

    plan, lines = tmp_path / "plan.yml", tmp_path / "lines.jsonl"
    plan.write_text("linear: {models: [lab:mirror, lab:order]}")
    names = [open_folder(lab.path(name)).name for name in TEXTS]
    rows = [{"text": t, "group": name} for name, group in zip(names, TEXTS, strict=True) for t in TEXTS[group]]
    lines.write_text("\n".join(map(json.dumps, rows)))
    command = [sys.executable, "-m", "consort", "collect", "through_merge", str(plan), "--texts", str(lines)]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2
    other = tmp_path / "other.yml"
    other.write_text("ties: {models: [lab:mirror, lab:order], base: lab:base}")
    command[5] = str(other)
    refused = subprocess.run([*command, "--out", str(tmp_path / "no")], capture_output=True, text=True)
    assert refused.returncode == 2 and "is no linear merge" in refused.stderr
