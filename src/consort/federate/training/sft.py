"""Supervised fine-tuning: cross entropy on the texts, or on the answers where there are prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from consort.distil.batches import loss_of, parts
from consort.distil.corpus import Document, read_corpus
from consort.distil.targets import Target, Texts
from consort.federate.training import trainer
from consort.models.base import Tokenizer


@trainer(paper="supervised fine-tuning")
class Sft:
    """Cross entropy on a client's own texts; of prompts with targets, joined by `separator`, the targets are learnt."""

    def __init__(self, *, separator: str = " ") -> None:
        self.separator = separator

    def read(self, path: Path, tokenizer: Tokenizer) -> list[Target]:
        """A file of texts, prompts with targets, or chats (see `distil.corpus.read_corpus`)."""
        return self.targets(read_corpus(path, tokenizer, separator=self.separator), tokenizer)

    def targets(self, documents: Sequence[Document], tokenizer: Tokenizer) -> list[Target]:
        """What is learnt of each document; those of which nothing is are left out."""
        texts = Texts(tokenizer)
        return [target for document in documents if len((target := texts.target(document)).at)]

    def prepare(self, module: nn.Module, items: Sequence[Target]) -> None:
        """Nothing has to be known of the module before it is trained."""

    def loss(self, module: nn.Module, items: Sequence[Target]) -> Tensor:
        """Mean cross entropy (nats) of what is learnt."""
        (batch,) = parts(items, 1.0, len(items))
        return loss_of(module, batch)[0]
