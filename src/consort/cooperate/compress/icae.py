"""In-context autoencoder (2307.06945): the reader with LoRA writes a context into vectors that the frozen reader reads.

Learned by writing the context out again (after an AE vector), by going on with a text (after an LM vector), and then by
answering. LoRA is on while encoding and off while decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.cooperate.compress import strategy
from consort.cooperate.compress.auto_compressor import read_after
from consort.cooperate.compress.soft.encoder import Encoder
from consort.cooperate.compress.soft.prefix import Prefix
from consort.cooperate.compress.soft.prompted import SoftPrompt, alike, answer_loss
from consort.core.errors import BadData
from consort.core.params import Range
from consort.models.token_model import TokenModel

AUTOENCODE, CONTINUE = 0, 1
"""The two vectors that stand after the memory slots among what was added."""

Row = tuple[list[int], list[int], list[int]]


@strategy(paper="2307.06945")
class Icae(SoftPrompt):
    """Write a context into `slots` memory vectors that the frozen reader reads in its place.

    `rank`, `steps`, `lr`, `state`: as of `gist`. Every batch learns to answer; with `rebuild` also to write
    the context out again and to go on with it from its middle.
    """

    mode = "icae"

    def __init__(
        self,
        model: TokenModel,
        *,
        slots: Annotated[int, Range(1, 4096)] = 128,
        rank: Annotated[int, Range(1, 4096)] = 64,
        rebuild: bool = True,
        steps: Annotated[int, Range(1, 100000000)] = 300,
        lr: Annotated[float, Range(0.000000000001, 1000)] = 0.0001,
        state: str | None = None,
    ) -> None:
        self.rebuild = rebuild
        super().__init__(model, slots, rank, state, steps, lr, added=slots + 2)

    def prefix_of(self, encoder: Encoder, tokens: Sequence[int]) -> Prefix:
        window = self.model.window
        if window is not None and len(tokens) + self.slots > window:
            hint = f"a context of at most {window - self.slots} tokens, or fewer slots"
            raise BadData(f"{len(tokens)} tokens and {self.slots} slots do not fit", field=self.model.name, hint=hint)
        vectors = self.memory(encoder, torch.tensor([list(tokens)], device=self.model.device))[0]
        return Prefix(len(vectors), vectors=vectors)

    def memory(self, encoder: Encoder, tokens: Int[Tensor, "row token"]) -> Float[Tensor, "row slot size"]:
        """Memory vectors of equally long contexts."""
        embedded = encoder.embed(tokens)
        asked = encoder.added[: self.slots].to(embedded).expand(len(tokens), -1, -1)
        with encoder.switched(True) as module:
            found: Any = module(
                inputs_embeds=torch.cat([embedded, asked], 1), output_hidden_states=True, use_cache=False
            )
        states: Tensor = found.hidden_states[-1]
        return states[:, -self.slots :]

    def loss(self, encoder: nn.Module, batch: Sequence[Row]) -> Tensor:
        assert isinstance(encoder, Encoder)
        logits: list[Tensor] = []
        answers: list[list[int]] = []
        for group in alike(batch, lambda row: len(row[0])):
            rows = [batch[i] for i in group]
            tokens = torch.tensor([c for c, _, _ in rows], device=self.model.device)
            memory = self.memory(encoder, tokens)
            logits += read_after(encoder, memory, [[*q, *a] for _, q, a in rows])
            answers += [a for _, _, a in rows]
            if self.rebuild:
                for task, told, wanted in self._texts(encoder, tokens, memory):
                    mark = encoder.added[self.slots + task].to(told).expand(len(told), 1, -1)
                    logits += read_after(encoder, torch.cat([told, mark], 1), wanted)
                    answers += wanted
        return answer_loss(logits, answers)

    def _texts(
        self, encoder: Encoder, tokens: Int[Tensor, "row token"], memory: Tensor
    ) -> list[tuple[int, Tensor, list[list[int]]]]:
        """What is to be written: the context again, and its second half after the memory of the first."""
        window, size = self.model.window, tokens.shape[1]
        room = size if window is None else min(size, window - self.slots - 1)
        found = [(AUTOENCODE, memory, tokens[:, :room].tolist())]
        if size > 1:
            half = self.memory(encoder, tokens[:, : size // 2])
            found.append((CONTINUE, half, tokens[:, size // 2 :][:, :room].tolist()))
        return found
