"""Speculation inside transformers: a function for `model.generate(…, custom_generate=…)`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from consort.cooperate.speculate.asked import Asked, check_call
from consort.cooperate.speculate.rounds.loop import rounds
from consort.cooperate.speculate.rounds.pipeline import Pipeline, Prefix
from consort.cooperate.speculate.rounds.rows import Row
from consort.cooperate.speculate.speculation import Speculate
from consort.core.types import Prompt, Sampling
from consort.models.decoding.sampling import key
from consort.models.hf.model import HFModel
from consort.models.token_model import TokenModel
from consort.models.tokens.chats import plain_chat
from consort.models.tokens.tokenizer import HFTokenizer


def custom_generate(
    draft: Any = None,
    *,
    tokenizer: Any = None,
    drafter: Any = None,
    gamma: int = 5,
    adapt: bool = False,
    vocabulary: Literal["tli", "slem"] = "tli",
) -> Callable[..., Any]:
    """A decoding method for transformers: `model.generate(**inputs, custom_generate=custom_generate(draft))`.

    `draft`: a transformers module with the model's token ids (padded tables may differ in height), or any token model;
    then `tokenizer` is the model's own (of transformers). Without a draft the text itself is looked up. All of
    generate's logits processors and stopping criteria are kept, each at every position of a draft; batches may be
    padded. Sampling is seeded from torch's global generator, as generate's own. A `streamer` hears the tokens of a
    batch of one. Modules are left as they were, their training flags included. Raises Unsupported, naming it, for what
    generate was asked and speculation does not do (speculate/asked.py): beams, guidance, scores, embeddings, ….
    """
    made: dict[int, tuple[Any, Speculate]] = {}

    def decode(
        model: Any,
        input_ids: Tensor,
        logits_processor: Any = (),
        stopping_criteria: Any = (),
        generation_config: Any = None,
        **kwargs: Any,
    ) -> Any:
        asked = Asked.of(sys._getframe(1))
        check_call(model, input_ids, logits_processor, generation_config, kwargs, asked)
        with unchanged([model] if draft is None or isinstance(draft, TokenModel) else [model, draft]):
            if id(model) not in made:
                pair = _models(model, draft, tokenizer)
                made[id(model)] = (
                    model,
                    Speculate(*pair, drafter=drafter, gamma=gamma, adapt=adapt, vocabulary=vocabulary),
                )
            call = _Call(
                input_ids, kwargs.get("attention_mask"), logits_processor, stopping_criteria, generation_config
            )
            call.streamer = asked.streamer
            return call.run(made[id(model)][1])

    return decode


def _models(model: Any, draft: Any, tokenizer: Any) -> tuple[TokenModel, TokenModel | None]:
    if isinstance(draft, TokenModel):
        texts = HFTokenizer(tokenizer) if tokenizer is not None else _Numbered(_height(model))
        return HFModel("target", model, texts), draft
    numbered = _Numbered(min(_height(m) for m in (model, draft) if m is not None))
    return HFModel("target", model, numbered), None if draft is None else HFModel("draft", draft, numbered)


def _height(module: Any) -> int:
    return int(module.config.get_text_config(decoder=True).vocab_size)


class _Numbered:
    """Token ids without a text: two modules of one id space need no tokenizer."""

    bos: int | None = None
    eos: int | None = None

    def __init__(self, size: int) -> None:
        self.vocab_size, self.vocabulary_key = size, f"ids below {size}"

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(map(str, tokens))

    def chat(self, prompt: Prompt) -> str:
        return prompt if isinstance(prompt, str) else plain_chat(prompt)


@contextmanager
def unchanged(modules: Sequence[Any]) -> Iterator[None]:
    """Within the block modules are in evaluation mode; after it every part has its own mode again."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class _Call:
    """One call of generate: rows, what shapes their distributions, and when they end."""

    def __init__(self, ids: Tensor, mask: Tensor | None, processors: Any, criteria: Any, config: Any) -> None:
        self.ids, self.processors, self.criteria, self.config = ids, processors, criteria, config
        self.shown: list[list[int]] = ids.tolist()
        self.mask = [[1] * ids.shape[1]] * len(ids) if mask is None else mask.tolist()
        self.sampled = bool(config.do_sample)
        self.places: dict[bytes, int] = {}
        self.streamer: Any = None

    def run(self, model: Speculate) -> Any:
        rows = self._rows(model)
        pipeline = Pipeline(
            Sampling(temperature=1.0 if self.sampled else 0.0), self._process if self.processors else None
        )
        for _ in rounds(model.work, model, rows, pipeline, self._add):
            pass
        if self.streamer is not None:
            self.streamer.end()
        return self._shown(rows)

    def _rows(self, model: Speculate) -> list[Row]:
        seed = int(torch.randint(2**62, ())) if self.sampled else 0
        room, seen, rows = self.config.max_length - self.ids.shape[1], Counter[tuple[int, ...]](), []
        for shown, mask in zip(self.shown, self.mask, strict=True):
            prompt = [token for token, real in zip(shown, mask, strict=True) if real]
            limit = room if model.window is None else min(room, model.window - len(prompt) + 1)
            rows.append(Row(prompt, key(seed, prompt, seen[tuple(prompt)]), limit))
            seen[tuple(prompt)] += 1
            self.places[rows[-1].key] = len(rows) - 1
        return rows

    def _process(self, logits: Tensor, prefixes: Sequence[Prefix]) -> Tensor:
        """All processors, row by row, since the texts before differ in length.

        Some know the batch they were made for, so each row is shown to them in its place, in a batch of copies.
        """
        done = []
        for row, prefix in zip(logits, prefixes, strict=True):
            place = self.places[prefix.key]
            ids = self._padded(place, [*prefix.prompt, *prefix.answer]).repeat(len(self.shown), 1)
            done.append(self.processors(ids, row.repeat(len(self.shown), 1))[place])
        return torch.stack(done)

    def _padded(self, place: int, tokens: Sequence[int]) -> Tensor:
        """A text behind the padding of its prompt."""
        padding = [token for token, real in zip(self.shown[place], self.mask[place], strict=True) if not real]
        return torch.tensor([[*padding, *tokens]], device=self.ids.device)

    def _add(self, row: Row, token: int, logprob: float) -> None:
        row.tokens.append(token)
        row.logprobs.append(logprob)
        if self.streamer is not None:
            self.streamer.put(torch.tensor([token]))
        if len(row.tokens) == row.limit:
            row.finish = "length"
        ids = self._padded(self.places[row.key], [*row.prompt, *row.tokens])
        if self.criteria and bool(self.criteria(ids, None).all()):
            row.finish = "stop"

    def _shown(self, rows: Sequence[Row]) -> Any:
        longest = max((len(row.tokens) for row in rows), default=0)
        pad = self.config._pad_token_tensor
        filler = int(pad.reshape(-1)[0]) if pad is not None else 0
        new = [[*row.tokens, *[filler] * (longest - len(row.tokens))] for row in rows]
        sequences = torch.cat([self.ids, torch.tensor(new, dtype=self.ids.dtype, device=self.ids.device)], dim=1)
        if not self.config.return_dict_in_generate:
            return sequences
        from transformers.generation.utils import GenerateDecoderOnlyOutput

        return GenerateDecoderOnlyOutput(sequences=sequences)
