"""A token classifier learns to keep what a slower compressor keeps; `fit` writes what it learned beside the plan."""

from __future__ import annotations

import json
import random

import pytest
from safetensors.torch import load_file

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.compressors.classifier import Classifier
from consort.cooperate.compress.compressors.first import First
from consort.cooperate.compress.parts import Compression, Span
from consort.cooperate.compress.taught_classifier import kept_words
from consort.cooperate.compress.units import words
from consort.core.errors import BadCheckpoint, BadData, BadParameter, Incompatible
from consort.core.marked import Marked
from consort.testing.compressor_laws import classifier_folder


class Digits(First):
    """Keeps the words with a digit."""

    def shorten(self, job):
        found = []
        for number, text in enumerate(job.texts):
            kept = tuple(s for s in words(text) if any(c.isdigit() for c in text[s.start : s.end]))
            short = "".join(text[a:b] for a, b in kept)
            found.append(Compression(short, kept, job.sizes[number], job.count(short), part=number))
        return found


def text_of(seed):
    rng = random.Random(seed)
    drawn = [
        rng.choice("abcklmqxyz"),
        str(rng.randrange(1000)),
        "rain",
        str(rng.randrange(100)),
        rng.choice("abcklmqxyz"),
    ]
    rng.shuffle(drawn)
    return " ".join([rng.choice("abc")] * rng.randrange(4) + drawn)


PROMPTS = [Marked.beside("how many?", [text_of(seed)]) for seed in range(60)]
ANSWERS = ["12"] * len(PROMPTS)


def made(**given):
    return Classifier(classifier_folder(), **{"rate": 0.4, "rank": 4, "steps": 120, "lr": 1e-2, **given})


def test_it_learns_what_the_teacher_keeps(tmp_path):
    text = "q 55 z 91 rain k 7 sun"
    before = made().compress([Part(text)])[0].text
    own = made(teacher=Digits())
    told = own.learn(PROMPTS, ANSWERS, None, tmp_path / "own.safetensors")
    assert told["texts"] == len(PROMPTS) and 0.25 < told["kept_share"] < 0.4 and told["loss"] < 0.2
    after = own.compress([Part(text)], Budget(rate=0.4))[0].text
    assert after.split() == ["55", "91", "7"] != before.split()
    again = made(state=str(tmp_path / "own.safetensors"))
    assert again.compress([Part(text)], Budget(rate=0.4))[0].scores == own.compress([Part(text)])[0].scores


def test_killed_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    import consort.cooperate.compress.taught_classifier as module

    made(teacher=Digits()).learn(PROMPTS, ANSWERS, None, tmp_path / "whole.safetensors")
    right, seen = module.cross_entropy, []

    def killed(*given, **options):
        seen.append(1)
        if len(seen) == 110:
            raise KeyboardInterrupt
        return right(*given, **options)

    monkeypatch.setattr(module, "cross_entropy", killed)
    with pytest.raises(KeyboardInterrupt):
        made(teacher=Digits()).learn(PROMPTS, ANSWERS, None, tmp_path / "cut.safetensors")
    monkeypatch.setattr(module, "cross_entropy", right)
    assert (tmp_path / "cut.safetensors.training").is_file()
    made(teacher=Digits()).learn(PROMPTS, ANSWERS, None, tmp_path / "cut.safetensors")
    whole, cut = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    assert all(cut[name].equal(tensor) for name, tensor in whole.items())
    assert not (tmp_path / "cut.safetensors.training").exists()


def test_words_that_were_written_anew_are_found_in_order():
    text, ends = "the red fox ran home", [3, 7, 11, 15, 20]
    assert kept_words(text, ends, Compression("red fox home", (), 5, 3)) == [False, True, True, False, True]
    assert kept_words(text, ends, Compression("a badger slept here", (), 5, 4)) is None
    assert kept_words(text, ends, Compression("", (), 5, 0)) == [False] * 5
    assert kept_words(text, ends, Compression(" fox", (Span(7, 11),), 5, 1)) == [False, False, True, False, False]


def test_what_cannot_be_learned_is_refused(tmp_path):
    file = tmp_path / "own.safetensors"
    with pytest.raises(BadParameter, match="nothing to learn from"):
        made().learn(PROMPTS, ANSWERS, None, file)
    with pytest.raises(BadData, match="leaves nothing"):
        made(teacher=Digits()).learn([Marked.beside("q", ["no numbers at all"])], ["x"], None, file)
    made(teacher=Digits(), steps=1).learn(PROMPTS, ANSWERS, None, file)
    with pytest.raises(BadCheckpoint, match="rank"):
        _ = made(state=str(file), rank=2).loaded
    with pytest.raises(BadCheckpoint):
        _ = made(state=str(tmp_path / "nowhere")).loaded


def test_what_was_learned_is_for_one_classifier(tmp_path):
    import shutil

    from safetensors.torch import save_file

    file = tmp_path / "own.safetensors"
    made(teacher=Digits(), steps=1).learn(PROMPTS, ANSWERS, None, file)
    other = tmp_path / "other"
    shutil.copytree(classifier_folder(), other)
    tensors = load_file(other / "model.safetensors")
    save_file({n: t + 1 for n, t in tensors.items()}, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Incompatible, match="other weights"):
        _ = Classifier(str(other), rank=4, state=str(file)).loaded


def test_fit_teaches_a_classifier_in_a_plan(tmp_path):
    from consort.plan import build, read_plan
    from consort.runs.fit import fit

    rows = [{"prompt": "n?", "context": f"a {n} b {n} c d", "target": str(n), "split": "dev"} for n in range(10, 26)]
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = tmp_path / "plan.yml"
    given = f"checkpoint: {classifier_folder()}, teacher: last, rank: 2, steps: 2"
    plan.write_text(f"compressed: {{model: lab:base, compressor: {{classifier: {{{given}}}}}}}\n")
    outcome = fit(plan, tmp_path / "out", task=task)
    assert (tmp_path / "out/compressor.safetensors").is_file()
    told = json.loads((tmp_path / "out/results.json").read_text())["details"]["fit"]
    assert told["texts"] > 0 and told["kept"] == outcome.kept
    model = build(read_plan(tmp_path / "out/plan.yml"), "model")
    assert (model.compressor.state is not None) == outcome.kept
    assert model.generate([Marked.beside("n?", ["a 11 b 11 c"])])
