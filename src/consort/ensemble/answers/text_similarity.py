"""How alike texts are: the utilities of consensus decoding, each from texts to a matrix u[i, j] of text i against j.

chrF (Popović 2015), ROUGE-L (Lin 2004), overlap of words, BLEU, cosines of TF-IDF or sentence vectors, and greedy
matching of token vectors (BERTScore, 1904.09675, here over a small sentence encoder and without rescaling).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadParameter, did_you_mean
from consort.evaluate.metrics.bleu import sacre_bleu
from consort.models.hf.sentence_encoder import SentenceEncoder

Matrix = Float[np.ndarray, "text text"]
Utility = Callable[[Sequence[str]], Matrix]
WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores."""
    return WORD.findall(text.lower())


def _pairwise(items: Sequence[Any], score: Callable[[Any, Any], float]) -> Matrix:
    return np.array([[score(a, b) for b in items] for a in items], dtype=float).reshape(len(items), len(items))


def _shared(counts: Sequence[Counter[Hashable]]) -> Matrix:
    """The size of every two bags' intersection; common elements are the columns of one small matrix."""
    names = {word: i for i, word in enumerate(dict.fromkeys(w for bag in counts for w in bag))}
    table = np.zeros((len(counts), len(names)))
    for row, bag in enumerate(counts):
        table[row, [names[w] for w in bag]] = list(bag.values())
    return np.asarray(np.minimum(table[:, None], table[None]).sum(-1))


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=np.broadcast_to(b, a.shape) > 0))


def unigram_recall(texts: Sequence[str]) -> Matrix:
    """The share of text j's words that text i has: long texts have much of everything."""
    bags = [Counter[Hashable](words_of(t)) for t in texts]
    return _divided(_shared(bags), np.array([bag.total() for bag in bags], dtype=float)[None, :])


def unigram_precision(texts: Sequence[str]) -> Matrix:
    """The share of text i's words that text j has: short texts say nothing that others do not."""
    return unigram_recall(texts).T


def unigram_f1(texts: Sequence[str]) -> Matrix:
    """The harmonic mean of recall and precision of words."""
    recall = unigram_recall(texts)
    return _divided(2 * recall * recall.T, recall + recall.T)


def chrf(texts: Sequence[str], *, order: int = 6, beta: float = 2.0) -> Matrix:
    """chrF2: the mean over n = 1..6 of precision and recall of character n-grams, recall counting beta times."""
    plain = ["".join(t.split()) for t in texts]
    precision, recall = np.zeros((len(texts),) * 2), np.zeros((len(texts),) * 2)
    for n in range(1, order + 1):
        bags = [Counter[Hashable](t[i : i + n] for i in range(len(t) - n + 1)) for t in plain]
        shared, size = _shared(bags), np.array([bag.total() for bag in bags], dtype=float)
        precision += _divided(shared, size[:, None])
        recall += _divided(shared, size[None, :])
    return _divided((1 + beta**2) * precision * recall, order * (beta**2 * precision + recall))


def rouge_l(texts: Sequence[str]) -> Matrix:
    """ROUGE-L: twice the longest common subsequence of words over the sum of lengths."""
    lists = [words_of(t) for t in texts]
    found = np.eye(len(texts))
    for i, a in enumerate(lists):
        for j in range(i):
            both = len(a) + len(lists[j])
            found[i, j] = found[j, i] = 2 * _subsequence(a, lists[j]) / both if both else 1.0
    return found


def _subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of bits at a time (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    row = whole = (1 << len(a)) - 1
    for word in b:
        common = row & places.get(word, 0)
        row = ((row + common) | (row - common)) & whole
    return len(a) - row.bit_count()


def bleu(texts: Sequence[str]) -> Matrix:
    """sacreBLEU's sentence BLEU of text i against reference j, over 100 (13a words, exponential smoothing).

    Orders that a short text has no n-gram of are left out. Two empty texts agree.
    """
    scorer = sacre_bleu()

    def score(a: str, b: str) -> float:
        if not a.strip() or not b.strip():
            return float(a.strip() == b.strip())
        return float(scorer.sentence_score(a, [b]).score) / 100

    return _pairwise(texts, score)


def tfidf(texts: Sequence[str]) -> Matrix:
    """Cosine of TF-IDF vectors of words; document frequencies are those of the texts themselves."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(words_of(t) for t in texts):
        return np.ones((len(texts), len(texts)))
    table = TfidfVectorizer(token_pattern=WORD.pattern, sublinear_tf=True).fit_transform(texts)
    return np.asarray((table @ table.T).toarray(), dtype=float)


def embedding(texts: Sequence[str]) -> Matrix:
    """Cosine of sentence vectors of a small encoder (the extra `embed`)."""
    vectors = np.stack([_mean_vector(state) for state in token_vectors(texts)])
    return np.asarray(vectors @ vectors.T, dtype=float)


def bertscore(texts: Sequence[str]) -> Matrix:
    """BERTScore F1 without rescaling: each token vector is matched with the nearest of the other text."""
    states = [s / np.maximum(np.linalg.norm(s, axis=1, keepdims=True), 1e-9) for s in token_vectors(texts)]
    found = np.eye(len(texts))
    for i, a in enumerate(states):
        for j in range(i):
            alike = a @ states[j].T
            precision, recall = alike.max(1).mean(), alike.max(0).mean()
            found[i, j] = found[j, i] = 2 * precision * recall / max(precision + recall, 1e-9)
    return found


def _mean_vector(state: np.ndarray) -> np.ndarray:
    mean = state.mean(0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9))


def token_vectors(texts: Sequence[str], *, max_tokens: int = 256) -> list[Float[np.ndarray, "token size"]]:
    """Vectors of each text's tokens from the sentence encoder, text by text (its batch must not matter)."""
    import torch

    tokenizer, encoder = _encoder()
    found = []
    for text in texts:
        batch = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.inference_mode():
            found.append(encoder(**batch).last_hidden_state[0].numpy())
    return found


@lru_cache(maxsize=1)
def _encoder() -> tuple[Any, Any]:
    return SentenceEncoder("minilm").loaded()


UTILITIES: dict[str, Utility] = {
    "bertscore": bertscore,
    "bleu": bleu,
    "chrf": chrf,
    "embedding": embedding,
    "rouge_l": rouge_l,
    "tfidf": tfidf,
    "unigram_f1": unigram_f1,
    "unigram_precision": unigram_precision,
    "unigram_recall": unigram_recall,
}


def utility(name: str) -> Utility:
    """The utility called `name`. Raises BadParameter."""
    if name not in UTILITIES:
        raise BadParameter(f"no utility named {name!r}", field="utility", hint=did_you_mean(name, UTILITIES))
    return UTILITIES[name]


def consensus(matrix: Matrix, weights: Sequence[float] | None = None) -> int:
    """argmax_i of the sum over the others j of w_j u[i, j]: the text most like all others; of equals the first."""
    weight = np.ones(len(matrix)) if weights is None else np.asarray(weights, dtype=float)
    gained = matrix @ weight - np.diag(matrix) * weight
    return int((gained >= gained.max() - 1e-9 * max(1.0, abs(gained.max()))).argmax())
