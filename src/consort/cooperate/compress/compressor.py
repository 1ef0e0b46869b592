"""What a compressor is, and what all of them share: roles, the budget, texts that need nothing done."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consort.cooperate.compress.parts import TOUCHED, Budget, Compression, Count, Part, whole
from consort.cooperate.compress.selecting import Scored, above, compression, select
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import name_of
from consort.core.types import Usage
from consort.models.base import Tokenizer

_WORDS = re.compile(r"\w+|[^\w\s]")


def count_with(reader: Tokenizer | None) -> Count:
    """How many tokens a text is to a reader; without one words and marks are counted."""
    if reader is None:
        return lambda text: len(_WORDS.findall(text))
    return lambda text: len(reader.encode(text, special=False)) if text else 0


@dataclass(slots=True)
class Job:
    """The texts of one prompt that are to be shortened together.

    `most` is the budget in tokens for all of them (None: units of at least `budget.threshold` stay), `sizes` how many
    each has; `spent` collects which models worked, `notes` what there is to tell.
    """

    texts: list[str]
    roles: list[str]
    sizes: list[int]
    count: Count
    budget: Budget
    most: int | None
    question: str | None
    spent: list[tuple[Any, Usage]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The part of all tokens that may stay; 1 where importance decides."""
        total = sum(self.sizes)
        return 1.0 if self.most is None or not total else min(1.0, self.most / total)

    def selected(self, scored: Sequence[Scored]) -> list[Compression]:
        """The most important units of all texts, within the budget."""
        if self.budget.threshold is not None:
            kept = above(scored, self.budget.threshold)
        else:
            kept = select(scored, self.most or 0, self.count)
        return self.made(scored, kept)

    def made(self, scored: Sequence[Scored], kept: Sequence[Sequence[bool]]) -> list[Compression]:
        """The texts with these units, in order."""
        pairs = zip(scored, kept, strict=True)
        return [compression(text, chosen, self.count, number) for number, (text, chosen) in enumerate(pairs)]


class Compressor(ABC):
    """Shortens the context and the demonstrations of a prompt; instructions and questions are left as they are.

    A registered compressor keeps its arguments under the parameters' own names. `rate` is the share of the tokens that
    is kept where no other budget is given.
    """

    rate: float = 0.5
    needs_question: bool = False

    @property
    def name(self) -> str:
        return name_of(type(self).__name__)

    @property
    def members(self) -> Sequence[Any]:
        """The models that work for it."""
        return ()

    @property
    def own_budget(self) -> Budget:
        return Budget(rate=self.rate)

    @property
    def own_reader(self) -> Tokenizer | None:
        """Whose tokens are counted where no reader is given: those of the model that works for it."""
        return next((m.tokenizer for m in self.members if hasattr(m, "tokenizer")), None)

    def compress(
        self,
        parts: Sequence[Part],
        budget: Budget | None = None,
        question: str | None = None,
        *,
        reader: Tokenizer | None = None,
    ) -> list[Compression]:
        """Each part after compression; `Compression.part` says which it is, where they come in another order.

        `budget` counts the tokens of `reader` and is shared by all parts that may be touched: with `rate` 1, or one
        that is no smaller than they are, every text comes back byte for byte. Without `question` it is what the parts
        of that role say. Raises BadParameter where one is needed and there is none.
        """
        return self.spending(parts, budget, question, reader=reader)[0]

    def spending(
        self,
        parts: Sequence[Part],
        budget: Budget | None = None,
        question: str | None = None,
        *,
        reader: Tokenizer | None = None,
    ) -> tuple[list[Compression], list[tuple[Any, Usage]]]:
        """As `compress`, and which models worked for it."""
        count = count_with(reader or self.own_reader)
        said = "\n".join(part.text for part in parts if part.role == "question").strip()
        asked = question if question and question.strip() else said or None
        touched = [i for i, part in enumerate(parts) if part.role in TOUCHED and part.text]
        texts = [parts[i].text for i in touched]
        sizes = [count(text) for text in texts]
        limit = budget or self.own_budget
        job = Job(texts, [parts[i].role for i in touched], sizes, count, limit, limit.most(sum(sizes)), asked)
        if job.most is not None and job.most >= sum(sizes):
            return [whole(part.text, count, i) for i, part in enumerate(parts)], []
        if self.needs_question and not asked:
            hint = "give question, or a part of the role question"
            raise BadParameter(f"{self.name} needs a question", field="question", hint=hint)
        if job.most == 0:
            done = [replace(whole("", count, i), tokens_before=size) for i, size in enumerate(sizes)]
        else:
            done = self.shorten(job)
        return _placed(parts, touched, done, job), job.spent

    @abstractmethod
    def shorten(self, job: Job) -> list[Compression]:
        """The job's texts, shortened; `part` is the number among them."""


def _placed(parts: Sequence[Part], touched: Sequence[int], done: Sequence[Compression], job: Job) -> list[Compression]:
    """All parts: those that were touched take their places in the order that the compressor gave them."""
    shortened = iter(replace(one, part=touched[one.part], notes={**job.notes, **one.notes}) for one in done)
    places = set(touched)
    return [next(shortened) if i in places else whole(part.text, job.count, i) for i, part in enumerate(parts)]


def scorer_of(model: Any, owner: str) -> Any:
    """A model that tells the probability of each token; else Unsupported."""
    if not hasattr(model, "logprobs") or not hasattr(model, "tokenizer"):
        hint = "take a local model, or a strategy over tokens"
        name = getattr(model, "name", str(model))
        raise Unsupported(f"{name} does not tell how probable each token is", field=f"{owner}.scorer", hint=hint)
    return model


def usage_of(read: int, calls: int, seconds: float, written: int = 0) -> Usage:
    return Usage(read, written, calls, seconds)


def summed(spent: Sequence[tuple[Any, Usage]]) -> list[tuple[Any, Mapping[str, Usage]]]:
    """What models did for compressions, as costs by name (see `cost.joined`)."""
    from consort.models.cost import shared

    return [(model, shared(model, usage)) for model, usage in spent]
