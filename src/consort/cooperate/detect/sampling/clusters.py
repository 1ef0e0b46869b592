"""Answers of one meaning put together: by equality, by entailment both ways, or by the nearness of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from consort.cooperate.detect.encoder import TextEncoder
from consort.cooperate.detect.sampling.likeness import pairwise

By = Literal["equality", "nli", "encoder"]


def clusters(
    texts: Sequence[str], by: By, *, nli: Any = None, encoder: TextEncoder | None = None, threshold: float = 0.5
) -> list[int]:
    """The number of each text's cluster, from 0 in order of first appearance.

    A text joins the first cluster whose first text it means the same as (algorithm 1 of 2302.09664): equality without
    case and outer space; entailment both ways likelier than neutral and contradiction; or a cosine of at least
    `threshold`. Equal texts are always together.
    """
    keys = [text.strip().casefold() for text in texts]
    same = _same(texts, by, nli, encoder, threshold)
    firsts: list[int] = []
    found = []
    for i, key in enumerate(keys):
        place = next((n for n, f in enumerate(firsts) if keys[f] == key or (same is not None and same[f, i])), None)
        if place is None:
            place = len(firsts)
            firsts.append(i)
        found.append(place)
    return found


def _same(texts: Sequence[str], by: By, nli: Any, encoder: TextEncoder | None, threshold: float) -> np.ndarray | None:
    if by == "equality":
        return None
    if by == "nli":
        entails = pairwise(texts, nli).argmax(-1) == 0
        return np.asarray(entails & entails.T)
    vectors = (encoder or TextEncoder()).vectors(texts)
    return np.asarray(vectors @ vectors.T >= threshold)
