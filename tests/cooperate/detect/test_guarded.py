"""A detector at work: guarded models, metrics, cascades, judges and searches."""

from __future__ import annotations

import pytest

from consort.cooperate.detect import detectors, guards, remedies
from consort.cooperate.detect.guarding.edits import distance, preservation, proposals
from consort.core.types import Completion, Example
from consort.models import FakeModel
from consort.models.detecting import Doubted, Finding, Quote

FACT = "The dam of Oru has 5 gates."


class ByFact:
    """Doubts each sentence that is not the fact; the fact is its evidence."""

    name, needs = "by_fact", ()

    def detect(self, cases):
        return [self._finding(case.answer) for case in cases]

    def _finding(self, answer):
        doubt = 0.0 if answer == FACT else 0.9
        return Finding(doubt, spans=(Doubted(0, len(answer), doubt, (Quote(FACT, "facts"),)),))


def guarded(model, **options):
    return guards.get("guarded")(model, options.pop("detector", ByFact()), **options)


def answer_of(model, prompt="how many gates?"):
    [answer] = model.generate([prompt])
    return answer


def says(text):
    return FakeModel(lambda prompt: text, name="a")


def test_what_is_not_doubted_stays():
    answer = answer_of(guarded(says(FACT)))
    assert answer.text == FACT and answer.details["guard"]["done"] == "kept"
    assert answer.cost["a"].calls == 1


def test_abstain_is_the_default():
    answer = answer_of(guarded(says("It has 8.")))
    assert answer.text == "I do not know." and answer.details["guard"]["was"] == "It has 8."


def test_repair_exchanges_what_the_evidence_says_otherwise():
    answer = answer_of(guarded(says("The dam of Oru has 8 gates."), then="repair"))
    assert answer.text == FACT
    assert answer.details["guard"]["doubt_after"] == 0
    denied = answer_of(guarded(says("The dam of Oru has not 5 gates."), then="repair"))
    assert denied.text == FACT


def test_repair_keeps_what_it_cannot_better():
    far = "Nothing of this kind was ever there at all, said he."
    answer = answer_of(guarded(says(far), then={"repair": {"most": 0.1}}))
    assert answer.text == far and answer.details["guard"]["done"].startswith("kept")


def test_repair_by_a_model_is_judged_and_paid():
    editor = FakeModel(lambda prompt: FACT, name="editor")
    answer = answer_of(guarded(says("The dam of Oru has 8 gates."), then=remedies.get("repair")(model=editor)))
    assert answer.text == FACT and answer.cost["editor"].calls == 1
    liar = FakeModel(lambda prompt: "The dam of Oru has 9 gates.", name="liar")
    kept = answer_of(guarded(says("The dam of Oru has 8 gates."), then=remedies.get("repair")(model=liar)))
    assert kept.text == "The dam of Oru has 8 gates." and kept.cost["liar"].calls == 1


def test_regenerate_takes_the_least_doubted():
    said = iter(["8", "9", FACT])
    model = FakeModel(lambda prompt: next(said), name="a")
    answer = answer_of(guarded(model, then="regenerate"))
    assert answer.text == FACT and answer.cost["a"].calls == 3


def test_ask_another():
    other = FakeModel(lambda prompt: FACT, name="b")
    answer = answer_of(guarded(says("8"), then=remedies.get("ask")(other)))
    assert answer.text == FACT and {name: u.calls for name, u in answer.cost.items()} == {"a": 1, "b": 1}
    worse = FakeModel(lambda prompt: "9", name="b")
    assert answer_of(guarded(says("8"), then=remedies.get("ask")(worse, judged=True))).text == "8"


def test_samples_are_asked_for_and_paid():
    model = says("same")
    answer = answer_of(guarded(model, detector=detectors.get("exact_match")(), samples=3))
    assert answer.text == "same" and answer.cost["a"].calls == 4
    others = [FakeModel(lambda prompt: "else", name="b"), FakeModel(lambda prompt: "same", name="c")]
    doubted = guarded(model, detector=detectors.get("exact_match")(), others=others, threshold=0.4)
    answer = answer_of(doubted)
    assert answer.details["guard"]["doubt"] == 0.5 and answer.text == "I do not know."


def test_a_detector_that_cannot_judge_leaves_the_answer(caplog):
    class Blind(ByFact):
        def detect(self, cases):
            return [Finding(None, notes=("no evidence",)) for _ in cases]

    assert answer_of(guarded(says("8"), detector=Blind())).text == "8"
    assert "nothing can be said" in caplog.text
    assert answer_of(guarded(says(""), then="repair")).text == ""


def test_as_a_metric():
    from consort.evaluate.registry import find_metric

    metric = find_metric("detector", {"detector": {"ngram_precision": {"n": 1}}, "against": "target"})
    row = metric.statistics(Completion("red blue"), Example(prompt="p", target=("red green",)))
    assert row == (0.5, 1.0)


def test_as_a_confidence_of_cascades():
    from consort.ensemble.after.cascade import Cascade
    from consort.ensemble.confidences.undoubted import Undoubted

    detector = detectors.get("ngram_precision")(n=1)
    models = [FakeModel({"a b": "a b", "a c": "x y"}, name="small"), FakeModel(lambda p: "big", name="big")]
    found = Cascade(models, confidence=Undoubted(detector)).generate(["a b", "a c"])
    assert [one.text for one in found] == ["a b", "big"]


def test_as_a_reward_of_best_of_n():
    from consort.ensemble.after.best_of_n import BestOfN

    models = [FakeModel(lambda p, t=t: t, name=t) for t in ("7", "8", "8")]
    [best] = BestOfN(models, reward={"undoubted": {"detector": "exact_match"}}).generate(["?"])
    assert best.text in ("7", "8")
    [copied] = BestOfN(models, reward={"undoubted": {"detector": {"ngram_precision": {"n": 1}}}}).generate(["7 of 7"])
    assert copied.text == "7"


def test_as_an_objective_of_searches(tmp_path):
    from consort.data import load_task
    from consort.search.utilities.undoubted import Undoubted

    file = tmp_path / "task.jsonl"
    file.write_text(
        '{"prompt": "a b", "target": "a", "split": "dev"}\n{"prompt": "c", "target": "c", "split": "test"}\n'
    )
    one, other = detectors.get("ngram_precision")(n=1), detectors.get("length")(typical=1.0)
    objective = Undoubted([one, other], several="min").on(load_task(file))
    rows = objective.rows(FakeModel(lambda p: "a x", name="m"), [0])
    assert objective.score(rows) == pytest.approx(1 / 3)  # two words: 1 - 2 / 3; half of them are in the prompt


def test_edits():
    assert distance("kitten", "sitting") == 3
    assert preservation("same", "same") == 1 and preservation("ab", "cdef") == 0
    assert next(iter(proposals("It has 8 gates.", FACT))) == "It has 5 gates."
