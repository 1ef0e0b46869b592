"""Speculation as a model: edges of answers, batches, streams, cost, what it tells, what it refuses."""

from __future__ import annotations

import pytest

from consort.cooperate.speculate import Speculate
from consort.core.errors import BadData, ConsortError, Unsupported
from consort.core.types import Sampling
from consort.ensemble.during.average import Average
from consort.models import FakeModel, FakeTokenizer, FakeTokenModel
from consort.testing import model_laws
from consort.testing import speculation_laws as laws

T, D = FakeTokenModel.random(1), FakeTokenModel.random(2)
CYCLE = FakeTokenModel(lambda t: [9.0 * (i == (t[-1] + 1) % 4) for i in range(6)], name="cycle")
"""abc abc abc … for ever."""


@pytest.mark.parametrize("law", model_laws.SESSION_LAWS, ids=lambda law: law.__name__)
def test_it_is_a_token_model(law) -> None:
    law(Speculate(T, D))


@pytest.mark.parametrize("law", model_laws.ANSWER_LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_laws_of_answers(law) -> None:
    law(Speculate(T, D), model_laws.prompts_of(T))


@pytest.mark.parametrize("max_tokens", range(8))
def test_max_tokens_within_a_draft(max_tokens: int) -> None:
    (answer,) = Speculate(CYCLE, CYCLE, gamma=5).generate(["a"], Sampling(max_tokens=max_tokens))
    assert answer.text == "bc abc abc"[:max_tokens]
    assert answer.finish_reason == "length"
    assert sum(answer.details["speculation"]["proposed_at"]) <= max(0, max_tokens - 2)


def test_a_draft_of_the_target_itself_always_stands() -> None:
    (answer,) = Speculate(CYCLE, CYCLE, gamma=5).generate(["a"], Sampling(max_tokens=13))
    told = answer.details["speculation"]
    assert (told["rounds"], told["proposed_at"], told["accepted_at"]) == (2, (2,) * 5, (2,) * 5)
    assert told["acceptance"] == 1.0
    (looked,) = Speculate(CYCLE, gamma=6).generate(["abc ab"], Sampling(max_tokens=13))
    assert looked.details["speculation"]["rounds"] == 2


def test_an_end_within_a_draft() -> None:
    model = FakeTokenModel(lambda t: [9.0 * (i == (5 if len(t) == 5 else 0)) for i in range(6)], name="five")
    (answer,) = Speculate(model, model, gamma=5).generate(["a"], Sampling(max_tokens=20))
    (wanted,) = model.generate(["a"], Sampling(max_tokens=20))
    assert (answer.tokens, answer.finish_reason) == (wanted.tokens, "stop")
    assert answer.tokens[-1] == 5


def test_a_stop_string_across_the_end_of_a_draft() -> None:
    for gamma in range(1, 7):
        (answer,) = Speculate(CYCLE, CYCLE, gamma=gamma).generate(["a"], Sampling(max_tokens=30, stop=("c ab",)))
        assert (answer.text, answer.finish_reason) == ("b", "stop")
        assert len(answer.tokens) == 5


def test_gamma_0_is_plain_decoding_and_never_drafts() -> None:
    (answer,) = Speculate(T, D, gamma=0).generate(["abc"], laws.SAMPLED)
    assert answer.tokens == T.generate(["abc"], laws.SAMPLED)[0].tokens
    assert set(answer.cost) == {T.name}


def test_one_token_prompts_and_full_windows() -> None:
    window = FakeTokenModel(CYCLE.logits, CYCLE.tokenizer, name="short", window=9)
    (answer,) = Speculate(window, CYCLE, gamma=5).generate([""], Sampling(max_tokens=50))
    assert len(answer.tokens) == 9
    assert answer.tokens == window.generate([""], Sampling(max_tokens=50))[0].tokens


def test_a_draft_of_a_short_window_reads_the_end_of_the_text() -> None:
    short = FakeTokenModel(CYCLE.logits, CYCLE.tokenizer, name="short", window=6)
    (answer,) = Speculate(CYCLE, short, gamma=8).generate(["a"], Sampling(max_tokens=60))
    assert answer.text == ("bc a" * 15)[:60]
    assert answer.details["speculation"]["acceptance"] == 1.0


def test_ensembles_are_targets_and_drafts() -> None:
    team = Average([T, D])
    model = Speculate(team, Average([D, T], weight=[3, 1]))
    prompts = model_laws.prompts_of(T)
    laws.same_answers(model, team, prompts, laws.GREEDY)
    for answer in model.generate(prompts, laws.GREEDY):
        assert set(answer.cost) == {T.name, D.name}


def test_the_cost_is_that_of_both_models() -> None:
    answer = Speculate(CYCLE, FakeTokenModel(CYCLE.logits, CYCLE.tokenizer, name="small"), gamma=3).generate(
        ["abc"], Sampling(max_tokens=9)
    )[0]
    # a prompt of 4 tokens and one drawn after it, then two rounds of 1 + 3; the draft reads 5 tokens and drafts one,
    # reads two of its own, then the last of its own with the target's next, and two of its own
    assert answer.cost["cycle"].prompt_tokens == 4
    assert answer.cost["cycle"].completion_tokens == 1 + 4 + 4
    assert (answer.cost["small"].prompt_tokens, answer.cost["small"].completion_tokens) == (5, 1 + 2 + 4)


def test_the_controller_switches_off_and_tells_why() -> None:
    ticks = iter(range(10**9))
    wrong = FakeTokenModel(lambda t: [9.0 * (i == (t[-1] + 2) % 4) for i in range(6)], name="wrong")
    model = Speculate(CYCLE, wrong, adapt=True)
    model.clock = lambda: float(next(ticks))  # every span of time is one tick, so drafting costs as much as the target
    first, second = (model.generate(["a"], Sampling(max_tokens=n))[0] for n in (40, 20))
    told = first.details["speculation"]
    assert not told["on"]
    assert told["acceptance"] == 0.0
    assert told["projected"] < 1
    assert told["switches"][0].startswith("speculation off: acceptance 0.00, draft cost ")
    assert second.details["speculation"]["proposed_at"] == ()  # what was learned is kept
    assert first.text == CYCLE.generate(["a"], Sampling(max_tokens=40))[0].text


def test_lossy_modes_say_so() -> None:
    for rule in ("typical", "ensemble"):
        model = Speculate(T, D, lossy=rule, weight=0.3)  # type: ignore[arg-type]
        (answer,) = model.generate(["abc"], laws.SAMPLED)
        assert answer.details["speculation"]["lossy"] == rule
        assert rule in model.name


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ({"draft": "lab:draft", "gamma": 3, "vocabulary": "slem"}, {}),
        ({"drafter": "lookup"}, {"drafter": {"lookup": {}}}),
        ({"drafter": {"lookup": {"max_n": 4}}}, {}),
        ({"draft": "lab:draft", "drafter": "tree"}, {"drafter": {"tree": {}}}),
        ({"drafter": {"tree": {"draft": "lab:draft", "branching": 3}}}, {}),
        ({"draft": "lab:draft", "drafter": {"staged": {"drafter": {"ngram": {"max_n": 2}}}}}, {}),
    ],
)
def test_a_round_trip_through_a_plan(arguments: dict, written: dict) -> None:
    from consort.plan import build, to_plan
    from consort.plan.expression import parse

    model = build(parse({"speculate": {"target": "lab:target", **arguments}}))
    assert to_plan(model) == {"speculate": {"target": "lab:target", **arguments, **written}}


def test_max_n_is_the_longest_ending_that_is_looked_up() -> None:
    """After "abcd…" and "xbcd…" the ending "abcd" tells which; three tokens tell only what came last."""
    from consort.cooperate.speculate.drafters.base import Start, Target
    from consort.cooperate.speculate.drafters.lookup import Lookup
    from consort.cooperate.speculate.rounds.pipeline import Pipeline

    text = [1, 2, 3, 4, 7, 5, 2, 3, 4, 8, 1, 2, 3, 4]
    for max_n, guess in ((3, [8]), (4, [7])):
        session = Lookup(max_n=max_n).open(Target(T), None)
        session.start([Start(text, b"")], Pipeline(Sampling()), 12)
        assert [list(draft.tokens) for draft in session.propose([1])] == [guess]


def test_a_drafter_is_one_file_and_asks_for_what_it_needs() -> None:
    """Defined and registered here, named in Python and in a plan, listed, and lawful."""
    from consort.cooperate.speculate.drafters import DRAFTERS, drafter
    from consort.cooperate.speculate.drafters.base import Drafter, Target
    from consort.cooperate.speculate.drafters.index import SuffixIndex
    from consort.cooperate.speculate.drafters.text_session import TextSession
    from consort.plan import build, to_plan
    from consort.plan.expression import parse

    @drafter(example={"far": 2})
    class Echo(Drafter):
        def __init__(self, *, far: int = 1) -> None:
            self.far = far

        def open(self, target: Target, draft: object) -> TextSession:
            return TextSession(lambda: SuffixIndex([self.far]))

    try:
        document = {"speculate": {"target": "lab:target", "drafter": {"echo": {"far": 3}}}}
        assert to_plan(build(parse(document))) == document
        assert Speculate(T, drafter="echo").guesser.name == "echo"  # type: ignore[arg-type]
        laws.check("echo")
    finally:
        del DRAFTERS._items["echo"], DRAFTERS._entries["echo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"draft": D, "drafter": "lookup"}, "draft: the drafter lookup takes no draft model"),
        ({"drafter": "tree"}, "draft: the drafter tree needs a draft model"),
        ({"draft": D, "drafter": {"tree": {"draft": T}}}, "draft: the drafter tree has a draft model already"),
        ({"draft": D, "drafter": "oracle"}, "drafter: no drafter named 'oracle'"),
        ({"drafter": {"lookup": {"max_n": 0}}}, r"max_n: 0 is outside \[1, 64\]"),
        ({"drafter": {"lookup": {"draft": D}}}, "draft: lookup has no parameter 'draft'"),
        ({"draft": D, "vocabulary": "x"}, "vocabulary: 'x' is not tli | slem"),
        ({"draft": D, "gamma": -1}, r"gamma: -1 is outside \[0, 64\]"),
        ({"draft": D, "drafter": "tree", "lossy": "typical"}, "lossy: trees are verified exactly"),
        ({"draft": D, "drafter": "tree", "coupled": True}, "coupled: the drafter tree has its own settings"),
        ({"vocabulary": "slem"}, "vocabulary: the drafter lookup has its own settings"),
    ],
)
def test_wrong_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ConsortError, match=message):
        Speculate(T, **arguments)


def test_models_without_logits_and_empty_prompts() -> None:
    with pytest.raises(Unsupported, match="target: fake does not show its logits"):
        Speculate(FakeModel({}), D)  # type: ignore[arg-type]
    blank = FakeTokenModel.random(0, FakeTokenizer("ab", bos=False, eos=False))
    with pytest.raises(BadData, match="is empty"):
        Speculate(blank).generate([""])


def test_a_target_that_breaks_is_named() -> None:
    from consort.core.errors import BadCheckpoint

    broken = FakeTokenModel(lambda t: [float("nan")] * 6, name="broken")
    with pytest.raises(BadCheckpoint, match="broken: gives logits that are not numbers"):
        Speculate(broken, D).generate(["a"], Sampling(max_tokens=4))


def test_runs_do_not_disturb_each_other() -> None:
    """A stream that is left standing, and a batch in between."""
    model = Speculate(T, D)
    wanted = model.generate(["abc"], laws.SAMPLED)[0].text
    stream = model.stream("abc", laws.SAMPLED)
    pieces = [next(stream)]
    model.generate(["cab", "b"], laws.SAMPLED)
    assert "".join([*pieces, *stream]) == wanted


def test_a_stream_that_is_closed_stops_working() -> None:
    asked: list[int] = []

    def counted(tokens: tuple[int, ...]) -> list[float]:
        asked.append(len(tokens))
        return CYCLE.logits(tokens)  # type: ignore[return-value]

    stream = Speculate(FakeTokenModel(counted), CYCLE, gamma=3).stream("a", Sampling(max_tokens=1000))
    begun = next(stream)
    stream.close()
    so_far = len(asked)
    assert begun == "b"
    assert list(stream) == []
    assert len(asked) == so_far < 20


def test_cancelled_answers_end_as_they_are() -> None:
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 2

    (answer,) = Speculate(CYCLE, CYCLE, gamma=3).generate(["a"], Sampling(max_tokens=99), cancel=cancel)
    assert (answer.text, answer.finish_reason) == ("bc ab", "cancelled")
    assert answer.cost
