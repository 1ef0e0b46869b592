"""From a model and examples to rows of statistics: the three ways in which a model can be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np

from consort.core.errors import BadCheckpoint, BadData, Unsupported
from consort.core.progress import track
from consort.core.types import Completion, Example, Prompt, Sampling, Usage, add_cost
from consort.data.settings import Options
from consort.evaluate.registry import Metric
from consort.models.cost import cost_of, scored, shared

USUAL = ("stop", "length", "cancelled")
ABILITIES = {
    "generate": ("generate",),
    "completion": ("generate",),
    "score": ("score",),
    "logprobs": ("logprobs", "tokenizer"),
}


@dataclass(slots=True)
class Measured:
    """Rows of statistics in the order of the examples, the answers where there are any, and what they cost.

    `details` are what a strategy tells of each answer, `truncated` counts texts that were cut, `unknown` the tokens
    read that stand for what the tokenizer cannot write, `ended` the answers by finish_reason, `left_out` the examples
    whose answer is not known, of the model or of a member that it would take it from.
    """

    rows: list[tuple[float, ...]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    details: list[Mapping[str, Any]] = field(default_factory=list)
    usage: Usage = Usage()
    cost: dict[str, Usage] = field(default_factory=dict)
    truncated: int = 0
    unknown: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    left_out: int = 0

    @property
    def odd(self) -> dict[str, int]:
        """How many answers ended otherwise than answers do, by finish_reason."""
        return {reason: n for reason, n in sorted(self.ended.items()) if reason not in USUAL}

    def fill(self) -> None:
        """Make the rows of what is not known rows of nothing. Raises BadData where nothing at all is known."""
        width = max(map(len, self.rows), default=0)
        if not width:
            hint = "a table needs `scores`, or answers and a metric for them"
            raise BadData("no answer of it is known", hint=hint)
        self.rows = [row or (0.0,) * width for row in self.rows]

    def pay(self, usage: Usage, cost: Mapping[str, Usage]) -> None:
        """Add what an answer cost."""
        self.usage += usage
        self.cost = add_cost(self.cost, cost)

    def add(self, other: Measured) -> None:
        """Add what was found of the examples that come next."""
        self.rows += other.rows
        self.answers += other.answers
        self.details += other.details
        self.pay(other.usage, other.cost)
        self.truncated, self.unknown = self.truncated + other.truncated, self.unknown + other.unknown
        self.ended.update(other.ended)
        self.left_out += other.left_out


def measure(model: Any, examples: Sequence[Example], metric: Metric, options: Options, *, batch: int) -> Measured:
    """Ask `model` about all examples, `batch` at a time.

    Raises Unsupported where the model lacks an ability that the metric needs and BadData where a target cannot be
    graded, both before the model is asked; BadCheckpoint where it answers with NaN or infinity.
    """
    require(model, metric, examples)
    check_gradable(metric, examples)
    found = Measured()
    with track(f"evaluating {model.name}", len(examples)) as advance:
        for part in batches(examples, batch):
            found.add(measured_batch(model, part, metric, options))
            advance(len(part))
    return complete(found, model.name)


def measured_batch(model: Any, examples: Sequence[Example], metric: Metric, options: Options) -> Measured:
    """What a model that has all abilities is found to do with examples that it is given together."""
    asks = {"generate": _generate, "completion": _generate, "score": _score, "logprobs": _logprobs}
    ask: Callable[..., None] = asks[metric.asks]
    found = Measured()
    ask(model, examples, metric, options, found)
    return found


def complete(found: Measured, name: str) -> Measured:
    """What was found of all examples, with a row for each. Raises BadData, BadCheckpoint where it is no measurement."""
    found.fill()
    if not np.isfinite(np.array(found.rows)).all():
        hint = "look for NaN in its weights; lower the coefficients of a merge"
        raise BadCheckpoint("its probabilities are not finite numbers", field=name, hint=hint)
    return found


def check_gradable(metric: Metric, examples: Sequence[Example]) -> None:
    """Raise BadData for a target that a metric of ours cannot grade."""
    if metric.asks == "generate" and metric.is_ours:
        for example in examples:
            metric.statistics("", example)


def require(model: Any, metric: Metric, examples: Sequence[Example]) -> None:
    """Raise Unsupported unless the model can do what the metric asks of it."""
    needed = ABILITIES[metric.asks]
    if metric.asks == "score" and any(e.messages for e in examples):
        needed = (*needed, "tokenizer")
    missing = [name for name in needed if not hasattr(model, name)]
    if missing:
        what = f"the metric {metric.name} needs {' and '.join(needed)}, it has no {' and no '.join(missing)}"
        raise Unsupported(what, field=model.name, hint="use a local model, or a metric that only needs answers")


def check_lengths(model: Any, examples: Sequence[Example], metric: Metric) -> None:
    """Raise BadData for the first example that does not fit into the model's window; nothing is asked."""
    if getattr(model, "window", None) is None or metric.asks == "logprobs":
        return
    from consort.models.decoding.decode import check_window, prompt_tokens
    from consort.models.decoding.score import split_pair

    for example in examples:
        field = f"line {example.line}"
        if metric.asks != "score":
            check_window(model, len(prompt_tokens(model.tokenizer, prompt_of(example))), field)
            continue
        for choice in example.choices:
            head, tail = split_pair(model.tokenizer, _context(model, example), choice, field=field)
            check_window(model, len(head) + len(tail) - 1, field)


def _generate(model: Any, examples: Sequence[Example], metric: Metric, options: Options, found: Measured) -> None:
    sampling = Sampling(max_tokens=options.max_tokens, stop=tuple(options.stop))
    knows = getattr(model, "knows", None)  # of a table: rows that are not known are left out, not wrong
    known = [knows is None or knows(prompt_of(e), graded=metric.name == "quality") for e in examples]
    asked = [prompt_of(e) for e, is_known in zip(examples, known, strict=True) if is_known]
    answered = iter(_answered(model, asked, sampling))
    for example, is_known in zip(examples, known, strict=True):
        completion = next(answered) if is_known else None
        if completion is None:
            found.left_out += 1
            found.rows.append(())
            found.answers.append("")
            found.details.append({})
            continue
        found.ended[completion.finish_reason] += 1
        given = completion if metric.asks == "completion" else completion.text
        found.rows.append(metric.statistics(given, example))
        found.answers.append(completion.text)
        found.details.append(completion.details)
        found.pay(completion.usage, cost_of(model, completion))


def _answered(model: Any, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion | None]:
    """A completion for each prompt, None where a strategy needs a cached answer that is not known."""
    from consort.models.cached.model import UnknownAnswer

    try:
        return list(model.generate(prompts, sampling)) if prompts else []
    except UnknownAnswer:
        if len(prompts) == 1:
            return [None]
    middle = len(prompts) // 2
    return [*_answered(model, prompts[:middle], sampling), *_answered(model, prompts[middle:], sampling)]


def _score(model: Any, examples: Sequence[Example], metric: Metric, options: Options, found: Measured) -> None:
    pairs = [(_context(model, e), choice) for e in examples for choice in e.choices]
    values, usage, cost = scored(model, pairs)
    likelihoods = iter(values)
    for example in examples:
        found.rows.append(metric.statistics(list(islice(likelihoods, len(example.choices))), example))
    found.pay(usage, cost)


def _logprobs(model: Any, examples: Sequence[Example], metric: Metric, options: Options, found: Measured) -> None:
    texts = [e.text or "" for e in examples]
    encoded = [_encode(model.tokenizer, text, options) for text in texts]
    kept = [tokens[: options.max_length] for tokens in encoded]
    for example, tokens in zip(examples, kept, strict=True):
        if len(tokens) < 2:
            hint = "a text needs a token to start from and one to foretell: set bos: true or drop the line"
            raise BadData("too short", field=f"line {example.line}: text", hint=hint)
    unknown = getattr(model.tokenizer, "unk", None)
    started = perf_counter()
    logprobs = model.logprobs(kept)
    usage = Usage(sum(map(len, kept)), 0, len(kept), perf_counter() - started)
    for text, all_tokens, tokens, row in zip(texts, encoded, kept, logprobs, strict=True):
        covered = _bytes_after_first(model.tokenizer, text, tokens, is_whole=len(tokens) == len(all_tokens))
        found.rows.append(metric.statistics(np.asarray(row, dtype=np.float64).ravel(), covered))
        found.truncated += len(tokens) < len(all_tokens)
        found.unknown += tokens.count(unknown) if unknown is not None else 0
    found.pay(usage, shared(model, usage))


def prompt_of(example: Example) -> Prompt:
    """What a model is asked: the messages, else the prompt."""
    return list(example.messages) if example.messages is not None else example.prompt or ""


def _context(model: Any, example: Example) -> str:
    prompt = prompt_of(example)
    return prompt if isinstance(prompt, str) else str(model.tokenizer.chat(prompt))


def _encode(tokenizer: Any, text: str, options: Options) -> list[int]:
    tokens = list(tokenizer.encode(text, special=options.bos))
    needs_bos = options.bos and tokenizer.bos is not None and tokens[:1] != [tokenizer.bos]
    return [tokenizer.bos, *tokens] if needs_bos else tokens


def _bytes_after_first(tokenizer: Any, text: str, tokens: Sequence[int], *, is_whole: bool) -> float:
    """UTF-8 bytes of the tokens that are predicted, i.e. all but the first; exact for a whole text after bos."""
    size = len(text.encode())
    if not is_whole:
        size = min(size, len(_plain(tokenizer, tokens).encode()))
    first = 0 if tokens[0] == tokenizer.bos else len(tokenizer.decode(tokens[:1]).encode())
    return float(max(size - first, 1))


def _plain(tokenizer: Any, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode(tokens[1:] if tokens[0] == tokenizer.bos else tokens))


def batches(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    """The examples, `size` at a time."""
    for start in range(0, len(examples), size):
        yield examples[start : start + size]
