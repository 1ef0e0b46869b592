"""A sequence classifier of pairs: natural language inference by any checkpoint of three, or two, labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from consort.cooperate.detect.pairs import pair_scorer
from consort.cooperate.detect.pairs.kept import Kept
from consort.cooperate.detect.sentences import sentences
from consort.core.errors import BadCheckpoint
from consort.core.files import sha256_of
from consort.core.params import Range
from consort.core.types import Usage
from consort.models.judges.classifiers import folder_of, load_classifier, opened
from consort.weights import Checkpoint

ENTAIL, NEUTRAL, CONTRADICT = 0, 1, 2
MEANINGS = {
    ENTAIL: ("entail", "support", "consistent", "correct", "aligned"),
    NEUTRAL: ("neutral", "not enough", "unknown", "nei"),
    CONTRADICT: (
        "contradict",
        "refut",
        "inconsistent",
        "incorrect",
        "not_entail",
        "not entail",
        "non-entail",
        "unsupp",
    ),
}
"""What labels hold, in lower case; contradiction is looked for first, since its words hold the others'."""


@pair_scorer()
class Nli:
    """P(entailment), P(neutral), P(contradiction) by a checkpoint; which output is which is read from its `id2label`.

    Of two labels the second is "not entailed", which counts as contradiction. All pairs are read once, sorted by
    length, `batch` at a time; the scores are kept, in `cache` (a file) beyond this run where it is named, by the
    weights' SHA-256 and the two texts. A pair longer than the encoder's window is split and never cut: of a premise's
    windows the most decided one counts (the least neutral), a hypothesis' sentences are meaned.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, batch: Annotated[int, Range(1, 4096)] = 32, cache: str = "",
    ) -> None:  # fmt: skip
        self.checkpoint, self.batch, self.cache = opened(checkpoint), batch, cache
        self.name = self.checkpoint.name
        self._kept = Kept(cache)
        self._loaded: tuple[Any, Any, tuple[int | None, ...]] | None = None
        self._usage = Usage()
        self.forwards = 0

    @property
    def key(self) -> str:
        """The SHA-256 of the weights."""
        if not hasattr(self, "_key"):
            from pathlib import Path

            files = sorted(Path(folder_of(self.checkpoint)).glob("*.safetensors"))
            self._key = "+".join(sha256_of(file) for file in files) or self.name
        return self._key

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Float[np.ndarray, "pair 3"]:
        """Rows of the three probabilities, in order."""
        pairs = list(zip(premises, hypotheses, strict=True))
        return self._kept.scores(self.key, pairs, self._read)

    def spent(self) -> Usage:
        usage, self._usage = self._usage, Usage()
        return usage

    def _read(self, pairs: Sequence[tuple[str, str]]) -> Float[np.ndarray, "pair 3"]:
        tokenizer, model, order = self.open()
        begun, most = perf_counter(), window_of(tokenizer, model)
        read = _encoded(tokenizer, pairs)
        long = [i for i, one in enumerate(read) if len(one["input_ids"]) > most]
        split = {i: _split(tokenizer, most, *pairs[i]) for i in long}
        windows = [pair for i in long for row in split[i] for pair in row]
        whole = [one for one in read if len(one["input_ids"]) <= most]
        scores = self._forward(tokenizer, model, order, [*whole, *_encoded(tokenizer, windows)])
        found, rest = np.zeros((len(pairs), 3)), iter(scores[len(whole) :])
        found[[i for i in range(len(pairs)) if i not in split]] = scores[: len(whole)]
        for i, hypotheses in split.items():
            read_in = [np.array([next(rest) for _ in windows]) for windows in hypotheses]
            found[i] = np.mean([rows[int(rows[:, NEUTRAL].argmin())] for rows in read_in], axis=0)
        self._usage += Usage(0, 0, len(pairs), perf_counter() - begun)
        return found

    def _forward(self, tokenizer: Any, model: Any, order: Any, read: Sequence[dict[str, list[int]]]) -> np.ndarray:
        import torch

        lengths = [len(one["input_ids"]) for one in read]
        by_length = sorted(range(len(read)), key=lambda i: (lengths[i], read[i]["input_ids"]))
        found = np.zeros((len(read), 3))
        for start in range(0, len(by_length), self.batch):
            part = by_length[start : start + self.batch]
            inputs = tokenizer.pad([read[i] for i in part], return_tensors="pt")
            with torch.inference_mode():
                logits = model(**inputs).logits.double().numpy()
            found[part] = _ordered(logits, order)
            self.forwards += 1
        self._usage += Usage(sum(lengths), 0, 0, 0.0)
        return found

    def open(self) -> tuple[Any, Any, tuple[int | None, ...]]:
        """Tokenizer, model, and the outputs that mean entailment, neutral and contradiction. Raises BadCheckpoint."""
        if self._loaded is None:
            tokenizer, model = load_classifier(self.checkpoint, "a classifier of pairs of texts")
            labels = {int(i): str(label) for i, label in model.config.id2label.items()}
            self._loaded = tokenizer, model, order_of(labels, self.name)
        return self._loaded


def _encoded(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
    """Each pair as the classifier reads it; all in one call, which is what makes it quick."""
    if not pairs:
        return []
    columns = tokenizer([a for a, _ in pairs], [b for _, b in pairs], verbose=False)
    return [{name: columns[name][i] for name in columns} for i in range(len(pairs))]


def _split(tokenizer: Any, most: int, premise: str, hypothesis: str) -> list[list[tuple[str, str]]]:
    """For each piece of the hypothesis the windows of the premise that it is read with."""

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    special = tokenizer.num_special_tokens_to_add(pair=True)
    pieces = packed(hypothesis, count, max(1, (most - special) // 2))
    longest = max(map(count, pieces))
    windows = packed(premise, count, max(1, most - special - longest))
    return [[(window, piece) for window in windows] for piece in pieces]


def order_of(labels: dict[int, str], name: str) -> tuple[int | None, ...]:
    """The outputs that mean entailment, neutral, contradiction, by what their labels say. Raises BadCheckpoint.

    >>> order_of({0: "CONTRADICTION", 1: "neutral", 2: "entailment"}, "a model")
    (2, 1, 0)
    """
    found: dict[int, int] = {}
    for number, label in labels.items():
        said = label.lower().replace("-", "_").replace("_", " ")
        for meaning in (CONTRADICT, NEUTRAL, ENTAIL):
            if any(word.replace("_", " ").replace("-", " ") in said for word in MEANINGS[meaning]):
                found.setdefault(meaning, number)
                break
    if len(found) != len(labels) or ENTAIL not in found or CONTRADICT not in found:
        told = ", ".join(f"{i}: {label}" for i, label in labels.items())
        hint = "its id2label must say which output is entailment, contradiction (and neutral); correct its config.json"
        raise BadCheckpoint(f"its labels do not tell what they mean ({told})", field=name, hint=hint)
    return tuple(found.get(meaning) for meaning in (ENTAIL, NEUTRAL, CONTRADICT))


def _ordered(logits: np.ndarray, order: Sequence[int | None]) -> np.ndarray:
    """Probabilities of logits, the columns in our order; a label that is not there has probability 0."""
    exp = np.exp(logits - logits.max(1, keepdims=True))
    p = exp / exp.sum(1, keepdims=True)
    return np.stack([np.zeros(len(p)) if i is None else p[:, i] for i in order], axis=1)


def window_of(tokenizer: Any, model: Any) -> int:
    """The most tokens that a classifier reads at once."""
    own = getattr(model.config, "max_position_embeddings", 512)
    if model.config.model_type in ("roberta", "xlm-roberta", "camembert"):
        own -= 2  # positions begin behind the padding's
    return min(int(own), int(tokenizer.model_max_length))


def packed(text: str, count: Callable[[str], int], most: int) -> list[str]:
    """The text in pieces of at most `most` tokens: whole sentences where they fit, else whole words."""
    parts = [s.text for s in sentences(text)] or [text]
    pieces: list[str] = []
    for small in (piece for part in parts for piece in _halved(part, count, most)):
        joined = f"{pieces[-1]} {small}" if pieces else small
        if pieces and count(joined) <= most:
            pieces[-1] = joined
        else:
            pieces.append(small)
    return pieces


def _halved(text: str, count: Callable[[str], int], most: int) -> list[str]:
    words = text.split()
    if count(text) <= most or len(text) < 2:
        return [text]
    if len(words) < 2:
        return [*_halved(text[: len(text) // 2], count, most), *_halved(text[len(text) // 2 :], count, most)]
    middle = len(words) // 2
    return [*_halved(" ".join(words[:middle]), count, most), *_halved(" ".join(words[middle:]), count, most)]
