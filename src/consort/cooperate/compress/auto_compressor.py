"""AutoCompressors (2305.14788): a text in segments, each read after the summary vectors of those before it.

Gradients are stopped after two segments. Differs from the paper: the model is not fine-tuned; a low-rank delta, on
while segments are read, and the summary tokens' embeddings are learned, and the reader decodes as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.cooperate.compress import strategy
from consort.cooperate.compress.soft.encoder import Encoder, pad
from consort.cooperate.compress.soft.prefix import Prefix
from consort.cooperate.compress.soft.prompted import SoftPrompt, alike, answer_loss
from consort.core.errors import BadData
from consort.core.params import Range
from consort.models.token_model import TokenModel

REACH = 2
"""Segments that gradients reach back."""

Row = tuple[list[int], list[int], list[int]]


@strategy(paper="2305.14788")
class AutoCompressor(SoftPrompt):
    """Read a context segment by segment and keep `slots` summary vectors of each; all are kept.

    `segment`: tokens of a segment; it and the vectors must fit into the window. `rank`, `steps`, `lr` and
    `state`: as of `gist`.
    """

    mode = "auto_compressor"

    def __init__(
        self,
        model: TokenModel,
        *,
        slots: Annotated[int, Range(1, 4096)] = 50,
        segment: Annotated[int, Range(1, 1000000)] = 1024,
        rank: Annotated[int, Range(1, 4096)] = 8,
        steps: Annotated[int, Range(1, 100000000)] = 300,
        lr: Annotated[float, Range(0.000000000001, 1000)] = 0.0001,
        state: str | None = None,
    ) -> None:
        self.segment = segment
        super().__init__(model, slots, rank, state, steps, lr, added=slots)

    def prefix_of(self, encoder: Encoder, tokens: Sequence[int]) -> Prefix:
        vectors = self.vectors(encoder, torch.tensor([list(tokens)], device=self.model.device))[0]
        return Prefix(len(vectors), vectors=vectors)

    def vectors(
        self,
        encoder: Encoder,
        tokens: Int[Tensor, "row token"],
        embedded: Sequence[Float[Tensor, "row token size"]] | None = None,
    ) -> Float[Tensor, "row slot size"]:
        """Summary vectors of equally long contexts, `slots` for each segment.

        `embedded` stands for the segments' embeddings, where gradients with respect to them are asked for.
        """
        cuts = range(0, tokens.shape[1], self.segment)
        parts = list(embedded or (encoder.embed(tokens[:, at : at + self.segment]) for at in cuts))
        window: int | None = self.model.window
        kept: list[Tensor] = []
        longest = max(part.shape[1] for part in parts) + self.slots * len(parts)
        if window is not None and longest > window:
            hint = f"fewer slots, or segments of at most {max(1, window - self.slots * len(parts))} tokens"
            raise BadData(f"a segment and the vectors take {longest} of {window} tokens", field="segment", hint=hint)
        for number, part in enumerate(parts):
            near = number >= len(parts) - REACH
            with torch.set_grad_enabled(near and torch.is_grad_enabled()):
                kept.append(self._summary(encoder, kept, part))
        return torch.cat(kept, 1)

    def _summary(self, encoder: Encoder, before: Sequence[Tensor], part: Tensor) -> Float[Tensor, "row slot size"]:
        asked = encoder.added.to(part).expand(len(part), -1, -1)
        with encoder.switched(True) as module:
            found: Any = module(
                inputs_embeds=torch.cat([*before, part, asked], 1), output_hidden_states=True, use_cache=False
            )
        states: Tensor = found.hidden_states[-1]
        return states[:, -self.slots :]

    def loss(self, encoder: nn.Module, batch: Sequence[Row]) -> Tensor:
        assert isinstance(encoder, Encoder)
        logits: list[Tensor] = []
        answers: list[list[int]] = []
        for group in alike(batch, lambda row: len(row[0])):
            rows = [batch[i] for i in group]
            vectors = self.vectors(encoder, torch.tensor([c for c, _, _ in rows], device=self.model.device))
            logits += read_after(encoder, vectors, [[*q, *a] for _, q, a in rows])
            answers += [a for _, _, a in rows]
        return answer_loss(logits, answers)


def read_after(
    encoder: Encoder, vectors: Float[Tensor, "row slot size"], texts: Sequence[Sequence[int]]
) -> list[Float[Tensor, "token vocab"]]:
    """Logits of the frozen reader (LoRA off) after each vector of a row and each token of the text behind them."""
    embedded = [
        torch.cat([v, encoder.embed(torch.tensor([list(t)], dtype=torch.long, device=v.device))[0].to(v)])
        for v, t in zip(vectors, texts, strict=True)
    ]
    lengths = torch.tensor([len(row) for row in embedded], device=vectors.device)
    whole = pad(embedded)
    mask = (torch.arange(whole.shape[1], device=vectors.device) < lengths[:, None]).long()
    with encoder.switched(False) as module:
        logits: Tensor = module(inputs_embeds=whole, attention_mask=mask, use_cache=False).logits
    return [row[:n] for row, n in zip(logits, lengths.tolist(), strict=True)]
