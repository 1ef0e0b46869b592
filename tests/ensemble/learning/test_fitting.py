"""Observed answers, states at rest, and the gate that never returns worse."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from consort.core.errors import BadData, BadParameter, Incompatible
from consort.core.types import Completion
from consort.data import load_task
from consort.ensemble.before.best_single import BestSingle
from consort.ensemble.before.knn import Knn
from consort.ensemble.before.random import Random
from consort.ensemble.learning.fitting import Learned, fit_gated, learned_of, load_learned, save_learned
from consort.ensemble.learning.observations import Observed, from_table, observe
from consort.models import FakeModel
from consort.models.cached.model import open_table
from consort.testing.router_laws import models, observed


def test_observed_from_a_table(tmp_path):
    file = tmp_path / "t.jsonl"
    rows = [
        {
            "prompt": f"p{i}",
            "scores": {"a": i % 2, "b": 1},
            "cost": {"a": 1, "b": 3},
            "split": "dev" if i < 3 else "test",
        }
        for i in range(5)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    table = open_table(file)
    found = from_table(table, ["b", "a"], split="dev")
    assert found.models == ("b", "a") and len(found) == 3 and found.answers == ()
    np.testing.assert_allclose(found.accuracy, [1, 1 / 3])
    np.testing.assert_array_equal(found.prices(), [3, 1])


def test_observed_by_running_models(tmp_path):
    file = tmp_path / "task.jsonl"
    lines = [{"prompt": str(i), "target": str(i * i), "split": "dev", "group": "g"} for i in range(4)]
    file.write_text("\n".join(map(json.dumps, lines)))
    right = FakeModel(lambda text: str(int(text) ** 2), name="m")
    found = observe([right, FakeModel(lambda text: "1", name="m")], load_task(file))
    assert found.models == ("m", "m#2") and found.groups == ("g",) * 4
    np.testing.assert_array_equal(found.quality, [[1, 0], [1, 1], [1, 0], [1, 0]])
    assert found.answers[2] == ("4", "1")


def test_halves_keep_groups_and_equal_prompts_together():
    data = observed()
    twice = Observed(data.models, data.prompts * 2, np.tile(data.quality, (2, 1)), groups=data.groups * 2)
    fit, held_out = twice.fit_and_held_out(seed=3)
    assert len(fit) + len(held_out) == len(twice)
    assert not set(fit.prompts) & set(held_out.prompts)
    assert fit.groups.count("sums") == held_out.groups.count("sums")


@pytest.mark.parametrize("arrays", [{}, {"w": np.arange(6.0).reshape(2, 3)}])
def test_a_state_is_read_as_written(tmp_path, arrays):
    learned = Learned("knn", arrays, {"k": 3, "names": ["ä"]})
    path = tmp_path / learned.file_name
    save_learned(learned, path)
    again = load_learned(path)
    assert (again.kind, again.values) == ("knn", learned.values)
    assert {k: v.tolist() for k, v in again.arrays.items()} == {k: v.tolist() for k, v in arrays.items()}


@pytest.mark.parametrize("name", ["s.json", "s.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04pickle", b'{"format": 99, "kind": "knn", "values": {}}'])
def test_a_damaged_state_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData):
        load_learned(tmp_path / name)


def test_unfitted_and_foreign_states_are_refused(tmp_path):
    with pytest.raises(BadParameter, match="not fitted"):
        Knn(models()).generate(["x"])
    save_learned(Learned("ridge"), tmp_path / "s.json")
    with pytest.raises(BadData, match="of ridge, not of knn"):
        learned_of(Knn(models(), state=str(tmp_path / "s.json")), "knn")
    with pytest.raises(Incompatible, match="were observed"):
        Knn(models()).fit(observed(3))


def test_the_gate_keeps_what_is_better_and_refuses_what_is_worse():
    data = observed()
    kept = fit_gated(Knn(models(), k=5), data)
    assert kept.strategy is not None and kept.decision.kept and kept.lower >= 0
    _, held_out = data.fit_and_held_out()
    assert kept.decision.candidate_score == kept.strategy.replay(held_out).quality.mean()
    refused = fit_gated(Random(models()), replace(data, quality=np.tile([1.0, 0.0], (len(data), 1))))
    assert refused.strategy is None and refused.single == 0 and not refused.decision.kept


def test_strict_wants_a_lower_bound_that_is_not_below():
    data = observed()
    rng = np.random.default_rng(0)
    noise = replace(data, quality=(rng.random(data.quality.shape) < 0.5).astype(float), groups=())
    for seed in range(6):
        found = fit_gated(Knn(models(), k=3), noise, seed=seed, rule="strict")
        assert (found.strategy is not None) == (found.lower >= 0 and found.decision.difference.value >= 0)


def test_replay_is_what_generate_does():
    data = observed()
    router = BestSingle(models()).fit(data)
    answers: list[Completion] = router.generate(data.queries)
    chosen = [data.models.index(a.details["chosen"]) for a in answers]
    replayed = router.replay(data)
    assert list(replayed.answered_by) == chosen
    np.testing.assert_array_equal(replayed.quality, data.quality[np.arange(len(data)), chosen])
    np.testing.assert_array_equal(replayed.cost, data.cost[np.arange(len(data)), chosen])


def test_the_bound_is_that_of_reports():
    from consort.ensemble.learning.fitting import lower_bound
    from consort.evaluate.bootstrap import difference_interval
    from consort.evaluate.registry import ratio

    ours, theirs = np.array([1.0, 1, 1, 0]), np.array([0.0, 0, 1, 0])
    rows = [np.stack([q, np.ones(4)], axis=1) for q in (ours, theirs)]
    assert lower_bound(ours, theirs, level=0.95) == difference_interval(*rows, ratio, np.zeros(1), None)[0]
    # Agresti and Min: (n12 + 1/2, n21 + 1/2) of n + 2; z = 1.645
    half = 1.6448536 * ((2.5 + 0.5 - (2 / 6 * 6) ** 2 / 6) / 6 / 6) ** 0.5
    assert lower_bound(ours, theirs) == pytest.approx(2 / 6 - half, abs=1e-6)
    assert -1 < lower_bound(np.ones(3), np.ones(3)) < 0  # three ties are no certainty
