"""What a model open to its logits thinks of an answer's tokens: read once, in ragged batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consort.cooperate.detect.base import of_sentences, parts_of
from consort.core.errors import Unsupported
from consort.core.types import Usage, add_cost
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding

if TYPE_CHECKING:
    from torch import Tensor

MAX_LOGITS = 2**26
"""Most logits held at once (float32, hence 256 MiB)."""


@dataclass(frozen=True, slots=True)
class Read:
    """Of each token of an answer: its log-probability and the entropy of the distribution it was drawn from (nats).

    `ends[i]` is where token i ends in the answer, in characters, as near as the tokenizer can tell.
    """

    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]
    ends: tuple[int, ...]


def read_answers(
    model: Any, contexts: Sequence[str], answers: Sequence[str], *, entropies: bool = False
) -> tuple[list[Read], Mapping[str, Usage]]:
    """Every answer after its context, and what reading cost. Raises Unsupported for a model without logits."""
    from consort.models.decoding.decode import batches, check_window
    from consort.models.decoding.score import split_pair

    check_open(model)
    pairs = zip(contexts, answers, strict=True)
    split = [split_pair(model.tokenizer, c, a, field=f"case {i}") for i, (c, a) in enumerate(pairs, 1)]
    for number, (head, tail) in enumerate(split):
        check_window(model, len(head) + len(tail) - 1, f"case {number + 1}", [*head, *tail][:-1])
    found: list[Read | None] = [None] * len(split)
    costs: list[Mapping[str, Usage]] = []
    for batch in batches([len(head) + len(tail) for head, tail in split], model.batch_tokens):
        session = model.open(len(batch))
        size = max(1, MAX_LOGITS // (model.tokenizer.vocab_size * len(batch)))
        rows = [[*split[i][0], *split[i][1]] for i in batch]
        values = _values(session, rows, size, entropies)
        for i, row in zip(batch, values, strict=True):
            head, tail = split[i]
            begin = len(head) - 1
            ends = ends_of(model.tokenizer, tail, len(answers[i]))
            found[i] = Read(tuple(row[0][begin : begin + len(tail)]), tuple(row[1][begin : begin + len(tail)]), ends)
        costs += session.spent()
    return [one for one in found if one is not None], add_cost(*costs)


def _values(
    session: Any, rows: Sequence[Sequence[int]], size: int, entropies: bool
) -> list[tuple[list[float], list[float]]]:
    """Log-probability, and entropy if it is wanted, of every token of each row after its first."""
    found: list[tuple[list[float], list[float]]] = [([], []) for _ in rows]
    for at in range(0, max(map(len, rows)) - 1, size):
        logits = session.feed([row[at : min(at + size, len(row) - 1)] for row in rows])
        for i, row in enumerate(rows):
            wanted = row[at + 1 : at + 1 + len(logits[i])]
            log_p = logits[i].log_softmax(-1)
            found[i][0].extend(_picked(log_p, wanted))
            if entropies:
                found[i][1].extend((-(log_p.exp() * log_p).nan_to_num(0.0).sum(-1)).double().tolist())
    return found


def _picked(log_p: Tensor, tokens: Sequence[int]) -> list[float]:
    import torch

    ids = torch.tensor(tokens, dtype=torch.long, device=log_p.device)
    return [float(x) for x in log_p.gather(-1, ids.unsqueeze(-1)).squeeze(-1).double().tolist()]


def ends_of(tokenizer: Any, tokens: Sequence[int], size: int) -> tuple[int, ...]:
    """Where each token ends; the decoded text may begin with a space that the answer does not have."""
    texts = [tokenizer.decode(list(tokens[: i + 1])) for i in range(len(tokens))]
    extra = len(texts[-1]) - size if texts else 0
    return tuple(min(size, max(0, len(text) - max(0, extra))) for text in texts)


def check_open(model: Any) -> LanguageModel:
    """The model, which must be open to its logits. Raises Unsupported."""
    if not hasattr(model, "open") or not hasattr(model, "tokenizer"):
        hint = "a local model; or give cases their `logprobs`"
        raise Unsupported("does not show its logits", field=getattr(model, "name", "model"), hint=hint)
    checked: LanguageModel = model
    return checked


def by_sentence(case: Case, read: Read, doubts: Sequence[float], doubt: float, raw: float) -> Finding:
    """A finding whose sentences have the mean doubt of the tokens that end in them."""
    parts = parts_of(case)
    sums = [[0.0, 0] for _ in parts]
    for end, value in zip(read.ends, doubts, strict=True):
        place = next((i for i, part in enumerate(parts) if end <= part.end), len(parts) - 1)
        sums[place][0] += value
        sums[place][1] += 1
    means = [total / n if n else doubt for total, n in sums]
    return Finding(doubt, raw, of_sentences(parts, means).spans)
