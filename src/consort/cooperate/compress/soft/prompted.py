"""What gist tokens, AutoCompressors and ICAE share: contexts are encoded once, questions are read after them."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from consort.cooperate.compress.roles import parts_of
from consort.cooperate.compress.soft.encoder import Encoder, check_reader, frozen, read_state, reader_hash
from consort.cooperate.compress.soft.prefix import Opened, Prefix
from consort.core.errors import BadData, BadParameter
from consort.core.prompts import check_list
from consort.core.types import Completion, Prompt, Sampling, Usage, add_cost
from consort.models.decoding.decode import batches, completion_of, decode, prompt_tokens, rows_of, start
from consort.models.decoding.grammar import bound
from consort.models.decoding.score import logprobs
from consort.train.loop import Progress, Recipe, fit
from consort.train.lora import Lora

if TYPE_CHECKING:
    from consort.models.decoding.decode import Cancel

KEPT = 64
"""Encoded contexts that are remembered."""

Taught = tuple[str, str, str]
"""A context, a question, and the answer."""


class SoftPrompt:
    """A reader behind an encoder of contexts. Subclasses say how a context becomes a prefix and how that is learned."""

    mode: str
    model: Any
    slots: int
    state: str | None
    rank: int
    gives_logprob = True
    needs_fit = True

    def __init__(self, model: Any, slots: int, rank: int, state: str | None, steps: int, lr: float, added: int) -> None:
        self.model, self.slots, self.rank, self.state = check_reader(model, self.mode), slots, rank, state
        self.steps, self.lr = steps, lr
        self.added = added
        self.name, self.tokenizer = f"{self.mode}({model.name})", model.tokenizer
        self.known: OrderedDict[str, Prefix] = OrderedDict()
        self._encoder: Encoder | None = None

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return (self.model,)

    @property
    def window(self) -> int | None:
        found: int | None = self.model.window
        return found

    @cached_property
    def reader(self) -> str:
        """The hash of the reader's weights."""
        return reader_hash(self.model.module)

    @property
    def encoder(self) -> Encoder:
        """What encodes. Raises BadParameter where nothing has been learned, Incompatible for another reader's state."""
        if self._encoder is None:
            if self.state is None:
                hint = "consort fit PLAN OUT --task TASK, or learn(...), then state: FILE"
                raise BadParameter(f"{self.name} has learned nothing yet", field="state", hint=hint)
            tensors, _ = read_state(self.state, mode=self.mode, reader=self.reader)
            fresh = self.fresh(0)
            fresh.load(tensors, self.state)
            self._encoder = fresh.eval()
        return self._encoder

    def fresh(self, seed: int) -> Encoder:
        """An encoder that has learned nothing."""
        return Encoder(self.model.module, self.added, Lora(rank=self.rank, alpha=2.0 * self.rank), seed)

    @abstractmethod
    def prefix_of(self, encoder: Encoder, tokens: Sequence[int]) -> Prefix:
        """A context's tokens as the prefix of sessions."""

    @abstractmethod
    def loss(self, encoder: nn.Module, batch: Sequence[tuple[list[int], list[int], list[int]]]) -> Tensor:
        """Mean cross entropy (nats) of answers' tokens; a batch has tokens of contexts, questions and answers."""

    def encode(self, context: str) -> tuple[Prefix, Usage]:
        """The prefix of a context, and what that cost: nothing where it is remembered, as all but the empty one are."""
        if context in self.known:
            self.known.move_to_end(context)
            return self.known[context], Usage()
        begun = perf_counter()
        tokens = prompt_tokens(self.tokenizer, context)
        with torch.no_grad():
            found = self.prefix_of(self.encoder, tokens)
        if context:
            self.known[context] = found
        if len(self.known) > KEPT:
            self.known.popitem(last=False)
        return found, Usage(len(tokens) + found.slots, 0, 1, perf_counter() - begun)

    def forget(self) -> None:
        """Forget the contexts that were encoded; the next use of each is paid for again."""
        self.known.clear()

    def divided(self, prompt: Prompt) -> tuple[str, str]:
        """The context of a prompt, and what is read after it."""
        divided = parts_of(prompt)
        context = "".join(part.text for part in divided.parts if part.role in ("context", "demonstration"))
        rest = divided.join([("" if p.role in ("context", "demonstration") else p.text) for p in divided.parts])
        return context, rest if isinstance(rest, str) else self.tokenizer.chat(rest)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> list[Completion]:
        """One completion for each prompt, in order; a context that was encoded before costs its slots only."""
        check_list(prompts)
        rows, prefixes, costs = self._rows(prompts, sampling)
        sampling = bound(sampling, self.model)
        live = [i for i, row in enumerate(rows) if row.limit]
        sizes = [len(rows[i].prompt) + prefixes[i].slots + min(rows[i].limit, 256) for i in live]
        for batch in batches(sizes, self.model.batch_tokens):
            chosen = [live[i] for i in batch]
            opened = Opened(self.model, [prefixes[i] for i in chosen])
            decode(opened, [rows[i] for i in chosen], sampling, cancel=cancel)
        return [self._completion(row, prefix, cost) for row, prefix, cost in zip(rows, prefixes, costs, strict=True)]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the text that `generate` gives."""
        from consort.models.decoding.decode import _pieces, cancelled_by

        (row,), (prefix,), (cost,) = self._rows([prompt], sampling)
        opened = Opened(self.model, [prefix])
        yield from _pieces(opened, row, bound(sampling, self.model), cancelled_by(cancel))
        return self._completion(row, prefix, cost)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) of each continuation after its context, encoded."""
        check_list(pairs, "pairs", '[("context", "continuation")]')
        found = []
        for context, continuation in pairs:
            own, rest = self.divided(context)
            prefix, _ = self.encode(own)
            head = self.tokenizer.encode(rest, special=False) or start(self.tokenizer)
            tail = self.tokenizer.encode(rest + continuation, special=False)[len(head) :]
            (values,) = logprobs(Opened(self.model, [prefix]), [[*head, *tail]])
            found.append(float(values[len(head) - 1 :].double().sum()) if tail else 0.0)
        return found

    def _rows(self, prompts: Sequence[Prompt], sampling: Sampling) -> tuple[list[Any], list[Prefix], list[Usage]]:
        divided = [self.divided(prompt) for prompt in prompts]
        encoded = [self.encode(context) for context, _ in divided]
        prefixes = [prefix for prefix, _ in encoded]
        rows = rows_of(self.model, [rest for _, rest in divided], sampling)
        for row, (_, rest), prefix in zip(rows, divided, prefixes, strict=True):
            row.prompt = self.tokenizer.encode(rest, special=False) or row.prompt
            if self.window is not None:
                room = self.window - prefix.positions - len(row.prompt) + 1
                if room < 1:
                    hint = "a shorter context, or a reader with a longer window"
                    raise BadData("context and question do not fit into the window", field=self.model.name, hint=hint)
                row.limit = min(row.limit, room)
        return rows, prefixes, [usage for _, usage in encoded]

    def _completion(self, row: Any, prefix: Prefix, encoding: Usage) -> Completion:
        answer = completion_of(self.model, row)
        own = {self.model.name: encoding} if encoding.calls else {}
        told = {"slots": prefix.slots, "context_tokens": prefix.positions, "encoded": bool(encoding.calls)}
        return replace(answer, cost=add_cost(own, answer.cost), details={**answer.details, "soft_prompt": told})

    def learn(
        self,
        taught: Sequence[Taught],
        file: Path,
        *,
        steps: int | None = None,
        lr: float | None = None,
        batch: int = 8,
        seed: int = 0,
        progress: Progress | None = None,
        every: int = 100,
    ) -> float:
        """Learn from contexts, questions and answers; writes `file` and uses it. Returns the loss of the last step.

        `steps` and `lr` stand over the strategy's own. Killed and called again with the same arguments, it goes on from
        `file` + `.training` and comes to the same weights. AdamW on what was added; the rest is frozen.
        """
        if not taught:
            raise BadData("there is nothing to learn from", field="taught", hint="give (context, question, answer)")
        read = [self._taught(one) for one in taught]
        encoder = self.fresh(seed)

        def drawn(rng: random.Random) -> list[tuple[list[int], list[int], list[int]]]:
            return [read[rng.randrange(len(read))] for _ in range(batch)]

        state = file.with_name(file.name + ".training")
        recipe = Recipe(steps or self.steps, lr or self.lr, schedule="constant", warmup=0.02)
        label = f"{self.mode} {self.slots} {seed}"
        with frozen(self.model.module):
            last = fit(encoder, drawn, self.loss, recipe, seed=label, state=state, every=every, progress=progress)
        encoder.save(file, mode=self.mode, reader=self.reader, facts={"slots": str(self.slots)})
        state.unlink(missing_ok=True)
        self.state, self._encoder = str(file), encoder.eval()
        self.forget()
        return last

    def _taught(self, one: Taught) -> tuple[list[int], list[int], list[int]]:
        context, question, answer = one
        before = self.tokenizer.encode(question, special=False)
        after = self.tokenizer.encode(question + answer, special=False)[len(before) :]
        end = [] if self.tokenizer.eos is None else [self.tokenizer.eos]
        return prompt_tokens(self.tokenizer, context), before, [*after, *end]


def answer_loss(logits: Sequence[Float[Tensor, "token vocab"]], answers: Sequence[Sequence[int]]) -> Tensor:
    """Mean cross entropy of the last tokens of each row, which are its answer; row i predicts the token after i."""
    parts = [
        nn.functional.cross_entropy(
            row[-len(answer) - 1 : -1].float(), torch.tensor(answer, device=row.device), reduction="sum"
        )
        for row, answer in zip(logits, answers, strict=True)
        if len(answer)
    ]
    return torch.stack(parts).sum() / max(1, sum(map(len, answers)))


def alike(batch: Sequence[Any], key: Callable[[Any], int]) -> Iterator[list[int]]:
    """Numbers of items of equal `key`, group by group, in order."""
    groups: dict[int, list[int]] = {}
    for number, item in enumerate(batch):
        groups.setdefault(key(item), []).append(number)
    yield from groups.values()
