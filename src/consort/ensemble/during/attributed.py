"""Attribution: how much each member of an ensemble had to do with every token of an answer.

What a member gave to token y is log p(y) of the ensemble less log p(y) of the ensemble without that member.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from consort.core.errors import Unsupported
from consort.core.types import Completion, Prompt, Sampling, Usage, add_cost
from consort.ensemble.during import during, strategy
from consort.models.base import Session
from consort.models.cost import distinct, joined
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from consort.models.decoding.decode import Cancel


@strategy(example={"model": "average"})
class Attributed(TokenModel):
    """The same ensemble, whose answers also say in `details["attribution"]` what each member gave to every token.

    That is, by member, a list of differences in nats, one for each token: positive where the member spoke for it. The
    text is read once more by the ensemble and once by each ensemble that lacks a member, and that is part of the cost.
    Raises Unsupported for a model that has no weights to set to 0.
    """

    def __init__(self, model: TokenModel) -> None:
        self.model = model
        self.ablated = without_each(model)
        self.tokenizer, self.window, self.batch_tokens = model.tokenizer, model.window, model.batch_tokens
        self.name = f"attributed({model.name})"

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return (self.model,)

    @property
    def ends(self) -> frozenset[int]:
        return self.model.ends

    def open(self, batch: int = 1) -> Session:
        return self.model.open(batch)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> list[Completion]:
        """A completion for each prompt, in order."""
        return self._told(prompts, self.model.generate(prompts, sampling, cancel=cancel))

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the ensemble's answer; what each member gave is known at the end."""
        answer = yield from self.model.stream(prompt, sampling, cancel=cancel)
        return self._told([prompt], [answer])[0]

    def _told(self, prompts: Sequence[Prompt], answers: Sequence[Completion]) -> list[Completion]:
        """The answers with what each member gave to every token."""
        from consort.models.decoding.decode import prompt_tokens

        heads = [prompt_tokens(self.tokenizer, prompt) for prompt in prompts]
        lists = [[*head, *answer.tokens] for head, answer in zip(heads, answers, strict=True)]
        found, costs = _attribution(self.model, self.ablated, lists)
        return [
            self._attributed(answer, len(head), given, cost)
            for answer, head, given, cost in zip(answers, heads, found, costs, strict=True)
        ]

    def _attributed(
        self, answer: Completion, head: int, given: Float[Tensor, "member rest"], cost: list[tuple[Any, Any]]
    ) -> Completion:
        names = distinct([self.model.members[i].name for i in self.ablated])
        by_member = {name: tuple(values[head - 1 :].tolist()) for name, values in zip(names, given, strict=True)}
        spent = add_cost(joined(self, [(self.model, answer.cost)]), joined(self, cost))
        return replace(answer, cost=spent, details={**answer.details, "attribution": by_member})


def attribution(model: TokenModel, token_lists: Sequence[Sequence[int]]) -> list[Float[Tensor, "member rest"]]:
    """What each member of an ensemble with weights gave to each token after the first, in nats.

    log p(y) - log p(y) without the member. Raises Unsupported for a model that has no weights, BadData for a list that
    does not fit into the context window.
    """
    return _attribution(model, without_each(model), token_lists)[0]


def without_each(model: TokenModel) -> dict[int, TokenModel]:
    """The same ensemble without each member of weight above 0, the others' weights in proportion, by member."""
    shares: Sequence[float] | None = getattr(model, "shares", None)
    name = next((n for n in during if during.get(n) is type(model)), None)
    if shares is None or name is None or len([share for share in shares if share]) < 2:
        hint = "take an ensemble of at least two models that have weights, such as average"
        raise Unsupported("has no members that could be left out", field=model.name, hint=hint)
    given = {p.name: getattr(model, p.name) for p in during.entry(name).params}
    return {
        i: during.get(name)(**{**given, "weight": [0.0 if k == i else w for k, w in enumerate(shares)]})
        for i, share in enumerate(shares)
        if share
    }


def _attribution(
    model: TokenModel, ablated: Mapping[int, TokenModel], token_lists: Sequence[Sequence[int]]
) -> tuple[list[Float[Tensor, "member rest"]], list[list[tuple[Any, dict[str, Usage]]]]]:
    """The differences for each list, and what each reading cost."""
    import torch

    whole, costs = read(model, token_lists)
    spent = [[(model, cost)] for cost in costs]
    rows: list[list[Tensor]] = [[] for _ in token_lists]
    for one in ablated.values():
        values, costs = read(one, token_lists)
        for row, (with_all, less) in enumerate(zip(whole, values, strict=True)):
            # a token that neither can write is nobody's doing
            rows[row].append(torch.where(with_all == less, 0, with_all - less))
            spent[row].append((one, costs[row]))
    return [torch.stack(row) for row in rows], spent


def read(
    model: TokenModel, token_lists: Sequence[Sequence[int]]
) -> tuple[list[Float[Tensor, " rest"]], list[dict[str, Usage]]]:
    """As `TokenModel.logprobs`, and what reading each list cost."""
    import torch

    from consort.models.decoding.decode import batches, check_window

    for number, tokens in enumerate(token_lists):
        check_window(model, len(tokens) - 1, f"token_lists[{number}]")
    found, costs = [torch.empty(0)] * len(token_lists), [dict[str, Usage]() for _ in token_lists]
    sizes = [max(len(tokens) - 1, 0) for tokens in token_lists]
    for batch in batches(sizes, model.batch_tokens):
        session = model.open(len(batch))
        logits = session.feed([token_lists[i][:-1] for i in batch])
        for i, x, cost in zip(batch, logits, session.spent(), strict=True):
            ids = torch.tensor(token_lists[i][1:], device=x.device, dtype=torch.long).unsqueeze(-1)
            found[i], costs[i] = x.log_softmax(-1).gather(-1, ids).squeeze(-1).cpu(), cost
    return found, costs
