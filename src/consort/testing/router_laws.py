"""Laws of routers: what holds for each of them, whatever it has learned.

For authors of routers as for consort's own tests: `check(NAME)` runs every law over a registered router. What a router
needs to be quick is its decorator's `example`, what it cannot keep its `exempt`. In a law `build` makes a router of the
given models; the queries are sums and words on which different models are right, so that there is something to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from consort.core.errors import BadData, Unsupported
from consort.core.types import Usage
from consort.ensemble.before import before
from consort.ensemble.learning.fitting import load_learned, save_learned, with_learned
from consort.ensemble.learning.observations import Observed
from consort.models.cost import cost_of
from consort.models.fake import FakeModel
from consort.testing.built import built, run
from consort.testing.law import Law, applies, law_of
from consort.testing.queries import observed as observed

KINDS = ("router",)
Build = Callable[[Sequence[Any]], Any]


def models(count: int = 2) -> list[FakeModel]:
    """Models that say their own name."""
    return [FakeModel(partial(_answer, f"m{i}"), name=f"m{i}") for i in range(count)]


def _answer(name: str, text: str) -> str:
    return f"{name} answers"


def fitted(router: Any, data: Observed) -> Any:
    """The router, fitted where it has to be."""
    return router.fit(data, seed=0) if router.needs_fit else router


def is_deterministic(build: Build) -> None:
    """Fitted twice it decides alike, and a query's decision does not depend on its batch."""
    data = observed()
    first, second = (fitted(build(models()), data) for _ in range(2))
    scores = first.scores(data.queries)
    np.testing.assert_array_equal(scores, second.scores(data.queries))
    alone = np.concatenate([first.scores([text]) for text in data.queries[:6]])
    np.testing.assert_allclose(alone, scores[:6], atol=1e-5)


def follows_a_permutation(build: Build) -> None:
    """Models and columns in any order, alike or not: the same models are chosen, of equally good ones too.

    Between a strong and a weak model the models keep their parts, and only the columns stand in another order.
    """
    by_role = fitted(build(models()), observed()).by_role
    count = 2 if by_role else 3
    data = observed(count)
    copies = replace(data, quality=np.concatenate([data.quality[:, :1], data.quality[:, :1], data.quality[:, 2:]], 1))
    for seen in (data, copies, replace(copies, quality=np.ones_like(data.quality))):
        expected = _names(fitted(build(models(count)), seen), data.queries)
        for order in permutations(range(count)):
            members = models(count)
            reordered = fitted(build(members), seen.columns(order))
            assert _names(reordered, data.queries) == expected, f"columns {order} change what is chosen"
            if not by_role:
                other = fitted(build([members[i] for i in order]), seen.columns(order))
                assert _names(other, data.queries) == expected, f"models {order} change what is chosen"


def _names(router: Any, queries: Sequence[str]) -> list[str]:
    return [router.labels[m] for m in router.choose(queries)]


def keeps_its_state(build: Build) -> None:
    """Written and read, what was learned decides as before."""
    data = observed()
    router = fitted(build(models()), data)
    applies(router.learned is not None, "it learns nothing")
    with TemporaryDirectory() as folder:
        path = Path(folder) / router.learned.file_name
        save_learned(router.learned, path)
        again = with_learned(build(models()), load_learned(path))
    np.testing.assert_array_equal(again.scores(data.queries), router.scores(data.queries))


def of_one_model_is_that_model(build: Build) -> None:
    """Copies of one model answer what the model answers, whatever is chosen."""
    data, (model, _) = observed(), models()
    router = fitted(build([model, model]), data)
    prompts = data.queries[:4]
    expected = [answer.text for answer in model.generate(prompts)]
    assert [answer.text for answer in router.generate(prompts)] == expected


def adds_costs(build: Build) -> None:
    """An answer costs what the models asked for it cost, and says who they were and which was chosen."""
    data = observed()
    router = fitted(build(models()), data)
    for answer in router.generate(data.queries[:4]):
        assert answer.details["chosen"] in router.labels
        asked = [m for m in router.models if m.name in answer.details["asked"]]
        spent = [cost_of(m, m.generate(["one two three"])[0]) for m in asked]
        calls = sum(usage.calls for cost in spent for usage in cost.values())
        judged = [n for n in answer.cost if n not in router.labels]
        assert sum((u.calls for u in answer.cost.values()), 0) == calls + len(judged)
        assert all(isinstance(usage, Usage) for usage in answer.cost.values())


def passes_over_failures(build: Build) -> None:
    """A member that fails is replaced by the next best, and both are named."""
    data, members = observed(), models()
    members[0] = FakeModel({}, name="m0")  # has no answers
    router = fitted(build(members), data)
    for answer in router.generate(data.queries):
        assert answer.text == "m1 answers"
        assert answer.details["chosen"] == "m1"
        assert ("m0" in answer.details.get("failed", {})) == ("m0" in answer.details["asked"])


def skips_unknown_qualities(build: Build) -> None:
    """Qualities that are not known do not keep it from being fitted."""
    data = observed()
    quality = data.quality.copy()
    quality[::5, 0] = np.nan
    router = fitted(build(models()), replace(data, quality=quality))
    assert np.isfinite(router.predict(data.queries)).all()


class Judge(FakeModel):
    """Says its own name, and scores a continuation of n letters -(100 * number + n); fails at words in `refuses`."""

    def __init__(self, number: int, refuses: Sequence[str] = ()) -> None:
        super().__init__(lambda text: f"m{number} answers", name=f"m{number}")
        self.number, self.refuses = number, refuses

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """What it says of each pair of context and continuation."""
        if any(continuation in self.refuses for _, continuation in pairs):
            raise BadData("does not fit", field="pairs")
        return [-float(100 * self.number + len(continuation)) for _, continuation in pairs]


def scores_with_the_chosen_member(build: Build) -> None:
    """A continuation has the likelihood that the member gives which would answer its context, and costs that much."""
    data = observed()
    router = fitted(build([Judge(0), Judge(1)]), data)
    contexts = data.queries[:3] + data.queries[-3:]
    pairs = [(context, " no" if i % 2 else " yes") for context in contexts for i in range(2)]
    chosen = [int(answer.details["chosen"][1:]) for answer in router.generate([context for context, _ in pairs])]
    expected = [-float(100 * m + len(text)) for m, (_, text) in zip(chosen, pairs, strict=True)]
    assert router.score(pairs) == expected
    _, usage, cost = router.read_pairs(pairs)
    assert usage.calls == len(pairs)
    assert {m: cost[f"m{m}"].calls for m in set(chosen)} == {m: chosen.count(m) for m in set(chosen)}
    assert router.score([]) == []


def one_member_judges_a_context(build: Build) -> None:
    """Where the chosen member fails at one continuation, another one judges them all, so that they can be compared."""
    data = observed()
    router = fitted(build([Judge(0, refuses=[" b"]), Judge(1)]), data)
    for context in (data.queries[0], data.queries[-1]):
        assert router.score([(context, " a"), (context, " b")]) == [-102.0, -102.0]


def needs_members_that_score(build: Build) -> None:
    """A member without likelihoods is refused by name, before anybody is asked."""
    router = fitted(build([Judge(0), models()[1]]), observed())
    try:
        router.score([("what is 1 plus 1", " 2")])
    except Unsupported as refused:
        assert refused.field == "m1"
    else:
        raise AssertionError("a member that cannot score was not refused")


def params(name: str) -> dict[str, Any]:
    """The parameters of a registered router, by name."""
    return {p.name: p for p in before.entry(name).params}


def build_of(name: str, **more: Any) -> Build:
    """What makes the registered router `name`, with its example; who is asked for points gives many to sums."""
    points = FakeModel(lambda text: "5" if "plus" in text else "2", name="judge")
    asked = [p.name for p in params(name).values() if p.type == "model" and p.required and not p.many]
    given = {p: points for p in asked if p not in ("strong", "weak")}
    return lambda members: built(before, name, members, fit=False, given={**given, **more})


def thresholds_at_both_ends(name: str) -> None:
    """At the least threshold it is always the strong model, at the most never."""
    applies("threshold" in params(name), "it has no threshold")
    data, bounds = observed(), params(name)["threshold"].range
    for threshold, chosen in ((bounds.low, 0), (bounds.high, 1)):
        router = fitted(build_of(name, threshold=threshold)(models()), data)
        assert (router.choose(data.queries) == chosen).all(), f"threshold {threshold}"


def more_share_is_more_strong_calls(name: str) -> None:
    """The larger the share that is meant to go to the strong model, the more does."""
    applies("share" in params(name), "it has no share")
    data = observed()
    shares = [build_of(name, share=share, threshold=None)(models()).fit(data) for share in (0.1, 0.5, 0.9)]
    calls = [int((router.choose(data.queries) == 0).sum()) for router in shares]
    assert calls == sorted(calls), f"{calls} calls of the strong model"


def a_large_lambda_takes_the_cheapest(name: str) -> None:
    """Where price is all that counts the cheapest model is chosen."""
    applies("lambda_" in params(name), "it has no lambda")
    data = observed()
    router = build_of(name, lambda_=1e6)(models()).fit(data)
    assert (router.choose(data.queries) == 1).all()


def learns_what_there_is_to_learn(name: str) -> None:
    """On fresh queries it is right nearly always, where no single model is."""
    data, fresh = observed(seed=0), observed(seed=1)
    router = build_of(name)(models())
    applies(not router.by_role and router.needs_fit, "it is not fitted on qualities of models")
    chosen = router.fit(data).choose(fresh.queries)
    right = fresh.quality[np.arange(len(fresh)), chosen].mean()
    assert right >= 0.95 > fresh.accuracy.max(), f"right on {right:.0%}"


def plan_round_trip(name: str) -> None:
    """The plan of a router over tables builds the same plan again."""
    from consort.plan import build, parse, to_plan

    with TemporaryDirectory() as folder:
        file = Path(folder) / "table.jsonl"
        file.write_text('{"prompt": "p", "answers": {"a": "x", "b": "y"}}\n')
        one, other = f"table:{file}#a", f"table:{file}#b"
        singles = {p.plan_name: one for p in params(name).values() if p.type == "model" and p.required and not p.many}
        singles |= {"weak": other} if "weak" in singles else {}
        lists = {p.plan_name: [one, other] for p in params(name).values() if p.type == "model" and p.many}
        plan = {name: {**lists, **singles, **before.entry(name).options.get("example", {})}}
        assert to_plan(build(parse(plan))) == plan


LAWS: tuple[Law, ...] = (
    *(
        law_of(law, build_of)
        for law in (
            is_deterministic,
            follows_a_permutation,
            of_one_model_is_that_model,
            adds_costs,
            passes_over_failures,
            skips_unknown_qualities,
            scores_with_the_chosen_member,
            one_member_judges_a_context,
            needs_members_that_score,
            keeps_its_state,
        )
    ),
    thresholds_at_both_ends,
    more_share_is_more_strong_calls,
    a_large_lambda_takes_the_cheapest,
    learns_what_there_is_to_learn,
    plan_round_trip,
)
"""Laws of a registered router, by its name."""


def check(name: str) -> list[str]:
    """Every law over the router called `name`; those that held. Raises AssertionError where one is broken."""
    return run(before, LAWS, name)
