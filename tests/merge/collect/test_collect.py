"""Statistics collected of a model on texts, against hand computation; killed and continued."""

from __future__ import annotations

import pytest
import torch

from consort import lab
from consort.core.errors import BadData, BadParameter, OutputExists, Unsupported
from consort.merge.collect import run as module
from consort.merge.collect.collectors import drawn
from consort.merge.collect.run import collect, grouped, read_texts
from consort.models import load_model
from consort.weights import open_folder
from consort.weights.checkpoint import Memory
from consort.weights.stats import description, fingerprint

TEXTS = ["mirror a b c = c b a <eos>", "order d b a = a b d <eos>", "copy x ="]
QUERY, DOWN = "model.layers.0.self_attn.q_proj.weight", "model.layers.3.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def base():
    return open_folder(lab.path("base"))


@pytest.fixture(scope="module")
def at_work(base):
    return load_model(base)


def test_gram_matrices_are_means_over_the_inputs(base, at_work, tmp_path):
    done = collect("gram", base, TEXTS, tmp_path / "gram")
    found = open_folder(tmp_path / "gram")
    ids = [at_work.tokenizer.encode(text) for text in TEXTS]
    assert done.tensors == len(found.keys()) == 4 * 7 and found.spec(DOWN).shape == (352, 352)
    inner = at_work.module.model
    with torch.no_grad():
        x = inner.layers[0].input_layernorm(inner.embed_tokens(torch.tensor(sum(ids, []))))
    torch.testing.assert_close(found[QUERY], x.T @ x / len(x), rtol=1e-4, atol=1e-6)
    told = description(found)
    assert told == done.description and told.fingerprint == fingerprint(base)
    assert (told.kind, told.labels, told.texts, told.tokens) == ("gram", "", 3, len(x))


def test_fisher_information_is_a_squared_gradient(base, at_work, tmp_path):
    text = TEXTS[0]
    collect("fisher", base, [text], tmp_path / "f", labels="empirical")
    ids = torch.tensor([at_work.tokenizer.encode(text)])
    weight, step = at_work.module.model.norm.weight, 1e-2

    def likelihood(change):
        with torch.no_grad():
            weight[5] += change
            logs = at_work.module(ids).logits[0, :-1].double().log_softmax(-1).gather(1, ids[0, 1:, None])
            weight[5] -= change
        return logs

    slope = (likelihood(step) - likelihood(-step)) / (2 * step)
    found = open_folder(tmp_path / "f")
    assert float(found["model.norm.weight"][5]) == pytest.approx(float((slope**2).mean()), rel=1e-2)
    assert set(found.keys()) == set(base.keys())


def test_labels_are_drawn_by_the_seed(base, tmp_path):
    def run(name, **options):
        collect("fisher", base, TEXTS, tmp_path / name, **options)
        return open_folder(tmp_path / name)[QUERY]

    one = run("one", seed=3)
    assert run("again", seed=3, max_bytes=1_000_000).equal(one) and not run("other", seed=4).equal(one)
    logs = torch.tensor([[0.1, 0.2, 0.7]]).log().expand(4, 3)
    assert drawn(logs, torch.tensor([0.05, 0.15, 0.31, 0.9999])).tolist() == [0, 1, 2, 2]


def test_a_killed_run_goes_on_with_the_next_group(base, tmp_path, monkeypatch):
    collect("gram", base, TEXTS, tmp_path / "whole")
    write, written = module.write_shard, []

    def failing(path, tensors):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, tensors)

    monkeypatch.setattr(module, "write_shard", failing)
    with pytest.raises(KeyboardInterrupt):
        collect("gram", base, TEXTS, tmp_path / "out", max_bytes=1_000_000)
    assert not (tmp_path / "out" / "config.json").exists()
    monkeypatch.setattr(module, "write_shard", write)
    done = collect("gram", base, TEXTS, tmp_path / "out", max_bytes=1_000_000)
    assert done.resumed == 2 < done.groups
    found, whole = open_folder(tmp_path / "out"), open_folder(tmp_path / "whole")
    assert all(found[name].equal(whole[name]) for name in whole.keys())
    monkeypatch.setattr(module, "at_work", lambda *_: pytest.fail("a finished run loads no model"))
    assert collect("gram", base, TEXTS, tmp_path / "out", max_bytes=1_000_000).resumed == done.groups
    with pytest.raises(OutputExists, match="holds another run"):
        collect("gram", base, TEXTS[:1], tmp_path / "out", max_bytes=1_000_000)


def test_groups_fill_the_memory():
    shapes = {"a": (10, 10), "b": (10, 10), "c": (30, 10), "d": (1,)}
    assert list(grouped(shapes, 800)) == [["a", "b"], ["c"], ["d"]]


def test_wrong_inputs_are_refused(base, tmp_path):
    with pytest.raises(BadParameter, match="kind: there is no statistic 'grams'"):
        collect("grams", base, TEXTS, tmp_path / "x")
    with pytest.raises(BadData, match="no text has two tokens"):
        collect("gram", base, [""], tmp_path / "y")
    with pytest.raises(OutputExists, match="holds the model itself"):
        collect("gram", base, TEXTS, base.path, force=True)
    with pytest.raises(Unsupported, match="stranger has another name at work"):
        module._checked_names(Memory({"stranger": torch.zeros(1)}, {}), {})
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a"}\n{"txt": "b"}\n')
    assert read_texts(file, 1) == ["a"]
    with pytest.raises(BadData, match="texts.jsonl:2: text: None is not a text"):
        read_texts(file)
