"""Vectors of texts and of their tokens from a sentence encoder: `minilm`, or any folder in Hugging Face's layout."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.core.types import Usage
from consort.models.hf.sentence_encoder import SentenceEncoder, encoder_folder

MOST_TOKENS = 256
BATCH = 32


class TextEncoder:
    """Reads each text once: what it has made of a text is kept (at most `most` texts).

    Texts longer than 256 tokens are read in pieces, so that no token is lost.
    """

    def __init__(self, name: str = "minilm", *, most: int = 20000) -> None:
        self.name, self.most = name, most
        self._states: dict[str, Float[np.ndarray, "token size"]] = {}
        self._usage = Usage()
        self.source = SentenceEncoder(name)
        encoder_folder(name)

    def tokens(self, texts: Sequence[str]) -> list[Float[np.ndarray, "token size"]]:
        """Last hidden states of each text's tokens, special ones left out."""
        new = [t for t in dict.fromkeys(texts) if t not in self._states]
        if len(self._states) + len(new) > self.most:
            self._states = {t: self._states[t] for t in dict.fromkeys(texts) if t in self._states}
        if new:
            begun = perf_counter()
            read = self._read(new)
            self._usage += Usage(read, 0, len(new), perf_counter() - begun)
        return [self._states[t] for t in texts]

    def vectors(self, texts: Sequence[str]) -> Float[np.ndarray, "text size"]:
        """Unit vectors of texts: the mean of their tokens' states (before these are made unit vectors)."""
        means = [_unit(_means(self.tokens([t])[0])) for t in texts]
        return np.stack(means) if means else np.zeros((0, 1))

    def spent(self) -> Usage:
        """What it has read since this was last asked."""
        usage, self._usage = self._usage, Usage()
        return usage

    def _read(self, texts: Sequence[str]) -> int:
        import torch

        tokenizer, model = self.source.loaded()
        pieces = [
            (i, ids[at : at + MOST_TOKENS - 2])
            for i, ids in enumerate(tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"])
            for at in range(0, len(ids), MOST_TOKENS - 2)
        ]
        size, (before, after) = model.config.hidden_size, _frame(tokenizer)
        found: dict[int, list[np.ndarray]] = {i: [] for i in range(len(texts))}
        states: list[np.ndarray] = [np.zeros((0, size))] * len(pieces)
        order = sorted(range(len(pieces)), key=lambda k: (len(pieces[k][1]), k))
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            rows = [[*before, *pieces[k][1], *after] for k in part]
            width = max(map(len, rows))
            ids = torch.tensor([row + [tokenizer.pad_token_id or 0] * (width - len(row)) for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
            with torch.inference_mode():
                hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.double().numpy()
            for k, row, one in zip(part, rows, hidden, strict=True):
                states[k] = one[len(before) : len(row) - len(after)]
        for (i, _), state in zip(pieces, states, strict=True):
            found[i].append(state)
        for i, text in enumerate(texts):
            self._states[text] = np.concatenate(found[i]) if found[i] else np.zeros((0, size))
        return sum(len(ids) for _, ids in pieces)


def matched(a: Float[np.ndarray, "n size"], b: Float[np.ndarray, "m size"]) -> Float[np.ndarray, " n"]:
    """For each token of `a` the cosine with the nearest token of `b` (BERTScore's precision, 1904.09675); 0 of none."""
    if not len(a) or not len(b):
        return np.zeros(len(a))
    return np.asarray((units(a) @ units(b).T).max(1))


def units(states: Float[np.ndarray, "n size"]) -> Float[np.ndarray, "n size"]:
    """Rows of length 1."""
    return np.asarray(states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-12))


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and behind a text."""
    bare, framed = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    at = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
    return framed[:at], framed[at + len(bare) :]


def _means(state: np.ndarray) -> np.ndarray:
    return state.mean(0) if len(state) else np.zeros(state.shape[1])


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))
