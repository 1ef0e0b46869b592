"""What ensembles of next-token distributions share: members, weights, and a session that feeds every member.

A method supplies only `combine`. The vocabulary is that of the first model; a model with another tokenizer (where it is
allowed) reads the text of the tokens, and keeps what it read before unless the text's last word changes its tokens.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from consort.core.counted import counted
from consort.core.errors import BadCheckpoint, BadParameter, Incompatible, Unsupported
from consort.core.params import name_of
from consort.core.types import Usage
from consort.models.base import Session, Tokenizer
from consort.models.cost import joined
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from consort.models.decoding.retokenized import View


_LOG = logging.getLogger("consort.ensemble")


class Ensemble(TokenModel):
    """Models whose next-token distributions are combined; `shares` are their weights, summing to 1.

    A model of weight 0 is not asked, one given twice is asked once. `several`: tokenizers may differ.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        weight: Sequence[float] | None,
        *,
        several: bool = False,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.models, self.weight = tuple(models), weight
        self.told: set[str] = set()
        """Members of which it was said that they are left out: once, however many batches there are."""
        check_models(self.models, several=several)
        self.shares = shares(weight, len(self.models))
        self.asked = [i for i, share in enumerate(self.shares) if share]
        self.tokenizer = self.models[0].tokenizer if tokenizer is None else tokenizer
        self.name = f"{name_of(type(self).__name__)}({', '.join(m.name for m in self.models)})"
        self.window = min((m.window for m in self.models if m.window is not None), default=None)
        self.batch_tokens = min(m.batch_tokens for m in self.models)

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return self.models

    @property
    def ends(self) -> frozenset[int]:
        return frozenset().union(*(m.ends for m in self.models if self._alike(m))) or super().ends

    def _alike(self, model: TokenModel) -> bool:
        return model.tokenizer.vocabulary_key == self.models[0].tokenizer.vocabulary_key

    def view_of(self, model: TokenModel) -> View | None:
        """What `model` reads for tokens of this ensemble."""
        from consort.models.decoding.retokenized import retold
        from consort.models.tokens.align import UnionTokenizer

        if isinstance(self.tokenizer, UnionTokenizer) and self._alike(model):
            return self.tokenizer.own
        return retold(self.tokenizer, model.tokenizer)

    @abstractmethod
    def combine(
        self, logits: Sequence[Float[Tensor, "row _"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        """Logits (usually log-probabilities) of the mix, from those of the models in `asked`, each over its own tokens.

        Every row's `shares` sum to 1; a model that has nothing to read at a row has a share of 0 there.
        """

    def open(self, batch: int = 1) -> Session:
        return MemberSessions(self, batch)


class MemberSessions:
    """A session of an ensemble: sessions of its members, fed alike."""

    def __init__(self, owner: Ensemble, batch: int) -> None:
        from consort.models.decoding.retokenized import Views

        self.owner = owner
        asked = [owner.models[i] for i in owner.asked]
        self.models = list({id(model): model for model in asked}.values())
        self.at = [next(k for k, own in enumerate(self.models) if own is model) for model in asked]
        self.parts = [Views(model, [owner.view_of(model)], batch) for model in self.models]
        self.left_out: list[Counter[str]] = [Counter() for _ in range(batch)]
        self.told = owner.told
        """How often each row went on without a member whose logits were no numbers."""

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        import torch

        logits, counts = self.member_logits(tokens, last=last)
        given = torch.tensor([self.owner.shares[i] for i in self.owner.asked], device=logits[0].device)
        return list(torch.split(self.owner.combine(*shares_of_sound(logits, given)), counts))

    def member_logits(
        self, tokens: Sequence[Sequence[int]], *, last: bool = False
    ) -> tuple[list[Float[Tensor, "row _"]], list[int]]:
        """Logits of each asked model over its own tokens, all rows of the batch below each other, and rows of each."""
        import torch

        fed = [part.feed(tokens, last=last)[0] for part in self.parts]
        device = fed[0][0].device
        counts = [len(row) for row in fed[0]]
        joint = self._sound([torch.cat(rows).to(device) for rows in fed], counts)
        return [joint[k] for k in self.at], counts

    def _sound(self, logits: list[Float[Tensor, "row _"]], counts: Sequence[int]) -> list[Float[Tensor, "row _"]]:
        """The same, NaN throughout where a member's logits are no numbers: `shares_of_sound` leaves it out of these.

        Raises BadCheckpoint where no member is left.
        """
        import torch

        from consort.models.decoding.retokenized import broken

        wrong = [broken(x, part.unread[0]) for x, part in zip(logits, self.parts, strict=True)]
        if not any(bool(rows.any()) for rows in wrong):
            return logits
        found = []
        for model, x, rows in zip(self.models, logits, wrong, strict=True):
            found.append(x.masked_fill(rows.unsqueeze(-1), torch.nan))
            self._note(model.name, [int(part.sum()) for part in torch.split(rows, list(counts))])
        lost = torch.stack([x[:, 0].isnan() for x in found]).all(0) & torch.stack(wrong).any(0)
        if bool(lost.any()):
            names = ", ".join(m.name for m, rows in zip(self.models, wrong, strict=True) if bool(rows.any()))
            hint = "look for NaN in their weights"
            raise BadCheckpoint("no member is left whose logits are numbers", field=names, hint=hint)
        return found

    def _note(self, name: str, rows: Sequence[int]) -> None:
        if any(rows) and name not in self.told:
            self.told.add(name)
            _LOG.warning("%s gives logits that are not numbers, and is left out where it does", name)
        for row, times in zip(self.left_out, rows, strict=True):
            row[name] += times

    def notes(self) -> list[dict[str, Any]]:
        """For each row, by member, at how many tokens it was left out because its logits were no numbers."""
        return [{"left_out": dict(+row)} if +row else {} for row in self.left_out]

    def full(self) -> list[bool]:
        """For each row, whether a member has no room to go on."""
        from consort.models.decoding.decode import full_rows

        known = [full_rows(part.reading.session, len(self.left_out)) for part in self.parts if part.plain]
        return [any(rows) for rows in zip(*known, strict=True)] if known else [False] * len(self.left_out)

    def rollback(self, lengths: Sequence[int]) -> None:
        for part in self.parts:
            part.rollback(lengths)

    def inner_sessions(self) -> list[Any]:
        return [part.reading.session for part in self.parts]

    def admit(self, rows: int) -> MemberSessions:
        for part in self.parts:
            part.admit(rows)
        self.left_out += [Counter() for _ in range(rows)]
        return self

    def select(self, rows: Sequence[int]) -> MemberSessions:
        for part in self.parts:
            part.select(rows)
        self.left_out = [Counter(self.left_out[row]) for row in rows]
        return self

    def spent(self) -> list[dict[str, Usage]]:
        by_row = zip(*(part.spent() for part in self.parts), strict=True)
        return [joined(self.owner, list(zip(self.models, costs, strict=True))) for costs in by_row]


def shares_of_sound(
    logits: Sequence[Float[Tensor, "row _"]], share: Float[Tensor, " model"]
) -> tuple[list[Float[Tensor, "row _"]], Float[Tensor, "model row"]]:
    """Shares for each row, 0 for a model whose logits are NaN there (they become 0); equal ones if none is left."""
    import torch

    silent = torch.stack([x[:, 0].isnan() for x in logits])
    left = share.unsqueeze(-1).where(~silent, 0)
    total = left.sum(0)
    left = torch.where(total > 0, left / total.where(total > 0, 1), 1 / len(logits))
    return [x.where(~mute.unsqueeze(-1), 0) for x, mute in zip(logits, silent, strict=True)], left


def check_numbers(logits: Float[Tensor, "row vocab"], name: str) -> None:
    """Raise BadCheckpoint where a model's logits are no distribution, for an ensemble that cannot go on without it."""
    from consort.models.decoding.retokenized import broken

    if bool(broken(logits).any()):
        raise BadCheckpoint("gives logits that are not numbers", field=name, hint="look for NaN in its weights")


def check_models(models: Sequence[TokenModel], *, several: bool = False) -> None:
    """Raise BadParameter without models, Unsupported for one without logits, Incompatible for several tokenizers."""
    if not models:
        raise BadParameter("no models", field="models", hint="give at least one")
    for model in models:
        if not isinstance(model, TokenModel):
            name = getattr(model, "name", str(model))
            raise Unsupported(f"{name} does not show its logits", field="models", hint="take a local model, or vote")
    first = models[0]
    for model in models[1:]:
        if not several and model.tokenizer.vocabulary_key != first.tokenizer.vocabulary_key:
            message = f"{first.name} and {model.name} have different vocabularies"
            hint = "take gac, unite or deepen, as_bytes around each model, or combine finished answers"
            raise Incompatible(message, field="models", hint=hint)


def shares(weight: Sequence[float] | None, models: int) -> list[float]:
    """Weights that sum to 1 (default: equal). Raises BadParameter for a wrong number of them, or a negative one."""
    given = [1.0] * models if weight is None else [float(w) for w in weight]
    if len(given) != models:
        raise BadParameter(
            f"{counted(len(given), 'value')} for {counted(models, 'model')}", field="weight", hint="one for each model"
        )
    if not all(isfinite(w) and w >= 0 for w in given) or sum(given) <= 0:
        raise BadParameter(f"{given} is no weighting", field="weight", hint="numbers of at least 0, not all 0")
    return [w / sum(given) for w in given]
