"""Two exact models of one language in different tokenizers, for tests of strategies across tokenizers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from consort.models import FakeTokenModel
from consort.models.tokens.chats import plain_chat
from consort.models.tokens.tokenizer import vocabulary_key


class WordTokenizer:
    """Tokens are given strings, the longest match first; then bos and eos."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.bos, self.eos, self.vocab_size = len(self.words), len(self.words) + 1, len(self.words) + 2
        self.vocabulary_key = vocabulary_key({word: i for i, word in enumerate(self.words)})

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        found = [self.bos] if special else []
        while text:
            word = max((w for w in self.words if text.startswith(w)), key=len)
            found.append(self.words.index(word))
            text = text[len(word) :]
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.words[t] for t in tokens if t < len(self.words))

    def chat(self, prompt: object) -> str:
        return prompt if isinstance(prompt, str) else plain_chat(prompt)  # type: ignore[arg-type]


def random_model(words: Sequence[str], seed: int, name: str) -> FakeTokenModel:
    """Logits fixed by the seed, which depend on the last token."""
    tokenizer = WordTokenizer(words)
    size = tokenizer.vocab_size
    table = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    table[:, tokenizer.bos] = -torch.inf
    rows = table.tolist()
    return FakeTokenModel(lambda tokens: rows[tokens[-1]], tokenizer, name=name)


LETTERS = random_model(["a", "b", "c"], 1, "letters")
PAIRS = random_model(["b", "a", "ab", "c", "ca"], 2, "pairs")
