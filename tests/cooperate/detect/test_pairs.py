"""Pair scorers: which output means what, batches, caches, long pairs, and a language model that is asked."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from consort import lab
from consort.cooperate.detect.pairs import pair_scorers
from consort.cooperate.detect.pairs.nli import Nli, order_of, packed
from consort.core.errors import BadCheckpoint, BadData
from consort.models import FakeModel

PREMISE, HYPOTHESIS = "the capital of Oruria is lom .", "in Oruria the capital is lom ."
PAIRS = [(f"Oruria has {n} lakes .", f"there are {n % 7} lakes in Oruria .") for n in range(10)]


def test_labels_are_read_and_never_assumed():
    assert order_of({0: "entailment", 1: "neutral", 2: "contradiction"}, "m") == (0, 1, 2)
    assert order_of({0: "CONTRADICTION", 1: "ENTAILMENT", 2: "NEUTRAL"}, "m") == (1, 2, 0)
    assert order_of({0: "not_entailment", 1: "entailment"}, "m") == (1, None, 0)
    assert order_of({0: "INCONSISTENT", 1: "CONSISTENT"}, "m") == (1, None, 0)
    assert order_of({0: "SUPPORTS", 1: "REFUTES", 2: "NOT ENOUGH INFO"}, "m") == (0, 2, 1)
    with pytest.raises(BadCheckpoint, match="do not tell"):
        order_of({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, "m")


def permuted(folder, out):
    """The same classifier with its outputs in another order, and named so."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    order = [2, 0, 1]
    for name in ("classifier.out_proj.weight", "classifier.out_proj.bias"):
        weights[name] = weights[name][torch.tensor(order)].contiguous()
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    labels = {str(i): config["id2label"][str(k)] for i, k in enumerate(order)}
    config |= {"id2label": labels, "label2id": {label: int(i) for i, label in labels.items()}}
    (out / "config.json").write_text(json.dumps(config))
    return out


def test_outputs_in_another_order_give_the_same_scores(tmp_path):
    one, other = Nli(lab.path("nli")), Nli(permuted(lab.path("nli"), tmp_path / "permuted"))
    a, b = (nli.score(*zip(*PAIRS, strict=True)) for nli in (one, other))
    assert np.abs(a - b).max() <= 1e-6
    assert a.sum(1) == pytest.approx(np.ones(len(PAIRS)))


def test_each_pair_is_read_once_in_batches(tmp_path):
    nli = Nli(lab.path("nli"), batch=4, cache=str(tmp_path / "scores.db"))
    premises, hypotheses = zip(*PAIRS, strict=True)
    first = nli.score(premises * 2, hypotheses * 2)
    assert nli.forwards == math.ceil(len(PAIRS) / 4)
    usage = nli.spent()
    assert usage.calls == len(PAIRS) and usage.prompt_tokens > 0 and nli.spent().calls == 0
    assert (nli.score(premises, hypotheses) == first[: len(PAIRS)]).all() and nli.forwards == 3
    again = Nli(lab.path("nli"), cache=str(tmp_path / "scores.db"))
    assert (again.score(premises, hypotheses) == first[: len(PAIRS)]).all() and again.forwards == 0


def test_a_cache_of_something_else_is_refused(tmp_path):
    file = tmp_path / "notes.db"
    file.write_text("no database at all, but long enough to be read as one")
    with pytest.raises(BadData, match="no cache of scores"):
        Nli(lab.path("nli"), cache=str(file)).score([PREMISE], [HYPOTHESIS])


def test_long_pairs_are_split_and_not_cut():
    nli = Nli(lab.path("nli"))
    filler = " ".join(f"Bel{i} has {i} lakes ." for i in range(60))
    [row] = nli.score([f"{filler} {PREMISE}"], [HYPOTHESIS])  # what decides stands behind the window
    [alone] = nli.score([PREMISE], [HYPOTHESIS])
    assert alone.argmax() == 0 and row.argmax() == 0
    assert nli.score([PREMISE], [f"{HYPOTHESIS} " * 80]).shape == (1, 3)
    pieces = packed("A b c. D e f. G h i.", lambda text: len(text.split()), 6)
    assert pieces == ["A b c. D e f.", "G h i."]
    assert packed("x" * 40, len, 10) == ["x" * 10] * 4


def test_a_language_model_is_asked_and_what_it_does_not_say_is_neutral():
    said = iter(["Supports.", "it contradicts", "who knows", "neither"])
    model = FakeModel(lambda prompt: next(said), name="m")
    asked = pair_scorers.get("asked")(model)
    rows = asked.score(["a", "b", "c", "d"], ["x"] * 4)
    assert rows.argmax(1).tolist() == [0, 2, 1, 1] and asked.unread == 1
    assert asked.spent().calls == 4
    asked.score(["a"], ["x"])
    assert asked.spent().calls == 0
