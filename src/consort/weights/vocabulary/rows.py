"""Which row of which model each row of an aligned embedding is, as arrays: no tensor is read here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from consort.core.errors import BadParameter, Incompatible, listing
from consort.weights.vocabulary.policy import Policy, TokenSource
from consort.weights.vocabulary.read import Vocabulary

Rows = Int[np.ndarray, "row"]


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Rows `targets` of the output that come from rows `sources` of input `model`, times `share`."""

    model: int
    targets: Rows
    sources: Rows
    share: Any = 1.0


@dataclass(frozen=True, slots=True)
class RowMap:
    """The rows of one aligned model: its `own` by output row (-1: not its own), those borrowed from others or averaged
    over several, those that are the mean of its `real` rows; rows named nowhere are zero."""

    own: Rows
    borrowed: Sequence[Borrowed]
    fresh: Rows
    real: Rows

    @property
    def rows(self) -> int:
        return len(self.own)


def target_ids(vocabularies: Sequence[Vocabulary], policy: Policy, donor: int) -> Mapping[str, int]:
    """Token and id of the output: a model's own, or for a union the donor's and then what the others add, in order."""
    if policy.source != "union":
        assert isinstance(policy.source, int)
        return vocabularies[policy.source].ids
    ids = dict(vocabularies[donor].ids)
    size = vocabularies[donor].size
    for vocabulary in vocabularies:
        new = [token for token in sorted(vocabulary.ids, key=vocabulary.ids.__getitem__) if token not in ids]
        ids.update(zip(new, range(size, size + len(new)), strict=True))
        size += len(new)
    return ids


def target_rows(size: int, rows: Sequence[int], kept: int, policy: Policy) -> int:
    """Rows of the output for `size` ids: no fewer than the model has whose ids these are, nor than all inputs have."""
    if policy.pad_to_multiple_of:
        return -(-size // policy.pad_to_multiple_of) * policy.pad_to_multiple_of
    return size if policy.trim else max(size, rows[kept], min(rows))


def row_maps(
    vocabularies: Sequence[Vocabulary],
    rows: Sequence[int],
    ids: Mapping[str, int],
    count: int,
    policy: Policy,
    base: int | None,
) -> list[RowMap]:
    """For each input the map of its `rows` to the `count` rows of the output; `base` decides where several could.

    Raises BadParameter, Incompatible.
    """
    tokens = list(ids)
    places = np.fromiter(ids.values(), dtype=np.int64, count=len(ids))
    found = np.array([[v.ids.get(token, -1) for token in tokens] for v in vocabularies], dtype=np.int64)
    _check_tokens(policy.tokens, ids)
    configured = {t: _configured(t, rule, vocabularies, rows) for t, rule in policy.tokens.items()}
    _check_known(tokens, found, configured)
    maps = []
    for i, vocabulary in enumerate(vocabularies):
        decided = {t: configured[t] for t, rule in policy.tokens.items() if rule.force or t not in vocabulary.ids}
        chosen = np.isin(places, [ids[token] for token in decided])
        own, fresh, real = _own(vocabulary, rows[i], places, np.where(chosen, -1, found[i]), count)
        borrowed = _borrowed(places, found, (found[i] < 0) & ~chosen, base)
        for token, (model, row) in decided.items():
            if model is not None:
                borrowed.append(Borrowed(model, np.array([ids[token]]), np.array([row])))
        maps.append(RowMap(own, tuple(borrowed), fresh, real))
    return maps


def _own(vocabulary: Vocabulary, rows: int, places: Rows, found: Rows, count: int) -> tuple[Rows, Rows, Rows]:
    """Rows that a model brings itself, tokens and padding; padding that is new to it; its rows that are tokens."""
    own = np.full(count, -1, dtype=np.int64)
    own[places] = found
    real = np.zeros(rows, dtype=bool)
    real[np.fromiter(vocabulary.ids.values(), dtype=np.int64, count=len(vocabulary.ids))] = True
    empty = np.ones(count, dtype=bool)
    empty[places] = False
    padding = np.flatnonzero(empty)
    stays = ~np.append(real, True)[np.minimum(padding, rows)]
    own[padding[stays]] = padding[stays]
    return own, padding[~stays], np.flatnonzero(real)


def _borrowed(
    places: Rows, found: Int[np.ndarray, "model token"], missing: Bool[np.ndarray, "token"], base: int | None
) -> list[Borrowed]:
    """Rows of the tokens that a model lacks: of the only one that has it, else of the base, else the mean of all."""
    holders = (found >= 0).sum(0)
    in_base = np.zeros(len(holders), dtype=bool) if base is None else found[base] >= 0
    result = []
    for j in range(len(found)):
        there = missing & (found[j] >= 0)
        sole = there & ((holders == 1) | (in_base & (j == base)))
        shared = there & (holders > 1) & ~in_base
        for chosen, share in ((sole, None), (shared, holders)):
            if chosen.any():
                part = 1.0 if share is None else 1.0 / share[chosen]
                result.append(Borrowed(j, places[chosen], found[j][chosen], part))
    return result


def _configured(
    token: str, rule: TokenSource, vocabularies: Sequence[Vocabulary], rows: Sequence[int]
) -> tuple[int | None, int]:
    """Input and row of a token's configured source; None for zero."""
    if rule.model is None:
        return None, 0
    row = rule.token_id if rule.token_id is not None else vocabularies[rule.model].ids.get(rule.token or token)
    if row is None or not 0 <= row < rows[rule.model]:
        what = f"row {row}" if rule.token_id is not None else f"token {rule.token or token!r}"
        hint = "name a token, or a row, that the model has"
        raise BadParameter(f"the model has no {what}", field=f"tokenizer.tokens.{token}.source", hint=hint)
    return rule.model, row


def _check_tokens(configured: Mapping[str, Any], ids: Mapping[str, int]) -> None:
    strange = [token for token in configured if token not in ids]
    if strange:
        hint = "only tokens of the output can have a source"
        raise BadParameter(
            f"the output has no token {listing(map(repr, strange))}", field="tokenizer.tokens", hint=hint
        )


def _check_known(tokens: Sequence[str], found: Int[np.ndarray, "model token"], configured: Mapping[str, Any]) -> None:
    nowhere = [tokens[n] for n in np.flatnonzero((found < 0).all(0)).tolist() if tokens[n] not in configured]
    if nowhere:
        hint = "give them a source: tokens: {TOKEN: {source: {kind: zero}}}"
        raise Incompatible(f"no model has a row for {listing(map(repr, nowhere), 5)}", field="tokenizer", hint=hint)
