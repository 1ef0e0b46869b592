from __future__ import annotations

import math

import pytest

from consort.core.errors import BadData, Incompatible, UnknownName
from consort.core.types import Completion, Usage
from consort.evaluate import compare, comparison_table, evaluate, gate, plain_table

N = 100
SUMS = [{"prompt": str(i), "target": "yes", "split": "test"} for i in range(N)]


def right(rote, name, *spans):
    return rote(name, {str(i): "yes" for span in spans for i in range(*span)}, default="no")


@pytest.fixture
def three(rote, task_of):
    task = task_of(SUMS)
    models = right(rote, "a", (0, 60)), right(rote, "b", (0, 50)), right(rote, "both", (0, 90))
    return [evaluate(m, task) for m in models]


def test_differences_to_the_best_single_are_paired(three):
    found = compare(three, singles=["a", "b"])
    a, b, both = found.systems
    assert found.reference == "a" and a.difference is None and found.count == N
    assert both.difference.value == pytest.approx(0.3) and b.difference.value == pytest.approx(-0.1)
    # a and b differ on 10 examples only, so the paired interval is narrower than that of either score
    low, high = b.difference.interval
    half = 1.96 * math.sqrt(0.1 * 0.9 / N)
    assert (low, high) == pytest.approx((-0.1 - half, -0.1 + half), abs=0.01)
    assert both.difference.share_not_better == 0 and b.difference.share_not_better == 1


def test_the_reference_can_be_named_or_inferred(three):
    assert compare(three, reference="b").reference == "b" and compare(three).reference == "both"
    with pytest.raises(UnknownName, match="no system named 'c'"):
        compare(three, reference="c")
    with pytest.raises(BadData, match="one name"):
        compare([three[0], three[0]])
    with pytest.raises(BadData, match="no results"):
        compare([])


def test_a_system_of_several_models_is_no_single(task_of, rote, three):
    class Team:
        name = "team"

        def generate(self, prompts, sampling):
            return [Completion("yes", usage=Usage(1), cost={"a": Usage(1), "b": Usage(1)}) for _ in prompts]

    found = compare([*three[:2], evaluate(Team(), task_of(SUMS))])
    assert found.reference == "a" and found.systems[2].difference.value == pytest.approx(0.4)


def test_only_the_same_examples_are_compared(rote, task_of, three):
    with pytest.raises(Incompatible, match="same examples"):
        compare([three[0], evaluate(right(rote, "c", (0, 9)), task_of(SUMS), limit=50)])
    with pytest.raises(Incompatible, match="same metric"):
        compare([three[0], evaluate(right(rote, "c", (0, 9)), task_of(SUMS, metric="contains"))])


TEXTS = [{"text": "a" * n} for n in (3, 5, 9)]


def test_across_tokenizers_bytes_are_compared(uniform, task_of):
    task = task_of(TEXTS, metric="perplexity")
    mine, yours, same = (evaluate(uniform(*m), task) for m in (("m", 0.5), ("y", 0.25, "", "other"), ("s", 0.25)))
    within, across = compare([mine, same]), compare([mine, yours])
    assert within.unit == "score" and within.systems[1].difference.value == pytest.approx(-math.log(2))
    assert across.unit == "bits_per_byte" and [s.score for s in across.systems] == pytest.approx([-1, -2])
    assert across.systems[1].difference.value == pytest.approx(-1) and gate(yours, mine).unit == "bits_per_byte"
    with pytest.raises(Incompatible, match="tokenizers"):
        compare([mine, yours], unit="score")


def test_bits_per_byte_are_of_texts_only(three):
    with pytest.raises(Incompatible, match="no bits per byte"):
        compare(three, unit="bits_per_byte")


def test_the_gate_never_returns_worse(three):
    a, b, both = three
    assert gate(both, a).winner == "both" and gate(b, a).winner == "a" and gate(a, a).kept
    decision = gate(b, a)
    assert not decision.kept and decision.difference.value == pytest.approx(-0.1)
    assert decision.to_json()["winner"] == "a" and decision.to_json()["difference"]["share_not_better"] == 1


def test_json_leaves_the_rows_out(three):
    value = compare(three).to_json()
    assert value["systems"][0]["model"] == "a" and "statistics" not in value["systems"][0]


def test_table(three):
    titles, rows = comparison_table(compare(three, singles=["a", "b"]))
    assert titles == ("system", "exact_match", "95 % interval", "vs a", "tokens", "s/example")
    assert rows[0][:2] == ("a", "0.600") and rows[0][3] == "–" and rows[2][3].startswith("+0.300 [+0.2")
    lines = plain_table(titles, rows).splitlines()
    assert len(lines) == 4 and lines[0].startswith("system") and len({line.index("0.") for line in lines[1:]}) == 1


def test_table_shows_perplexity_itself(uniform, task_of):
    task = task_of(TEXTS, metric="perplexity")
    titles, rows = comparison_table(compare([evaluate(uniform("m", 0.25), task)]))
    assert titles[1] == "perplexity" and rows[0][1:3] == ("4.000", "4.000 – 4.000")


def test_texts_that_a_tokenizer_cannot_write_are_compared_within_it_only(uniform, task_of):
    task = task_of([{"text": "ab?"}, {"text": "?"}], metric="perplexity")
    models = [uniform("m", 0.5, "", "small"), uniform("n", 0.25, "", "small"), uniform("y", 0.25, "", "other")]
    for model in models[:2]:
        model.tokenizer.unk = ord("?")
    small, same, other = (evaluate(model, task) for model in models)
    assert (small.figures["unknown_tokens"], other.figures["unknown_tokens"]) == (2, 0)
    assert compare([small, same]).unit == "score"
    with pytest.raises(Incompatible, match="m: its tokenizer cannot write the text: unknown tokens: 2"):
        compare([small, other])
    with pytest.raises(Incompatible, match="cannot write"):
        gate(other, small)
