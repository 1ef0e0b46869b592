"""A model with a retriever: what is found for a prompt is quoted to the model before it answers (RAG, 2005.11401).

`when: uncertain` looks things up only where the model does not know by itself: where the mean log-probability of the
first tokens that it would say is low (an idea of FLARE, 2305.06983).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from consort.cooperate.retrieve import strategy
from consort.cooperate.retrieve.asking import Costs, Found, members_of, search
from consort.cooperate.retrieve.quoting import (
    DEFAULT,
    citations,
    controls_of,
    plainly,
    query_of,
    quoted,
    with_evidence,
)
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.knowledge.evidence import Retriever
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, joined, scored
from consort.models.detecting import Case, Detector


@strategy(paper="2005.11401")
class Augmented:
    """Ask `model` with up to `k` pieces of evidence that `retriever` finds for the prompt, of a chat its last message.

    `when` always, or `uncertain`: where the first `look_ahead` tokens of the model's own answer have a mean
    log-probability (nats) below `threshold`; or `doubted`: where `detector` doubts the model's own answer by `doubt` or
    more, or can say nothing of it. `quote`: each piece inside marks with its number (`marks`), or the texts
    alone, a line each (`plain`). `template` says where {evidence} and {question} go. Where nothing is found, or the
    retriever fails, the model is asked plainly and `details` says so in `unretrieved`.

    `details` has `retrieved` (true or false), `evidence` (id, text, score, source, span, query) and `citations`, the
    ids of the pieces that the answer names as [1], [2]. The cost is that of the look-ahead, of the models at work in
    the retriever, and of the answer with all that was quoted.
    """

    def __init__(
        self,
        model: LanguageModel,
        retriever: Retriever,
        *,
        k: Annotated[int, Range(1, 1000)] = 5,
        when: Literal["always", "uncertain", "doubted"] = "always",
        threshold: Annotated[float, Range(-1000, 0)] = -1.0,
        look_ahead: Annotated[int, Range(1, 1024)] = 16,
        detector: Detector | None = None,
        doubt: Annotated[float, Range(0, 1)] = 0.5,
        quote: Literal["marks", "plain"] = "marks",
        template: str = "",
    ) -> None:
        self.model, self.retriever, self.k, self.when = model, retriever, k, when
        self.threshold, self.look_ahead, self.quote, self.template = threshold, look_ahead, quote, template
        self.detector, self.doubt = detector, doubt
        _check_detector(when, detector)
        if template and ("{evidence}" not in template or "{question}" not in template):
            hint = "write both where they shall stand: '{evidence}\\n\\n{question}'"
            raise BadParameter("has no {evidence} or no {question}", field="template", hint=hint)
        if when == "uncertain" and not getattr(model, "gives_logprob", True):
            hint = "take `when: always`, or a model that tells log-probabilities"
            raise Unsupported("does not tell how probable its answer is", field=model.name, hint=hint)
        self.name = f"augmented({model.name})"

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return (self.model, *members_of(self.retriever), *members_of(self.detector))

    @property
    def gives_logprob(self) -> bool:
        return bool(getattr(self.model, "gives_logprob", True))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        rows = self.prepared(prompts, sampling)
        open_ = [i for i, row in enumerate(rows) if row.own is None]
        asked = [rows[i].asked for i in open_]
        answers = dict(zip(open_, self.model.generate(asked, sampling.of_rows(open_)) if open_ else [], strict=True))
        return [self._completion(row, answers.get(i)) for i, row in enumerate(rows)]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the text that `generate` would give; in one piece where the model does not stream."""
        inner: Any = getattr(self.model, "stream", None)
        [row] = self.prepared([prompt], sampling)
        if row.own is None and inner is None:
            [row.own] = self.model.generate([row.asked], sampling)
            row.costs.append((self.model, cost_of(self.model, row.own)))
        if row.own is not None:
            if row.own.text:
                yield row.own.text
            return self._completion(row, None)
        answer = yield from inner(row.asked, sampling, cancel=cancel)
        return self._completion(row, answer)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) of each continuation after its context with evidence."""
        return list(self.read_pairs(pairs)[0])

    def read_pairs(self, pairs: Sequence[tuple[str, str]]) -> tuple[Sequence[float], Usage, dict[str, Usage]]:
        """The same, how much was read, and what that cost by name. Raises Unsupported for a model that cannot score."""
        if not hasattr(self.model, "score"):
            raise Unsupported("does not tell log-likelihoods", field=self.model.name, hint="take a model that scores")
        contexts = list(dict.fromkeys(context for context, _ in pairs))
        rows = dict(zip(contexts, self.prepared(contexts), strict=True))
        asked = [(str(rows[context].asked), continuation) for context, continuation in pairs]
        found, usage, cost = scored(self.model, asked)
        return found, usage, joined(self, [*(part for row in rows.values() for part in row.costs), (self.model, cost)])

    def prepared(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> list[Row]:
        """Each prompt with what is quoted to the model for it; where it only reads (no `sampling`) none is doubted."""
        rows = [Row(prompt, prompt) for prompt in prompts]
        unsure = self._unsure(rows) if self.when == "uncertain" else rows
        if self.when == "doubted" and sampling is not None:
            unsure = self._doubted(rows, sampling)
        for row, found in zip(
            unsure, search(self.retriever, [query_of(r.prompt) for r in unsure], self.k), strict=True
        ):
            row.found, row.costs = found, [*row.costs, *found.costs]
            if found.evidence:
                row.asked = with_evidence(row.prompt, self._block(found), self.template or self._template())
        return rows

    def _unsure(self, rows: list[Row]) -> list[Row]:
        """Those whose first tokens are improbable; a look-ahead that tells no probability counts as unsure."""
        ahead = Sampling(max_tokens=self.look_ahead)
        unsure = []
        for row, start in zip(rows, self.model.generate([r.prompt for r in rows], ahead) if rows else [], strict=True):
            row.costs.append((self.model, cost_of(self.model, start)))
            count = len(start.tokens) or len(start.details.get("logprobs", ()))
            row.certainty = None if start.logprob is None else start.logprob / max(1, count)
            if row.certainty is None or row.certainty < self.threshold:
                unsure.append(row)
        return unsure

    def _doubted(self, rows: list[Row], sampling: Sampling) -> list[Row]:
        """Those whose own answer the detector doubts, or can say nothing of; the others keep their answer."""
        detector: Any = self.detector
        drafts = self.model.generate([row.prompt for row in rows], sampling) if rows else []
        cases = [
            Case(draft.text, query_of(row.prompt), logprobs=draft.details.get("logprobs"), details=draft.details)
            for row, draft in zip(rows, drafts, strict=True)
        ]
        doubted = []
        for row, draft, finding in zip(rows, drafts, detector.detect(cases), strict=True):
            row.costs += [(self.model, cost_of(self.model, draft)), (detector, finding.cost)]
            row.doubt = finding.doubt
            if finding.doubt is None or finding.doubt >= self.doubt:
                doubted.append(row)
            else:
                row.own = draft
        return doubted

    def _template(self) -> str:
        return DEFAULT if self.quote == "marks" else "{evidence}\n{question}"

    def _block(self, found: Found) -> str:
        write = quoted if self.quote == "marks" else plainly
        return write(found.evidence, controls_of(self.model))

    def _completion(self, row: Row, asked: Completion | None) -> Completion:
        found, answer = row.found or Found(), row.own or asked or Completion("")
        details: dict[str, Any] = {
            **answer.details,
            "retrieved": bool(found.evidence),
            "evidence": [one.described() for one in found.evidence],
            "citations": citations(answer.text, found.evidence),
        }
        if row.certainty is not None:
            details["certainty"] = round(row.certainty, 6)
        if row.doubt is not None:
            details["doubt"] = round(row.doubt, 6)
        if found.failure:
            details["unretrieved"] = found.failure
        costs = row.costs if row.own else [*row.costs, (self.model, cost_of(self.model, answer))]
        return replace(answer, cost=joined(self, costs), details=details)


@dataclass(slots=True)
class Row:
    """A prompt on its way: what the model is asked in its place, what was found for it, and what that cost.

    `found` is None where nothing was looked for; `certainty` is the mean log-probability (nats) of the look-ahead,
    `doubt` the detector's, and `own` the model's answer where it is not doubted.
    """

    prompt: Prompt
    asked: Prompt
    found: Found | None = None
    certainty: float | None = None
    doubt: float | None = None
    own: Completion | None = None
    costs: Costs = field(default_factory=list)


def _check_detector(when: str, detector: Detector | None) -> None:
    """Raise BadParameter for a detector that is not asked for, Unsupported for one that needs more than answers."""
    if (when == "doubted") != (detector is not None):
        raise BadParameter(
            "goes with `when: doubted`, and only with it", field="detector", hint="give both, or neither"
        )
    lacking = sorted(set(detector.needs) - {"prompt", "logprobs"}) if detector is not None else []
    if lacking:
        hint = "take a detector that works from the answer, its prompt or its log-probabilities"
        raise Unsupported(f"needs {', '.join(lacking)}, which are not known here", field="detector", hint=hint)
