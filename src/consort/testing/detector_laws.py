"""Laws that every detector keeps; for authors of plug-ins as for consort's own tests.

`check(NAME)` runs every law over a registered detector. A law is a function of a detector that raises AssertionError
where it is broken; the models behind it are exact fakes. What a detector needs is said by its decorator: `needs`,
`example` (arguments; the words of `STANDS_FOR` stand for the fakes) and `exempt`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from consort.cooperate.detect import detectors
from consort.core.errors import EnvironmentFailure
from consort.core.types import Usage
from consort.knowledge.evidence import Evidence
from consort.models import FakeModel
from consort.models.detecting import Case, Finding
from consort.testing.built import exempt, letters_model, run

CASES = (
    Case(
        "red is the town. two men came.",
        "what is it",
        "red is the town. two men came. no more is known.",
        ("red is the town. two men came.",) * 3,
        (-0.1, -0.2, -0.3),
        ((-0.1, -0.2), (-0.5,), (-0.3, -0.4)),
    ),
    Case(
        "the sky was not green. nine men left, said Dora.",
        "what else",
        "a sky that was green. two men left.",
        ("the sky was green", "two men left", "it rained"),
        (-2.0, -0.1),
        ((-1.0,), (-2.0, -1.0), (-0.2,)),
    ),
    Case("all.", "", "all of it", ("all.", "none."), (-0.5,), ((-0.5,), (-0.6,))),
)


class ExactNli:
    """Stands for a pair scorer: words decide. All of the hypothesis in the premise: entailed; a "not" on one side
    alone, or another number: contradicted; else neutral."""

    name = key = "exact"

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []
        self._usage = Usage()

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> np.ndarray:
        pairs = list(zip(premises, hypotheses, strict=True))
        self.pairs += pairs
        self._usage += Usage(sum(len(a) + len(b) for a, b in pairs), 0, len(pairs), 0.0)
        return np.array([self._row(*pair) for pair in pairs]).reshape(len(pairs), 3)

    def spent(self) -> Usage:
        usage, self._usage = self._usage, Usage()
        return usage

    def _row(self, premise: str, hypothesis: str) -> tuple[float, float, float]:
        one, other = (set(re.findall(r"\w+", text.lower())) for text in (premise, hypothesis))
        if ("not" in one) != ("not" in other) or {w for w in other if w.isdigit()} - one:
            return (0.0, 0.0, 1.0)
        return (1.0, 0.0, 0.0) if other <= one else (0.0, 1.0, 0.0)


def _answers(prompt: str) -> str:
    """One question about the whole of a text; the answer is the text."""
    quotes = re.findall(r"```\n(.*?)\n```", prompt, re.DOTALL)
    return '["What is said?"]' if "JSON" in prompt else str(quotes[0])


class Facts:
    """Stands for a retriever: the same two pieces for every query, or for none."""

    def __init__(self, *texts: str, source: str = "facts", fails: bool = False) -> None:
        self.texts, self.source, self.fails = texts or ("red is the town. two men came.", "it rained."), source, fails

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        if self.fails:
            raise EnvironmentFailure("does not answer", field="facts")
        found = [Evidence(str(i), text, 1.0 / (i + 1), self.source) for i, text in enumerate(self.texts)]
        return [found[:k] for _ in queries]


STANDS_FOR: Mapping[str, Callable[[], Any]] = {
    "fake": ExactNli,
    "yes": lambda: FakeModel(_reads, name="yes"),
    "facts": lambda: Facts(),
    "agrees": lambda: FakeModel(lambda prompt: '["Is it red?"]' if "JSON" in prompt else "No", name="agrees"),
    "programs": lambda: FakeModel(lambda prompt: 'a = Verify("red is the town")\nb = Predict(a)', name="programs"),
    "asks": lambda: FakeModel(_answers, name="asks"),
    "letters": lambda: letters_model(0),
}


def _reads(prompt: str) -> str:
    """Yes where the second quotation of a prompt stands in the first."""
    quotes = re.findall(r"```\n(.*?)\n```", prompt, re.DOTALL)
    return "Yes" if len(quotes) > 1 and quotes[1].rstrip(".") in quotes[0] else "No"


def build(name: str) -> Any:
    """The detector of that name as its decorator's `example` says."""
    example = detectors.entry(name).options.get("example", {})
    made = detectors.get(name)(**{key: _stood_for(value) for key, value in example.items()})
    if hasattr(made, "fit") and not getattr(made, "weights", ()):
        cases = [Case("word " * n, "", "word", ("word",)) for n in range(1, 41)]
        made, _ = made.fit(cases, [n % 3 > 0 for n in range(40)], [str(n) for n in range(40)])
    return made


def _stood_for(value: Any) -> Any:
    if isinstance(value, str) and value in STANDS_FOR:
        return STANDS_FOR[value]()
    if isinstance(value, str) and value == "tiny":
        return tiny_encoder()
    if isinstance(value, list | tuple):
        return [_stood_for(one) for one in value]
    return value


def doubts_are_in_the_unit_interval(detector: Any) -> None:
    """One finding a case, its doubt and those of its spans in [0, 1]; spans lie in the answer, in order."""
    for case, finding in zip(CASES, detector.detect(CASES), strict=True):
        assert finding.doubt is None or 0 <= finding.doubt <= 1, finding
        for span in finding.spans:
            assert 0 <= span.start < span.end <= len(case.answer), span
            assert span.doubt is None or 0 <= span.doubt <= 1, span
        starts = [span.start for span in finding.spans]
        assert starts == sorted(starts)


def a_batch_is_its_cases(detector: Any) -> None:
    """The finding of a case does not depend on the others, nor on their order."""
    whole = detector.detect(CASES)
    for case, finding in zip(CASES, whole, strict=True):
        [alone] = detector.detect([case])
        assert _near(alone.doubt, finding.doubt), (alone.doubt, finding.doubt)
    back = detector.detect(CASES[::-1])[::-1]
    assert all(_near(a.doubt, b.doubt) for a, b in zip(whole, back, strict=True))


def equal_cases_are_equally_doubted(detector: Any) -> None:
    """Asked twice it says the same."""
    first, second = detector.detect(CASES), detector.detect(CASES)
    assert [f.doubt for f in first] == [f.doubt for f in second]


def the_order_of_samples_is_free(detector: Any) -> None:
    """Samples may stand in any order."""
    case = CASES[1]
    turned = replace(case, samples=case.samples[::-1], sample_logprobs=(case.sample_logprobs or ())[::-1])
    [one], [other] = detector.detect([case]), detector.detect([turned])
    assert _near(one.doubt, other.doubt, 1e-7), (one.doubt, other.doubt)


def what_all_say_is_least_doubted(detector: Any) -> None:
    """A detector of samples doubts an answer that all samples repeat no more than one that none has to do with."""
    if "samples" not in detector.needs:
        return
    same = replace(CASES[0], samples=(CASES[0].answer,) * 3)
    other = replace(CASES[0], samples=("7 dogs do not bark", "8 cats", "9 cows sleep not"))
    agreed, alone = (f.doubt for f in detector.detect([same, other]))
    assert agreed is not None and alone is not None and agreed < alone, (agreed, alone)


def a_copy_is_least_doubted(detector: Any) -> None:
    """A detector of sources doubts a copy of the source no more than what contradicts it."""
    if "source" not in detector.needs:
        return
    text = "the dam has 5 gates."
    copy, wrong = detector.detect([Case(text, "", text), Case("the dam has 8 doors.", "", text)])
    assert copy.doubt is not None and wrong.doubt is not None and copy.doubt < wrong.doubt, (copy, wrong)


def empty_answers_are_told(detector: Any) -> None:
    """Of an empty answer nothing is known and a note says why; a very long one is no crash."""
    long = replace(CASES[0], answer="red is the town. " * 200, source="red is the town. " * 200)
    empty, *_ = found = detector.detect([replace(CASES[0], answer=" "), long])
    assert len(found) == 2
    assert empty.doubt is None and empty.notes, empty


def costs_are_told(detector: Any) -> None:
    """What a detector asks of models is in the cost of its findings: a scorer's calls are all there."""
    nli = next((v for v in vars(detector).values() if isinstance(v, ExactNli)), None)
    if nli is None:
        return
    before = len(nli.pairs)
    calls = sum(f.cost[nli.name].calls for f in detector.detect(CASES) if nli.name in f.cost)
    assert calls == len(nli.pairs) - before, f"{calls} told, {len(nli.pairs) - before} made"


KINDS = ("detector",)
LAWS: tuple[Callable[[str], None], ...] = ()


def _of_name(law: Callable[[Any], None]) -> Callable[[str], None]:
    def of(name: str) -> None:
        law(build(name))

    of.__name__, of.__doc__ = law.__name__, law.__doc__
    return of


LAWS = tuple(
    _of_name(law)
    for law in (
        doubts_are_in_the_unit_interval,
        a_batch_is_its_cases,
        equal_cases_are_equally_doubted,
        the_order_of_samples_is_free,
        what_all_say_is_least_doubted,
        a_copy_is_least_doubted,
        empty_answers_are_told,
        costs_are_told,
    )
)


def check(name: str) -> list[str]:
    """Every law over one detector; the names of the laws that held."""
    return run(detectors, LAWS, name)


def _near(a: float | None, b: float | None, within: float = 1e-5) -> bool:
    return a is b or (a is not None and b is not None and math.isclose(a, b, rel_tol=0, abs_tol=within))


@cache
def tiny_encoder() -> str:
    """The folder of a random encoder of two layers over bytes."""
    import tempfile

    import torch
    from transformers import BertConfig, BertModel

    from consort.lab.folder import wrap
    from consort.lab.tokenizers import byte_pairs

    folder = Path(tempfile.mkdtemp(prefix="consort-law-")) / "encoder"
    tokenizer = byte_pairs(["red is the town"], 300)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=512,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(config).eval()
    model.save_pretrained(folder)
    wrap(tokenizer).save_pretrained(folder)
    return str(folder)


__all__ = ["CASES", "LAWS", "ExactNli", "Finding", "build", "check", "exempt"]
