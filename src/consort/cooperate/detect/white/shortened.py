"""The sentences of a source that an answer has most to do with, where the whole source is too long to read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consort.cooperate.detect.sentences import sentences
from consort.cooperate.detect.white.probabilities import context_of
from consort.cooperate.detect.words import words_of
from consort.models.detecting import Case


def shortened(case: Case, most_words: int) -> Case:
    """The case with at most `most_words` words of its source: sentences that share most words, in their order.

    A sentence is worth the words of the answer that it has, over the root of its length; the first of equals.
    """
    if len(case.source.split()) <= most_words:
        return case
    parts = [s.text for s in sentences(case.source)] or [case.source]
    wanted = set(words_of(case.answer))
    words = [words_of(part) for part in parts]
    worth = [len(wanted & set(own)) / max(1, len(own)) ** 0.5 for own in words]
    kept: list[int] = []
    size = 0
    for i in sorted(range(len(parts)), key=lambda i: (-worth[i], i)):
        n = len(parts[i].split())
        if size + n <= most_words:
            kept.append(i)
            size += n
    text = " ".join(parts[i] for i in sorted(kept)) or " ".join(case.source.split()[:most_words])
    return replace(case, source=text)


def fitting(case: Case, model: Any, most_words: int) -> Case:
    """The case with as many of its source's sentences as `most_words` and the model's window allow."""
    kept = shortened(case, most_words)
    while model.window is not None and most_words > 1:
        if len(model.tokenizer.encode(context_of(kept) + kept.answer)) <= model.window:
            break
        most_words = max(1, most_words * 3 // 4)
        kept = shortened(case, most_words)
    return kept
