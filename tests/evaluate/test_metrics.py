from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadData, UnknownName
from consort.core.types import Example
from consort.evaluate.metrics.bleu import bleu, bleu_of_sums
from consort.evaluate.metrics.choice import choice
from consort.evaluate.metrics.contains import contains
from consort.evaluate.metrics.exact_match import exact_match
from consort.evaluate.metrics.numeric import last_number, numeric
from consort.evaluate.metrics.perplexity import perplexity
from consort.evaluate.metrics.token_f1 import token_f1
from consort.evaluate.registry import METRICS, find_metric


def to(*targets: str) -> Example:
    return Example(prompt="p", target=targets, line=3)


def corpus_bleu(*pairs: tuple[str, Example]) -> float:
    return float(bleu_of_sums(np.array([bleu(*pair) for pair in pairs]).sum(0)))


def test_what_a_metric_asks_of_rows_stands_beside_it_and_in_its_source():
    for name, entry in METRICS.entries().items():
        live = find_metric(name)
        assert live.needs == tuple(entry.options.get("needs", ())) and live.name == name
        assert live.asks == entry.options.get("asks", "generate")
    assert {n for n in METRICS if find_metric(n).unit and find_metric(n).is_ours} == {
        "choice", "code", "contains", "detector", "exact_match", "multiple_choice", "numeric", "sql_execution",
        "sql_match", "token_f1",
    }  # fmt: skip
    assert find_metric("perplexity").numbers == 3 and find_metric("abstain").span == (-1, 1)


@pytest.mark.parametrize(("answer", "score"), [(" 4\n", 1), ("5", 1), ("4.", 0), ("", 0), ("FOUR", 0)])
def test_exact_match(answer, score):
    assert exact_match(answer, to("4 ", "5", "four")) == score


def test_contains():
    assert contains("it is Paris.", to("London", " Paris ")) == 1 and contains("paris", to("Paris")) == 0
    with pytest.raises(BadData, match="empty target"):
        contains("x", to(" "))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("about $1,234.50.", 1234.5),
        ("5-3", 3),
        ("x=-7", -7),
        ("minus: −3", -3),
        ("-$5", -5),
        ("US$5", 5),
        ("50%", 50),
        ("1e5 apples", 1e5),
        ("#### 1,000", 1000),
        ("1, 2 and 3", 3),
        ("1,2345", 2345),
        ("$.50", 0.5),
        ("16GB", 16),
        ("9" * 400, math.inf),
        ("none", None),
        ("v2", None),
    ],
)
def test_last_number(text, number):
    assert last_number(text) == number


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}", "it is {:,}.", "${}", "{}%", "a 3 and {}"]))
def test_last_number_of_written_numbers(number, form):
    assert last_number(form.format(number).replace("$-", "-$")) == number


def test_numeric_tolerance_is_relative():
    assert (
        numeric("1000.9", to("#### 1,000"), tolerance=1e-3) == 1 and numeric("1001.1", to("1000"), tolerance=1e-3) == 0
    )
    assert numeric("no idea", to("1")) == 0 and numeric("2", to("1", "2")) == 1
    with pytest.raises(BadData, match="no number"):
        numeric("1", to("one"))


def test_token_f1_by_hand():
    # words cat sat mat | cat sat down: 2 shared of 3 and 3
    assert token_f1("The cat sat, a mat!", to("cat sat down")) == pytest.approx(2 / 3)
    assert token_f1("the", to("a")) == 1 and token_f1("", to("x")) == 0 and token_f1("x", to("y", "X.")) == 1


def test_choice_is_the_largest_sum_and_the_first_of_equals():
    example = Example(prompt="p", choices=("a", "b", "c"), answer=1)
    assert choice([-3.0, -1.0, -2.0], example) == 1 and choice([-1.0, -1.0, -2.0], example) == 0


def test_perplexity_row():
    assert perplexity([-1.0, -2.5], 7.0) == (-3.5, 2.0, 7.0)


def test_bleu_by_hand():
    # 5 of 6 words, 4 of 5 pairs, 3 of 4, 2 of 3; lengths equal
    by_hand = (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert corpus_bleu(("the cat sat on the mat", to("the cat sat on the rug"))) == pytest.approx(by_hand)
    # brevity: all 4 n-grams match, 4 words against 6
    assert corpus_bleu(("the cat sat on", to("the cat sat on the rug"))) == pytest.approx(math.exp(1 - 6 / 4))


def test_bleu_clips_takes_the_nearest_reference_and_sums_over_the_corpus():
    row = bleu("the the the the", to("the cat", "the the dog on the hill"))
    assert row[:4] == (3, 1, 0, 0) and row[4:8] == (4, 3, 2, 1) and row[8:] == (4, 2)
    # orders without a match count 1/2, 1/4 and 1/8
    assert corpus_bleu(("the the the the", to("the"))) == pytest.approx((1 / 4 * 1 / 6 * 1 / 8 * 1 / 8) ** 0.25)
    assert corpus_bleu(("", to("x"))) == 0
    pairs = ("a b c d", to("a b c d")), ("x y", to("x y"))
    assert corpus_bleu(*pairs) == pytest.approx(1)


WORDS = ["the", "cat", "don't", "well-known", "U.S.", "3.5", "1,000", "dogs", "run!", "(now)", "€", "naïve", '"x"']
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)


@given(st.lists(st.tuples(TEXTS | st.just(""), TEXTS, TEXTS), min_size=1, max_size=4))
def test_D15_bleu_and_chrf_are_sacrebleus(rows):
    sacrebleu = pytest.importorskip("sacrebleu")
    answers, first, second = map(list, zip(*rows, strict=True))
    examples = [to(*pair) for _, *pair in rows]
    for metric, corpus in (("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)):
        found = find_metric(metric)
        sums = np.array([found.statistics(a, e) for a, e in zip(answers, examples, strict=True)]).sum(0)
        wanted = corpus(answers, [first, second], **({"force": True} if metric == "bleu" else {})).score
        assert float(found.aggregate(sums)) * 100 == pytest.approx(wanted, abs=1e-6)


def test_a_users_function(tmp_path, monkeypatch):
    code = "def length(answer, example): return len(answer)\ndef bad(answer, example): return 1 / 0\nnumber = 1\n"
    (tmp_path / "own_metric.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_metric("own_metric:length").statistics("abc", to("x")) == (3.0, 1.0)
    with pytest.raises(BadData, match="ZeroDivisionError") as caught:
        find_metric("own_metric:bad").statistics("abc", to("x"))
    assert caught.value.field == "metric own_metric:bad, line 3"
    for name in ("own_metric:none", "own_metric:number", "no_such_module_here:f", "exact_mach", "reward"):
        with pytest.raises(UnknownName) as unknown:
            find_metric(name)
        assert unknown.value.hint
