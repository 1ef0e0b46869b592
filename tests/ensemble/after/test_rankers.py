"""Rankers: PairRM's format, order-averaged comparisons, a linear score, rewards."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import BertConfig, DebertaV2Config, DebertaV2Model, PreTrainedTokenizerFast

from consort.core.errors import BadCheckpoint, BadData, BadParameter
from consort.ensemble.after.best_of_n import BestOfN
from consort.ensemble.after.linear_ranker import LinearRanker
from consort.ensemble.after.pair_ranker import PairRanker
from consort.ensemble.answers.pair_network import Comparer, PairNetwork, open_comparer
from consort.ensemble.answers.pair_training import fresh_comparer, save_comparer, train_comparer
from consort.ensemble.answers.ranking import bubble_winner, full_ranking, logit_matrix, order_averaged
from consort.ensemble.learning.observations import Observed
from consort.models import FakeModel
from consort.plan import parse
from consort.plan.build import build
from consort.plan.objects import to_plan
from consort.testing.answer_laws import comparisons_are_antisymmetric
from consort.train import Recipe
from consort.weights import open_checkpoint

LETTERS = "abcdefgh"


def says(name: str, text: str) -> FakeModel:
    return FakeModel(lambda prompt: text, name=name)


def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {c: i + 4 for i, c in enumerate(LETTERS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def tiny(seed: int = 0) -> Comparer:
    config = BertConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=48, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=0,
    )  # fmt: skip
    return fresh_comparer(config, tokenizer(), seed=seed)


def draw(rng: random.Random) -> list[tuple[str, str, str]]:
    """The better answer has an a, wherever that stands."""
    found = []
    for _ in range(16):
        source, other, *rest = rng.choices(LETTERS[1:], k=4)
        better = ["a", other]
        rng.shuffle(better)
        found.append((source, " ".join(better), " ".join(rest)))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    comparer, out = tiny(), tmp_path_factory.mktemp("ranker") / "pair"
    train_comparer(comparer, draw, Recipe(steps=150, lr=5e-3))
    save_comparer(comparer, out)
    return out


def test_a_trained_ranker_is_right_and_antisymmetric(folder: Path) -> None:
    names = set(load_file(folder / "model.safetensors"))
    assert {"head_layer.1.weight", "head_layer.4.bias", "pretrained_model.embeddings.word_embeddings.weight"} <= names
    comparer = open_comparer(folder)
    triples = [t for k in range(8) for t in draw(random.Random(f"new {k}"))]
    with torch.inference_mode():
        forward = comparer.logits(triples)[0]
        backward = comparer.logits([(s, w, b) for s, b, w in triples])[0]
    assert (np.array(order_averaged(forward.tolist(), backward.tolist())) > 0).mean() > 0.9


def test_pair_ranker_chooses_by_plan_and_by_hand(folder: Path) -> None:
    ranker = open_checkpoint(folder)
    models = [says("m0", "b c"), says("m1", "a c"), says("m2", "h h"), says("m3", "a c")]
    for ranking, comparisons in (("full", 3), ("bubble", 2)):
        strategy = PairRanker(models, ranker=ranker, ranking=ranking)  # type: ignore[arg-type]
        (answer,) = strategy.generate(["a"])
        assert (answer.text, answer.details["answered_by"]) == ("a c", "m1")
        assert answer.cost[strategy.judge.name].calls == 2 * comparisons  # both orders; equal answers once
    pairs = ["a c", "b c", "h h"]
    judge = PairRanker(models, ranker=ranker).judge
    comparisons_are_antisymmetric(lambda ij: judge.compare("a", [(pairs[i], pairs[j]) for i, j in ij])[0], 3)
    plan = {"pair_ranker": {"models": ["lab:mirror", "lab:order"], "ranker": str(folder), "ranking": "bubble"}}
    assert to_plan(build(parse(plan))) == plan
    with pytest.raises(BadParameter, match="ranking"):
        PairRanker(models, ranker=ranker, ranking="fool")  # type: ignore[arg-type]


def test_published_names_of_pair_rm_load(tmp_path: Path) -> None:
    """A folder as PairRM is published, but tiny: DeBERTa, marks named by the config."""
    config = DebertaV2Config(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        relative_attention=True, pos_att_type=["p2c", "c2p"], max_position_embeddings=64, position_buckets=8,
    )  # fmt: skip
    torch.manual_seed(0)
    network = PairNetwork(DebertaV2Model(config), 16)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    marks = {"n_tasks": 1, "drop_out": 0.05, "source_prefix_id": 12, "cand1_prefix_id": 13, "cand2_prefix_id": 14}
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict() | marks))
    tokenizer().save_pretrained(tmp_path)
    comparer = open_comparer(tmp_path)
    ids, places = comparer.encode("a b", "c", "d e")
    assert ids == [2, 12, 4, 5, 3, 13, 6, 3, 14, 7, 8, 3]
    assert [ids[p] for p in places] == [12, 13, 14] == list(comparer.marks)
    network.eval()
    with torch.inference_mode():
        wanted = network(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long), torch.tensor([places]))
        assert comparer.logits([("a b", "c", "d e")])[0] == pytest.approx(wanted)
    save_file({k: v for k, v in state.items() if k != "head_layer.4.bias"}, tmp_path / "model.safetensors")
    with pytest.raises(BadCheckpoint, match="head_layer.4.bias"):
        open_comparer(tmp_path)


def test_what_is_too_long_loses_its_end_and_keeps_all_three() -> None:
    ids, places = tiny().encode("a " * 99, "b " * 99, "c " * 99)
    assert len(ids) <= 48
    assert [ids[p + 1] for p in places] == [4, 5, 6]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=6))
def test_full_and_bubble_ranking_of_scores(scores: list[int]) -> None:
    def compare(pairs):  # type: ignore[no-untyped-def]
        return [float(scores[i] - scores[j]) for i, j in pairs]

    assert full_ranking(len(scores), compare) == sorted(range(len(scores)), key=lambda i: -scores[i])
    assert bubble_winner(len(scores), compare) == scores.index(max(scores))
    matrix = logit_matrix(len(scores), compare)
    assert (matrix == -matrix.T).all()


def test_a_linear_ranker_learns_what_is_liked() -> None:
    rng = np.random.default_rng(0)
    words = ["plain", "good", "bad", "word", "text"]
    answers = tuple(tuple(" ".join(rng.choice(words, 4)) for _ in range(3)) for _ in range(150))
    quality = np.array([[float("good" in text) for text in row] for row in answers])
    prompts = tuple(f"q{i}" for i in range(150))
    data = Observed(("a", "b", "c"), prompts, quality, answers, np.ones_like(quality))
    models = [says("a", "bad text"), says("b", "good word"), says("c", "plain")]
    with pytest.raises(BadParameter, match="not fitted"):
        LinearRanker(models).generate(["q"])
    fitted = LinearRanker(models, penalty=1.0).fit(data.rows(range(100)))
    replayed = fitted.replay(data.rows(range(100, 150)))
    assert replayed.quality.mean() >= data.rows(range(100, 150)).quality.max(1).mean() - 0.05
    assert replayed.cost.tolist() == [3.0] * 50
    assert fitted.generate(["q"])[0].text == "good word"
    fewer = LinearRanker(models[:2])
    fewer.learned = fitted.learned
    with pytest.raises(BadData, match="3 models"):
        fewer.generate(["q"])
    with pytest.raises(BadData, match="texts"):
        fitted.fit(Observed(("a",), ("q",), np.ones((1, 1))))


def test_wrong_judges_are_named(folder: Path, tmp_path: Path) -> None:
    from consort import lab

    with pytest.raises(BadCheckpoint, match="classifier|outputs"):
        models = [says("a", "x"), says("b", "y")]
        BestOfN(models, reward=open_checkpoint(folder)).generate(["q"])
    with pytest.raises(BadCheckpoint, match="cannot be read as a ranker|lacks"):
        PairRanker(models, ranker=open_checkpoint(lab.path("base"))).generate(["q"])
    with pytest.raises(BadParameter, match="not empty"):
        save_comparer(tiny(), folder)


def test_samples_of_each_model_are_candidates() -> None:
    class Counts:
        name = "judge"

        def open(self):  # type: ignore[no-untyped-def]
            pass

        def rewards(self, prompt, answers):  # type: ignore[no-untyped-def]
            from consort.core.types import Usage

            return [float(len(a)) for a in answers], Usage(1, 0, len(answers))

    from consort import lab

    strategy = BestOfN([says("a", "xx"), says("b", "x")], reward=open_checkpoint(lab.path("reward")), samples=3)
    strategy.judge = Counts()  # type: ignore[assignment]
    (answer,) = strategy.generate(["q"])
    assert (answer.text, answer.cost["a"].calls, answer.cost["judge"].calls) == ("xx", 3, 2)
