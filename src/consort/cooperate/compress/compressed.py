"""A model that reads shorter prompts: a compressor stands before it, and is paid for in its cost."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from consort.cooperate.compress import strategy
from consort.cooperate.compress.compressor import Compressor, summed
from consort.cooperate.compress.parts import Budget, Compression
from consort.cooperate.compress.roles import parts_of, touched
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.core.prompts import check_list
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, joined

if TYPE_CHECKING:
    from consort.models.decoding.decode import Cancel

Costs = list[tuple[Any, Mapping[str, Usage]]]


@dataclass(frozen=True, slots=True)
class Short:
    """A prompt after compression: what the model reads, what that cost, and what there is to tell of it."""

    prompt: Prompt
    costs: Costs
    details: dict[str, Any]


@strategy(paper="2310.05736", example={"model": 0, "compressor": "first"})
class Compressed:
    """Shorten the context of a prompt before `model` reads it; instructions and the question are left as they are.

    `compressor`: see `consort methods --kind compressor`. At most one of `rate` (share of the reader's tokens that is
    kept), `tokens` (how many) and `threshold` (least importance) stands over the compressor's own rate. Which parts are
    context: a prompt's marks (a task line's `context`, a retriever's evidence), the messages of a chat, else all
    paragraphs before the last. `details["compression"]` tells how they were told apart, tokens before and after, and
    what was kept. The cost includes the compressor's models.
    """

    def __init__(
        self,
        model: LanguageModel,
        compressor: Compressor,
        *,
        rate: Annotated[float, Range(0, 1)] | None = None,
        tokens: Annotated[int, Range(0, 1000000000)] | None = None,
        threshold: float | None = None,
    ) -> None:
        self.model, self.compressor = model, compressor
        self.rate, self.tokens, self.threshold = rate, tokens, threshold
        given = {"rate": rate, "tokens": tokens, "threshold": threshold}
        chosen = {name: value for name, value in given.items() if value is not None}
        if len(chosen) > 1:
            raise BadParameter(f"{' and '.join(chosen)} given", field=next(iter(chosen)), hint="give one of them")
        self.budget = Budget(**chosen) if chosen else None  # type: ignore[arg-type]
        self.name = f"compressed({model.name}, {compressor.name})"

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        found = {id(member): member for member in (self.model, *self.compressor.members)}
        return tuple(found.values())

    @property
    def gives_logprob(self) -> bool:
        return bool(getattr(self.model, "gives_logprob", True))

    def shorten(self, prompts: Sequence[Prompt]) -> list[Short]:
        """Each prompt as the model will read it; equal ones are compressed once."""
        known: dict[str, Short] = {}
        found = []
        for prompt in prompts:
            key = f"{type(prompt).__name__} {prompt!r} {getattr(prompt, 'context', '')}"
            if key in known:
                found.append(replace(known[key], costs=[]))
            else:
                found.append(known.setdefault(key, self._short(prompt)))
        return found

    def _short(self, prompt: Prompt) -> Short:
        divided = parts_of(prompt)
        if not touched(divided.parts):
            return Short(prompt, [], {"roles": divided.how, "compressor": self.compressor.name})
        done, spent = self.compressor.spending(
            divided.parts, self.budget, divided.question, reader=getattr(self.model, "tokenizer", None)
        )
        details = {"roles": divided.how, "compressor": self.compressor.name, **told(done)}
        details["shown"] = shown([divided.parts[one.part].text for one in done], done)
        return Short(divided.joined(done), summed(spent), details)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """One completion for each prompt, in order: the model's own, to the shortened prompts."""
        check_list(prompts)
        short = self.shorten(prompts)
        answers = self.model.generate([one.prompt for one in short], sampling)
        return [self._told(one, answer) for one, answer in zip(short, answers, strict=True)]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the text that `generate` would give. Raises Unsupported where the model does not stream."""
        inner: Any = getattr(self.model, "stream", None)
        if inner is None:
            raise Unsupported(f"{self.model.name} does not stream", field="model", hint="take a model over tokens")
        (short,) = self.shorten([prompt])
        answer = yield from inner(short.prompt, sampling, cancel=cancel)
        return self._told(short, answer)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) of each continuation after its context, shortened."""
        return list(self.read_pairs(pairs)[0])

    def read_pairs(self, pairs: Sequence[tuple[str, str]]) -> tuple[list[float], Usage, Mapping[str, Usage]]:
        """As `score`, with how much was read and what that cost by name (see `cost.scored`)."""
        from consort.models.cost import scored

        check_list(pairs, "pairs", '[("context", "continuation")]')
        if not hasattr(self.model, "score"):
            hint = "a model or a strategy on token level can score"
            raise Unsupported(f"{self.model.name} has no log-likelihoods", field="model", hint=hint)
        short = self.shorten([context for context, _ in pairs])
        asked = [(str(one.prompt), continuation) for one, (_, continuation) in zip(short, pairs, strict=True)]
        found, usage, cost = scored(self.model, asked)
        return list(found), usage, joined(self, [(self.model, cost), *(c for one in short for c in one.costs)])

    def _told(self, short: Short, answer: Completion) -> Completion:
        cost = joined(self, [(self.model, cost_of(self.model, answer)), *short.costs])
        return replace(answer, cost=cost, details={**answer.details, "compression": short.details})


def told(done: Sequence[Compression]) -> dict[str, Any]:
    """Compressions as plain values: tokens before and after, and of each part what was kept of it."""
    before, after = sum(one.tokens_before for one in done), sum(one.tokens_after for one in done)
    parts = [{"part": one.part, "kept": [list(span) for span in one.kept]} for one in done]
    notes = {key: value for one in done for key, value in one.notes.items()}
    return {"tokens_before": before, "tokens_after": after, "parts": parts, **({"notes": notes} if notes else {})}


MOST_SHOWN = 4000
"""Characters of a prompt that `details` repeat, kept and cut."""


def shown(originals: Sequence[str], done: Sequence[Compression]) -> list[list[Any]]:
    """The prompt as pieces [text, whether it was kept], in order, up to some length; rewritten text stands as kept."""
    found: list[list[Any]] = []
    left = MOST_SHOWN
    for original, one in zip(originals, done, strict=True):
        at = 0
        for start, end in (*one.kept, (len(original), len(original))):
            found += [[original[at:start], False], [original[start:end], True]]
            at = end
        found += [[one.text, True]] if one.text and not one.kept else []
    cut: list[list[Any]] = []
    for text, kept in found:
        if text and left > 0:
            cut.append([text[:left], kept])
            left -= len(text)
    return cut
