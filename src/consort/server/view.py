"""Who said what: each token of an answer as the ensemble and every member saw it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from consort.core.errors import ConsortError
from consort.core.types import Prompt, Sampling
from consort.models.decoding.decode import prompt_tokens
from consort.models.remote.wire.objects import dumped, spelled
from consort.models.token_model import TokenModel
from consort.server.errors import invalid
from consort.server.fields import Body, chat_of, messages_of
from consort.server.handlers import allowed
from consort.server.http import Call, Reply
from consort.server.request import Answer, ToolChoice
from consort.server.table import Served
from consort.server.told import spellings

if TYPE_CHECKING:
    from consort.server.app import State

MOST_MEMBERS = 8
LIKELIEST = 5


async def view(state: State, call: Call) -> Reply:
    """Decode greedily, or by temperature and seed, and read the answer with every member: probabilities, entropy,

    disagreement, and by how much each member moved each token.
    """
    body = Body(await call.json(), state.limits)
    served = state.table.find(body.text("model"))
    if served.id not in {one.id for one in allowed(state, call)}:
        raise invalid("model", "is not for this key")
    if not isinstance(served.model, TokenModel):
        raise invalid("model", f"{served.id} works on answers; only models with logits have a token view")
    prompt: Prompt = chat_of(messages_of(body), (), ToolChoice()) if body.raw("messages") else body.text("prompt")
    most = body.count("max_tokens", 64, 1, 512) or 64
    temperature, seed = body.number("temperature", 0.0, 0, 100), body.count("seed", 0, -(2**63), 2**63) or 0
    sampling = Sampling(max_tokens=most, temperature=temperature, seed=seed)
    grant = state.keys.grant(call.key) if state.keys is not None else None
    if grant is not None:
        grant.take_request()
    answer = (await state.worker.run(lambda: state.scheduler.generate(served.model, [prompt], sampling)))[0]
    looked = state.scheduler.call(lambda: looked_at(served, prompt, answer.tokens))
    found = await asyncio.wrap_future(looked)
    if grant is not None:
        grant.spend(served.id, [Answer(0, answer.text, answer.finish_reason, answer)])
    return Reply(200, dumped({"model": served.id, "text": answer.text, "finish_reason": answer.finish_reason, **found}))


def looked_at(served: Served, prompt: Prompt, tokens: Sequence[int]) -> dict[str, Any]:
    """For each token: its text, probability and entropy, the likeliest in its place, and every member's probability.

    `moved` is log p of the whole less that without the member (`ensemble.during.attributed`), where it has weights.
    """
    model = served.model
    members = _comparable(model)
    head = prompt_tokens(model.tokenizer, prompt)
    names = spellings(model.tokenizer)
    whole = _read(model, head, tokens)
    each = [_read(member, head, tokens) for member in members]
    moved, labels = _moved(model, [*head, *tokens], len(head))
    found = []
    for at, token in enumerate(tokens):
        row = whole[at]
        values, ids = row.topk(min(LIKELIEST, len(row)))
        others = [own[at] for own in each]
        found.append(
            {
                "text": spelled(names[token]) if token < len(names) else f"<{token}>",
                "p": _p(row[token]),
                "entropy": _entropy(row),
                "disagreement": _disagreement(row, others),
                "likeliest": [
                    [spelled(names[i]) if i < len(names) else f"<{i}>", _p(v)]
                    for i, v in zip(ids.tolist(), values, strict=True)
                ],
                "members": [_p(own[token]) for own in others],
                "moved": [_finite(values[at]) for values in moved],
            }
        )
    shown = [member.name for member in members]
    return {"members": shown, "movers": labels, "tokens": found}


def _comparable(model: TokenModel) -> list[Any]:
    """Members that read the same tokens."""
    own = [m for m in model.members if isinstance(m, TokenModel)]
    same = [m for m in own if m.tokenizer.vocabulary_key == model.tokenizer.vocabulary_key]
    return same[:MOST_MEMBERS]


def _read(model: TokenModel, head: Sequence[int], tokens: Sequence[int]) -> Any:
    logits = model.open(1).feed([[*head, *tokens[:-1]]])[0]
    return logits[len(head) - 1 :].log_softmax(-1).cpu()


def _moved(model: TokenModel, tokens: Sequence[int], head: int) -> tuple[list[list[float]], list[str]]:
    """What each member gave to each token, where the model is an ensemble with weights."""
    from consort.ensemble.during.attributed import attribution, without_each

    try:
        ablated = without_each(model)
        values = attribution(model, [tokens])[0]
    except ConsortError:  # it has no weights that could be set to 0
        return [], []
    names = [model.members[i].name for i in ablated]
    return [row[head - 1 :].tolist() for row in values], names


def _p(logprob: Any) -> float:
    return round(math.exp(float(logprob)), 6)


def _finite(value: float) -> float:
    return round(value, 4) if math.isfinite(value) else math.copysign(99.0, value)


def _entropy(row: Any) -> float:
    """In bits."""
    p = row.exp()
    return round(float(-(p * row.nan_to_num(neginf=0.0)).sum()) / math.log(2), 4)


def _disagreement(whole: Any, rows: Sequence[Any]) -> float:
    """The Jensen-Shannon divergence of the members, in bits: 0 where they agree."""
    if len(rows) < 2:
        return 0.0
    import torch

    p = torch.stack([row[: min(map(len, rows))].exp() for row in rows]).double()
    mean = p.mean(0)

    def entropy(x: Any) -> Any:
        return torch.special.entr(x).sum(-1)

    return round(max(0.0, float(entropy(mean) - entropy(p).mean())) / math.log(2), 4)
