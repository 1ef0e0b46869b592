"""Mutual transfer: who teaches, by brute force; alignment; one party alone; resuming."""

from __future__ import annotations

import time

import numpy as np
import pytest

from consort.core.errors import BadParameter
from consort.distil.corpus import answered
from consort.distil.rows import Online, read_rows
from consort.federate.mutual import Mutual, Party, fusion_of, mutual
from consort.federate.state import hash_of
from consort.federate.training.bench import Bench, Trainable
from consort.federate.training.options import LocalTraining
from consort.lab import path
from consort.models.hf.loading import load_model
from consort.models.tokens.ends import same_end
from consort.models.tokens.tokenizer import load_tokenizer
from consort.models.tokens.vocabulary_map import vocabulary_map
from consort.weights import open_checkpoint

STEPS = LocalTraining(steps=2, batch=4, lr=1e-3)
PUBLIC = [answered(f"the capital of {name} is", " quen") for name in ("dorotan", "noberia", "pozaria", "redatan")]


def party(model: str, name: str | None = None) -> Party:
    what = "full" if model == "teacher-north" else "lora"  # its layers are no nn.Linear
    bench = Bench(open_checkpoint(path(model)), Trainable(what=what, rank=2))
    return Party(name or model, bench, PUBLIC[:2], STEPS, STEPS)


@pytest.fixture(scope="module")
def three():
    return party("pivot"), party("teacher-north"), party("teacher-south")


def rates(p: Party) -> np.ndarray:
    """Loss per byte of each public text."""
    model = load_model(p.bench.base)
    found = []
    for document, rows in zip(PUBLIC, read_rows(model, PUBLIC, 8, None), strict=True):
        start, stop = document.learnt()[0]
        inside = (rows.next_end > start) & (rows.next_end <= stop)
        found.append(rows.ce[inside].sum() / (rows.next_end - rows.end)[inside].sum())
    return np.array(found)


def test_of_each_text_the_party_of_the_lowest_loss_teaches(three, tmp_path) -> None:
    server, *clients = three
    rows = {p.name: Online(load_model(p.bench.base), 128) for p in three}
    fusion = fusion_of(server, clients, rows, PUBLIC, tmp_path, Mutual())
    chosen = [int(fusion.target(document).chosen[0]) for document in PUBLIC]
    assert chosen == np.stack([rates(p) for p in three]).argmin(0).tolist()
    assert len(set(chosen)) > 1  # each teacher knows one half


def test_one_tokenizer_is_aligned_with_itself_and_all_tokens_give_the_dense_row(three, tmp_path) -> None:
    server, twin = three[0], party("pivot", "twin")
    size = server.bench.tokenizer.vocab_size
    rows = {p.name: Online(load_model(p.bench.base), size) for p in (server, twin)}
    fusion = fusion_of(server, [twin], rows, PUBLIC, tmp_path, Mutual())
    (_, pair) = fusion.candidates[1]
    assert (pair.ids == np.arange(len(pair.ids))).all()
    target = fusion.target(PUBLIC[0])
    logits = load_model(server.bench.base).open(1).feed([target.tokens.tolist()])[0]
    dense = np.zeros((len(target.at), size))
    np.put_along_axis(dense, target.ids, target.p, axis=1)
    assert np.abs(dense - logits.softmax(-1).numpy()[target.at]).max() < 1e-5


def words(folder, *known: str):
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(("<unk>", *known))}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>").save_pretrained(folder)
    return load_tokenizer(folder, "words", config={})


def test_a_token_called_total_maps_to_itself(tmp_path) -> None:
    """The released code put an entry "total" of its own into every map."""
    source, pivot = words(tmp_path / "a", "total", "sum", "of"), words(tmp_path / "b", "of", "a", "total", "b")
    found = vocabulary_map(source, pivot, "min_edit")
    assert found[source.encode("total")[-1]] == pivot.encode("total")[-1] == 3
    assert len(found) == source.vocab_size


def test_a_hundred_thousand_tokens_align_at_once() -> None:
    rng = np.random.default_rng(0)
    one, other = (np.cumsum(rng.integers(1, 6, 100_000)) for _ in range(2))
    begun = time.process_time()
    found = same_end(one, other)
    assert time.process_time() - begun < 1
    assert (other[found[found >= 0]] == one[found >= 0]).all() and (found >= 0).sum() > 10_000


def test_rounds_resume_and_a_party_alone_learns_from_itself(tmp_path) -> None:
    server, client = party("pivot"), party("teacher-north")
    whole = mutual(server, [client], PUBLIC, tmp_path / "a", Mutual(rounds=2, k=16))
    mutual(server, [client], PUBLIC, tmp_path / "b", Mutual(rounds=2, k=16))
    assert [set(c) for c in whole.chosen] == [{"pivot", "teacher-north"}] * 2
    assert sum(whole.chosen[0]["pivot"].values()) == len(PUBLIC)
    again = mutual(server, [client], PUBLIC, tmp_path / "a", Mutual(rounds=2, k=16))
    assert {n: hash_of(s) for n, s in again.states.items()} == {n: hash_of(s) for n, s in whole.states.items()}
    alone = mutual(server, [], PUBLIC, tmp_path / "c", Mutual(rounds=1, k=16))
    assert alone.chosen == [{"pivot": {"pivot": 4}}] and hash_of(alone.states["pivot"]) != hash_of(server.bench.first)
    with pytest.raises(BadParameter, match="one name"):
        mutual(server, [server], PUBLIC, tmp_path / "d")


def test_clients_of_one_base_may_be_averaged(tmp_path) -> None:
    server = party("pivot")
    clients = [party("teacher-north", "a"), party("teacher-north", "b")]
    found = mutual(server, clients, PUBLIC, tmp_path, Mutual(rounds=1, k=16, post_fedavg=True))
    assert hash_of(found.states["a"]) == hash_of(found.states["b"])
