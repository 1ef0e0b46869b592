"""ProgramFC (2305.12744): a model writes a program for a claim, the program asks and verifies, most programs decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from consort.cooperate.detect import detector
from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.base import Judging, clipped, with_costs
from consort.cooperate.detect.claims.interpreter import Step, majority, parse, run
from consort.cooperate.retrieve.asking import search
from consort.core.params import Range
from consort.core.types import Sampling, Usage, add_cost
from consort.knowledge.evidence import Retriever
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Doubted, Finding, PairScorer, Quote

TEMPLATE = """Write a program that checks the claim. Each line is one step:
name = Question("a question")
name = Verify("a statement")
name = Predict(a formula of names of statements with and, or, not)
Put an earlier answer into a string as f"... {name} ...". End with Predict and write nothing else.

Claim: The director of Oru also wrote Bel.
a = Question("Who directed Oru?")
b = Verify(f"{a} wrote Bel.")
c = Predict(b)

Claim: {claim}
"""
QUESTION = "Evidence:\n{evidence}\n\nQuestion: {question}\nAnswer in a few words, from the evidence alone.\nAnswer:"
SEED = 7919


@detector(paper="2305.12744", example={"model": "programs", "retriever": "facts", "nli": "fake"})
class Program(Judging):
    """Whether most of `n` programs for an answer predict that it holds: doubt 1 - the share of those that do.

    `model` writes the programs (at `temperature` where n > 1) and answers their questions from `k` pieces of evidence;
    `nli` verifies statements: entailment above contradiction and at least a half is true, contradiction above a half
    false, else nothing is known. Programs are interpreted with a whitelist (see `interpreter`); one that does anything
    else abstains. A tie, and no program that predicts, leave the doubt unknown.
    """

    def __init__(
        self,
        model: LanguageModel,
        retriever: Retriever,
        nli: PairScorer,
        *,
        n: Annotated[int, Range(1, 1000)] = 5,
        k: Annotated[int, Range(1, 1000)] = 5,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        template: str = "",
    ) -> None:
        self.model, self.retriever, self.nli, self.n, self.k = model, retriever, nli, n, k
        self.temperature, self.template = temperature, template
        self.wording = template_of(template, TEMPLATE, "claim")

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        asking = Asking(self.model)
        found = []
        for case, programs in zip(cases, self._programs(cases, asking), strict=True):
            world = _World(self, asking)
            predictions = [run(p, world.question, world.verify) if p is not None else None for p in programs]
            more = [{self.nli.name: usage}] if (usage := self.nli.spent()) != Usage() else []
            finding = self._finding(case, predictions, world)
            found += with_costs([finding], add_cost(asking.spent(), world.cost, *more))
        return found

    def _programs(self, cases: Sequence[Case], asking: Asking) -> list[list[tuple[Step, ...] | None]]:
        prompts = [filled(self.wording, claim=" ".join(case.answer.split())) for case in cases for _ in range(self.n)]
        seeds = tuple(SEED * number for _ in cases for number in range(self.n))
        warm = Sampling(256, self.temperature if self.n > 1 else 0.0, stop=("\nClaim:",), seeds=seeds)
        texts = iter(asking.texts(prompts, sampling=warm))
        return [[parse(next(texts).strip()) for _ in range(self.n)] for _ in cases]

    def _finding(self, case: Case, predictions: list[bool | None], world: _World) -> Finding:
        decided = majority(predictions)
        abstained = predictions.count(None)
        details = {"predictions": tuple(predictions), "abstained": abstained}
        notes = (f"{abstained} of {self.n} programs abstain",) if abstained else ()
        if decided is None:
            return Finding(None, notes=(*notes, "no majority"), details=details)
        yes = predictions.count(True) / (self.n - abstained)
        doubt = clipped(1 - yes)
        return Finding(doubt, yes, (Doubted(0, len(case.answer), doubt, world.quotes),), notes=notes, details=details)


class _World:
    """What the programs of one answer may ask; a question asked twice is answered once."""

    def __init__(self, owner: Program, asking: Asking) -> None:
        self.owner, self.asking = owner, asking
        self.cost: Mapping[str, Usage] = {}
        self.answers: dict[str, str] = {}
        self.verdicts: dict[str, bool | None] = {}
        self.seen: dict[str, Quote] = {}

    @property
    def quotes(self) -> tuple[Quote, ...]:
        return tuple(self.seen.values())

    def evidence(self, query: str) -> list[str]:
        [found] = search(self.owner.retriever, [query], self.owner.k)
        self.cost = add_cost(self.cost, *(cost for _, cost in found.costs))
        self.seen |= {e.text: Quote(e.text, e.source) for e in found.evidence}
        return [e.text for e in found.evidence]

    def question(self, text: str) -> str:
        if text not in self.answers:
            prompt = filled(QUESTION, evidence=quoted("\n".join(self.evidence(text))), question=text)
            [said] = self.asking.texts([prompt], max_tokens=32)
            self.answers[text] = said.strip().split("\n")[0]
        return self.answers[text]

    def verify(self, text: str) -> bool | None:
        if text not in self.verdicts:
            pieces = self.evidence(text)
            rows = self.owner.nli.score(pieces, [text] * len(pieces)).tolist() if pieces else []
            entail, contradict = (max((row[c] for row in rows), default=0.0) for c in (0, 2))
            true = entail >= 0.5 and entail >= contradict
            self.verdicts[text] = True if true else False if contradict > 0.5 else None
        return self.verdicts[text]
