"""Training on fused targets: exact resumption, adapters, the control, the adapter for transformers' Trainer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from consort import lab
from consort.core.errors import BadData
from consort.distil import Alignment, Collection, Function, Fusion, align, collect, fitted, read_corpus
from consort.fuse import Training, train
from consort.fuse.training import lam_at
from consort.models import load_model
from consort.train import loop
from consort.weights import open_folder

OPTIONS = Training(steps=4, batch=6, part=3, lr=1e-3, lam=0.5, warmup=0, save_every=1)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """The pivot, 12 facts, and their fused targets."""
    folder = tmp_path_factory.mktemp("fusion")
    lines = (lab.path("tasks/facts") / "train.jsonl").read_text().splitlines()[::97]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    pivot, north = (load_model(lab.path(name)) for name in ("pivot", "teacher-north"))
    texts = read_corpus(folder / "corpus.jsonl", pivot.tokenizer)
    documents = fitted(texts, [pivot.tokenizer, north.tokenizer], 128)
    rows = [
        collect(lambda m=m: m, m.tokenizer, documents, folder / m.name, Collection(), stamp=m.name)
        for m in (pivot, north)
    ]
    pair = align(pivot.tokenizer, north.tokenizer, documents, folder / "pair", Alignment(map="first_piece"))
    fusion = Fusion(pivot.tokenizer, rows[0], [(rows[1], pair)], Function(), Alignment())
    return open_folder(lab.path("pivot")), documents, fusion


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


class Killed(BaseException): ...


@pytest.mark.parametrize("rank", [0, 4])
def test_a_killed_training_ends_with_the_same_bytes(setting, tmp_path, monkeypatch, rank):
    options = replace(OPTIONS, rank=rank)
    whole = train(*setting, tmp_path / "whole", options, seed=3)
    real, calls = loop.save_state, []

    def dies(*arguments):
        real(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise Killed

    monkeypatch.setattr(loop, "save_state", dies)
    with pytest.raises(Killed):
        train(*setting, tmp_path / "killed", options, seed=3)
    resumed = train(*setting, tmp_path / "killed", options, seed=3)
    assert len(calls) == 4  # steps 1 and 2, then 3 and 4
    assert resumed == whole
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert json.loads((tmp_path / "killed" / "curve.json").read_text())["loss"] == [list(t) for t in whole]
    assert not (tmp_path / "killed.state.safetensors").exists()


def test_the_loss_falls_and_the_result_is_a_model(setting, tmp_path):
    curve = train(*setting, tmp_path / "out", replace(OPTIONS, steps=12))
    assert sum(curve[-1]) < 0.8 * sum(curve[0])
    assert load_model(tmp_path / "out").generate(["the capital of"])[0].text


def test_only_the_text_is_learnt_with_lam_1(setting, tmp_path):
    curve = train(*setting, tmp_path / "out", replace(OPTIONS, steps=1, lam=1.0))
    assert curve[0][1] == 0


def test_variants_of_lam():
    assert lam_at(replace(OPTIONS, variant="decay"), 3, 4) == 1.0
    assert lam_at(replace(OPTIONS, variant="decay"), 0, 4) == 0.5
    assert lam_at(replace(OPTIONS, variant="soft"), 0, 4) is None


def test_nothing_to_learn_is_refused(setting, tmp_path):
    pivot, documents, fusion = setting
    with pytest.raises(BadData, match="nothing of the corpus is learnt"):
        train(pivot, [replace(d, spans=()) for d in documents], fusion, tmp_path / "out", OPTIONS)


def test_transformers_trainer_comes_to_the_same_first_loss(setting, tmp_path):
    pytest.importorskip("accelerate")
    from transformers import TrainingArguments

    from consort.fuse.trainer import Collator, FusionTrainer, Numbers

    pivot, documents, fusion = setting
    model = load_model(pivot).module
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=len(documents),
        learning_rate=0.0,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        remove_unused_columns=False,
        use_cpu=True,
    )
    collator = Collator(fusion, documents, lam=0.5)
    trainer = FusionTrainer(model=model, args=arguments, train_dataset=Numbers(len(documents)), data_collator=collator)
    found = trainer.train().training_loss
    with torch.no_grad():
        wanted = float(trainer.compute_loss(model, collator(list(range(len(documents))))))
    assert found == pytest.approx(wanted, rel=1e-4)
    own = train(pivot, documents, fusion, tmp_path / "own", replace(OPTIONS, steps=1, batch=len(documents), lr=1e-9))
    assert sum(own[0]) == pytest.approx(wanted, rel=1e-4)
