"""Perplexity: how well a model foretells a text; the score is the mean log-probability of a token, in nats."""

from __future__ import annotations

from collections.abc import Sequence

from consort.evaluate.registry import metric


@metric(needs=("text",), asks="logprobs", numbers=3, default_for="text")
def perplexity(logprobs: Sequence[float], n_bytes: float) -> tuple[float, float, float]:
    """(sum of log-probabilities, tokens, bytes); their ratio over all texts is the score.

    Reported are perplexity exp(-score) and bits per byte, which tokenizers share: -sum / (bytes * ln 2).
    """
    return float(sum(logprobs)), float(len(logprobs)), n_bytes
