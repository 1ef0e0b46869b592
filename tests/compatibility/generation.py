"""Generating and scoring in ragged batches, against transformers' own: columns of the compatibility matrix."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from consort.core.types import Sampling
from consort.models import ByteTokenizer, HFModel
from consort.models.hf.choose import find_stock_opener
from tests.compatibility.architectures import tiny

NEW = 8
LENGTHS = (17, 3, 9)
SAME = (11, 11)
NEAR = 2e-4
"""How far log-likelihoods (nats, of some 10 tokens) may be from those of one plain pass, in float32."""

KINDS = {
    "LeanSession": "lean pass",
    "RaggedSession": "rows together",
    "RowSession": "row by row",
    "SwitchingSession": "rows together, each side of the switch",
}


@dataclass(frozen=True, slots=True)
class Cells:
    """What was found of an architecture: sessions by name, and whether each column is right."""

    session: str
    stock: str
    generates: bool
    scores: bool
    fed: int
    wanted: int
    cached: bool
    warning: str

    def columns(self) -> dict[str, str]:
        """The cells as the page shows them."""
        fed = f"{self.fed} of {self.wanted}" if self.cached else f"{self.fed}: no cache, told once"
        right = {True: "right", False: "WRONG"}
        return {
            "session": self.session,
            "generate": right[self.generates],
            "score": right[self.scores],
            "tokens fed": fed,
        }


def texts(lengths: Sequence[int], seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choice("abcdefghijklmnop qrstuvwxyz") for _ in range(length)) for length in lengths]


@torch.no_grad()
def plain_answer(module: Any, prompt: Sequence[int]) -> tuple[int, ...]:
    """Greedy tokens, each by a plain pass over all that precedes it."""
    ids = list(prompt)
    for _ in range(NEW):
        ids.append(int(module(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return tuple(ids[len(prompt) :])


def own_answer(module: Any, prompt: Sequence[int]) -> tuple[int, ...]:
    """Greedy tokens by transformers' `generate`."""
    ids = torch.tensor([list(prompt)])
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 0}
    out = module.generate(ids, attention_mask=torch.ones_like(ids), eos_token_id=None, **options)
    return tuple(out[0, ids.shape[1] :].tolist())


@torch.no_grad()
def own_score(module: Any, head: Sequence[int], tail: Sequence[int]) -> float:
    """Log-likelihood of `tail` after `head`, each token by a plain pass over what precedes it."""
    ids = [*head, *tail]
    if "longrope" in str(module.config):  # the angles of a long text are not those of its beginning
        rows = [module(input_ids=torch.tensor([ids[:n]]), use_cache=False).logits[0, -1] for n in range(1, len(ids))]
        logits: Tensor = torch.stack(rows)
    else:
        logits = module(input_ids=torch.tensor([ids[:-1]]), use_cache=False).logits[0]
    values = logits.float().log_softmax(-1)[len(head) - 1 :]
    return float(values.gather(1, torch.tensor(list(tail))[:, None]).double().sum())


def tokens_fed(model: HFModel, opener: Callable[[int], Any]) -> int:
    """Token places that the module is given while a batch of prompts of one length is answered."""
    fed = [0]

    def count(_: Any, arguments: Any, named: dict[str, Any]) -> None:
        fed[0] += (named["input_ids"] if "input_ids" in named else arguments[0]).numel()

    hook = model.module.register_forward_pre_hook(count, with_kwargs=True)
    try:
        session, feed = opener(len(SAME)), [model.tokenizer.encode(text) for text in texts(SAME)]
        for _ in range(NEW):
            feed = [[int(logits[-1].argmax())] for logits in session.feed(feed, last=True)]
    finally:
        hook.remove()
    return fed[0]


@cache
def cells(name: str) -> Cells:
    """All there is to know of an architecture; computed once."""
    import logging

    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("consort")
    logger.addHandler(handler)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads only wait for each other in models as small as these
    try:
        return _cells(name, told)
    finally:
        torch.set_num_threads(threads)
        logger.removeHandler(handler)


def _cells(name: str, told: list[str]) -> Cells:
    model = HFModel(name, tiny(name), ByteTokenizer())
    session = type(model.open()).__name__
    prompts = texts(LENGTHS)
    answers = model.generate(prompts, Sampling(max_tokens=NEW))
    heads = [model.tokenizer.encode(prompt) for prompt in prompts]
    generates = all(
        answer.tokens == own_answer(model.module, head) or answer.tokens == plain_answer(model.module, head)
        for answer, head in zip(answers, heads, strict=True)
    )
    pairs = list(zip(["once", "a", "there was a", "once"], texts((5, 9, 2, 7), 1), strict=True))
    wanted = [own_score(model.module, *map(model.tokenizer.encode, pair)) for pair in pairs]
    scores = all(abs(a - b) < NEAR for a, b in zip(model.score(pairs), wanted, strict=True))
    opener = find_stock_opener(model) if session == "LeanSession" else model.open
    stock = opener(1)
    cached = type(getattr(stock, "keeper", None)).__name__ != "Nothing"
    fed, least = tokens_fed(model, opener), sum(SAME) + len(SAME) * (NEW - 1)
    kinds = [KINDS[kind] for kind in dict.fromkeys((session, type(stock).__name__))]
    return Cells(
        ", else ".join(kinds), KINDS[type(stock).__name__], generates, scores, fed, least, cached, "".join(told)
    )
