"""Models that are tables of next-token probabilities, so that the probability of every answer is known exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.types import Sampling, Usage
from consort.models.abilities import with_trees
from consort.models.base import Session, Tokenizer
from consort.models.cost import Meter
from consort.models.decoding.sampling import adjusted, distribution
from consort.models.fake import FakeTokenizer
from consort.models.token_model import TokenModel

LARGEST_Z = 4.0
"""A chi-square whose normal score is beyond this is no accident."""

Cells = Mapping[tuple[int, ...], float]


class TableModel(TokenModel):
    """The next token depends on the last alone: row t of `table` are the probabilities after token t.

    The table may be wider than the tokenizer's vocabulary, as padded tables are. `trees`: sessions can read trees.
    """

    def __init__(
        self, table: Float[Tensor, "last next"], tokenizer: Tokenizer, *, name: str, trees: bool = False
    ) -> None:
        self.logits, self.tokenizer, self.name, self.trees = table.double().log().float(), tokenizer, name, trees
        self.batch_tokens = 2**20

    def open(self, batch: int = 1) -> Session:
        session: Session = _TableSession(self, batch)
        return with_trees(session, batch) if self.trees else session


class _TableSession:
    def __init__(self, model: TableModel, batch: int) -> None:
        self.model, self.meter = model, Meter(model.name, batch)
        self.rows: list[list[int]] = [[] for _ in range(batch)]

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        self.meter.add(tokens, last, 0.0)
        for row, new in zip(self.rows, tokens, strict=True):
            row.extend(new)
        wanted = [new[-1:] if last else new for new in tokens]
        flat = torch.tensor([token for new in wanted for token in new], dtype=torch.long)
        return list(torch.split(self.model.logits[flat], [len(new) for new in wanted]))

    def rollback(self, lengths: Sequence[int]) -> None:
        self.rows = [row[:length] for row, length in zip(self.rows, lengths, strict=True)]

    def select(self, rows: Sequence[int]) -> _TableSession:
        self.rows = [list(self.rows[row]) for row in rows]
        self.meter.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.meter.spent()


def random_table(seed: int, size: int, *, width: int | None = None, without: Sequence[int] = ()) -> Tensor:
    """Probabilities of `width` tokens after each of as many; those `without` never come. Neither flat nor peaked."""
    wide = width or size
    scores = 1.2 * torch.randn(wide, wide, generator=torch.Generator().manual_seed(seed))
    scores[:, list(without)] = -torch.inf
    return scores.softmax(-1)


def exact(model: TableModel, prompt: Sequence[int], sampling: Sampling, length: int) -> dict[tuple[int, ...], float]:
    """The probability of every answer's first `length` tokens; an answer that ends before is shorter."""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(length):
        ended = {tokens: p for tokens, p in found.items() if tokens and tokens[-1] in model.ends}
        going = [tokens for tokens in found if tokens not in ended]
        logits = model.logits[[(*prompt, *tokens)[-1] for tokens in going]]
        scores = adjusted(logits, sampling, [list(prompt)] * len(going), [list(t) for t in going], model.ends)
        for tokens, after in zip(going, distribution(scores, sampling), strict=True):
            values = after.tolist()
            ended |= {(*tokens, t): found[tokens] * p for t, p in enumerate(values) if p > 0}
        found = ended
    return found


def z_score(counts: Mapping[Any, int], expected: Mapping[Any, float], *, least: float = 5.0) -> float:
    """The normal score of a chi-square (Wilson and Hilferty); cells that expect fewer than `least` are one cell.

    Infinite if something was seen that cannot be.
    """
    total = sum(counts.values())
    if any(key not in expected for key in counts):
        return float("inf")
    large = [key for key in expected if expected[key] * total >= least]
    pairs = [(counts.get(key, 0), expected[key] * total) for key in large]
    rest = total - sum(want for _, want in pairs)
    if rest > 1e-6 * total:
        pairs.append((total - sum(got for got, _ in pairs), rest))
    chi = sum((got - want) ** 2 / want for got, want in pairs)
    df = max(1, len(pairs) - 1)
    return float(((chi / df) ** (1 / 3) - (1 - 2 / (9 * df))) / (2 / (9 * df)) ** 0.5)


def answers(model: TokenModel, sampling: Sampling, samples: int, text: str = "a") -> list[tuple[int, ...]]:
    """The tokens of so many answers to one prompt; equal prompts in one call are different samples."""
    return [answer.tokens for answer in model.generate([text] * samples, sampling)]


def same_distribution(
    model: TokenModel, target: TableModel, sampling: Sampling, samples: int, *, length: int = 3, text: str = "a"
) -> dict[str, float]:
    """z scores of each of the first tokens, and of all together; raises AssertionError where one is too large."""
    expected = exact(target, target.tokenizer.encode(text), sampling, length)
    seen = Counter(tokens[:length] for tokens in answers(model, sampling, samples, text))
    scores = {"joint": z_score(seen, expected)}
    for at in range(length):
        scores[f"token {at + 1}"] = z_score(_marginal(seen, at), _marginal(expected, at))
    assert max(scores.values()) < LARGEST_Z, f"{model.name}, {sampling}: {scores}"
    return scores


def _marginal(cells: Mapping[tuple[int, ...], Any], at: int) -> dict[int, Any]:
    """Sums by the token at a place; -1 stands for answers that have ended before."""
    found: dict[int, Any] = {}
    for tokens, n in cells.items():
        token = tokens[at] if at < len(tokens) else -1
        found[token] = found.get(token, 0) + n
    return found


ALPHABET = "abcdefghij"


def pair_of(kind: str, *, trees: bool = False) -> tuple[TableModel, TableModel]:
    """A target of 12 tokens and a draft: of the same vocabulary, with padded tables, or with a different one."""
    ours = FakeTokenizer(ALPHABET)
    bos = [10]
    if kind == "padded":  # of unequal height, and both give probability to rows that are no tokens
        target = TableModel(random_table(1, 14, without=bos), ours, name="target", trees=trees)
        return target, TableModel(random_table(2, 17, without=bos), ours, name="draft")
    target = TableModel(random_table(1, 12, without=bos), ours, name="target", trees=trees)
    theirs = ours if kind == "same" else FakeTokenizer("jihgfedcxy")
    return target, TableModel(random_table(2, 12, without=bos), theirs, name="draft")
