"""AutoMix (2310.12963): a small model answers and checks itself several times; a meta-verifier decides what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from consort.core.counted import counted
from consort.core.errors import BadData
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.meta_verifier import below, between, decide, gains
from consort.ensemble.answers.samples import checked_template, filled, last_words, rephrased, samples_of
from consort.ensemble.calls import Ledger, ask_side_by_side
from consort.ensemble.learning.fitting import Learned, Replay, learned_of, with_learned
from consort.ensemble.learning.observations import Observed
from consort.models.base import LanguageModel
from consort.models.cost import distinct

VERIFY = (
    "{prompt}\n\nProposed answer: {answer}\n\nIs the proposed answer correct? Check it against what is given, then say "
    "only Correct or Incorrect."
)
WRONG = re.compile(r"\b(incorrect|wrong|no|false|not correct)\b", re.IGNORECASE)
RIGHT = re.compile(r"\b(correct|right|yes|true)\b", re.IGNORECASE)


@strategy(paper="2310.12963", ends=("threshold", 0.0, 2.0))
class AutoMix:
    """Let a small model answer and verify its answer; ask the large one where the verification calls for it.

    `checks` verifications are sampled at `temperature` with the prompt `verify` ({prompt} and {answer} in it; default:
    our own); v is the share that say "correct", those that say neither count against it. Before fitting the large model
    is asked where v is below `threshold` (0: never; above 1: always). `fit` learns by `rule` at which v to ask: below
    one threshold, between two, or by a decision process over good, needy and hopeless queries (`pomdp`); it weighs
    quality less `lambda` times the cost of asking. If the large model fails, the small one's answer stands. `details`
    has `answered_by` and `verified`.
    """

    def __init__(
        self,
        small: LanguageModel,
        large: LanguageModel,
        *,
        checks: Annotated[int, Range(1, 1000)] = 8,
        verify: str | None = None,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        threshold: Annotated[float, Range(0, 2)] = 0.5,
        rule: Literal["pomdp", "threshold", "two_thresholds"] = "pomdp",
        lambda_: Annotated[float, Range(0, 1000000)] = 0.0,
        state: str = "",
    ) -> None:
        self.small, self.large, self.checks, self.temperature = small, large, checks, temperature
        self.verify = verify
        self.question = checked_template(VERIFY if verify is None else verify, "verify", "answer")
        self.threshold, self.rule, self.lambda_, self.state = threshold, rule, lambda_, state
        self.labels = distinct([small.name, large.name])
        self.learned: Learned | None = None
        self.name = f"auto_mix({small.name}, {large.name})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return (self.small, self.large)

    @property
    def models(self) -> Sequence[LanguageModel]:
        """The small model, then the large one."""
        return self.members

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        ledgers = [Ledger() for _ in prompts]
        [outcomes] = ask_side_by_side([(self.small, prompts, sampling)])
        said = [ledger.enter(self.labels[0], self.small, h) for ledger, h in zip(ledgers, outcomes, strict=True)]
        checked = [i for i, c in enumerate(said) if c is not None]
        texts = [c.text for c in said if c is not None]
        levels = self._levels(
            [prompts[i] for i in checked], texts, sampling.of_rows(checked), [ledgers[i] for i in checked]
        )
        verified = dict(zip(checked, levels, strict=True))
        escalating = self._escalating()
        onward = [i for i in range(len(prompts)) if i not in verified or escalating[verified[i]]]
        job = (self.large, [prompts[i] for i in onward], sampling.of_rows(onward))
        large = dict(zip(onward, ask_side_by_side([job])[0], strict=True))
        found = []
        for i, ledger in enumerate(ledgers):
            answer = ledger.enter(self.labels[1], self.large, large[i]) if i in large else None
            by = self.labels[0] if answer is None else self.labels[1]
            details = {"answered_by": by, "verified": verified.get(i, 0) / self.checks}
            found.append(ledger.completion(self, answer or said[i], **details))
        return found

    def _levels(
        self, prompts: Sequence[Prompt], answers: Sequence[str], sampling: Sampling, ledgers: Sequence[Ledger]
    ) -> list[int]:
        """How many of the checks verify each answer."""
        asked = [
            rephrased(prompt, filled(self.question, prompt=last_words(prompt), answer=answer))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        repeated, warm = samples_of(asked, sampling, range(self.checks), self.temperature)
        [outcomes] = ask_side_by_side([(self.small, repeated, warm)])
        levels = []
        for i, ledger in enumerate(ledgers):
            own = outcomes[i * self.checks : (i + 1) * self.checks]
            said = [ledger.enter(self.labels[0], self.small, h) for h in own]
            levels.append(sum(c is not None and says_correct(c.text) for c in said))
        return levels

    def _escalating(self) -> list[bool]:
        """Whether the large model is asked, by number of checks that verify the answer."""
        if not (self.learned or self.state):
            return [level / self.checks < self.threshold for level in range(self.checks + 1)]
        found = list(learned_of(self, "auto_mix").values["escalate"])
        if len(found) != self.checks + 1:
            message = f"is for {counted(len(found) - 1, 'check')}, not {self.checks}"
            raise BadData(message, field=self.state or "state", hint="fit the plan again")
        return found

    def fit(self, observed: Observed, *, seed: int = 0) -> AutoMix:
        """The same with a learned rule; `observed` is of the small and the large model, or has v between them.

        Without a column of v (numbers as answers) the small model is asked to verify its observed answers.
        """
        levels = self._observed_levels(observed, seed)
        small, large = np.nan_to_num(observed.quality[:, 0]), np.nan_to_num(observed.quality[:, -1])
        price = np.ones(len(observed)) if observed.cost is None else np.nan_to_num(observed.cost[:, -1])
        facts = (levels, small, large, self.lambda_ * price, self.checks + 1)
        rules = {"threshold": below, "two_thresholds": between}
        escalate = decide(*facts) if self.rule == "pomdp" else rules[self.rule](gains(*facts))
        return with_learned(self, Learned("auto_mix", values={"escalate": escalate}))

    def replay(self, observed: Observed) -> Replay:
        """What it would have done; verifications are charged where the table has a column for them."""
        asked = np.array(self._escalating())[self._observed_levels(observed, 0)]
        cost = np.full(observed.quality.shape, np.nan) if observed.cost is None else observed.cost
        spent = cost[:, :-1].sum(1) + np.where(asked, cost[:, -1], 0.0)
        quality = np.where(asked, observed.quality[:, -1], observed.quality[:, 0])
        return Replay(quality, spent, tuple(len(observed.models) - 1 if a else 0 for a in asked))

    def _observed_levels(self, observed: Observed, seed: int) -> np.ndarray:
        if not observed.answers:
            raise BadData("the answers' texts are not known", field="answers", hint="give them, and v between them")
        if len(observed.models) == 3:
            return np.array([level_of(row[1], self.checks) for row in observed.answers])
        texts = [row[0] or "" for row in observed.answers]
        ledgers = [Ledger() for _ in texts]
        return np.array(self._levels(observed.prompts, texts, Sampling(seed=seed), ledgers))


def says_correct(text: str) -> bool:
    """Whether a verification finds the answer right: "correct" and the like, and nothing to the contrary."""
    return bool(RIGHT.search(text)) and not WRONG.search(text)


def level_of(text: str | None, checks: int) -> int:
    """The level of a cached v in [0, 1]; one that is not known is 0. Raises BadData."""
    try:
        value = float(text or 0)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadData(f"{text!r} is no verification", field="answers", hint="a number in [0, 1]")
    return round(value * checks)
