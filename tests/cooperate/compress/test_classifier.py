"""LLMLingua-2: a local random folder of its shape is loaded and read; words are merged without a loop."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.compressors.classifier import Classifier
from consort.cooperate.compress.merging import merge_words, word_sizes
from consort.cooperate.compress.token_classifier import chunks, encode, keep_probabilities, load_token_classifier
from consort.core.errors import BadCheckpoint
from consort.testing.compressor_laws import classifier_folder, texts
from consort.weights import open_checkpoint


def naive(values, word, words, how):
    found = [[] for _ in range(words)]
    for value, own in zip(values.tolist(), word.tolist(), strict=True):
        if own >= 0:
            found[own].append(value)
    one = {"mean": lambda v: sum(v) / len(v), "first": lambda v: v[0], "max": max}[how]
    return torch.tensor([one(v) if v else 0.0 for v in found], dtype=torch.float64)


@pytest.mark.parametrize("how", ["mean", "first", "max"])
def test_words_are_merged_as_a_loop_would(how):
    rng = np.random.default_rng(0)
    for _ in range(1000):
        size = int(rng.integers(1, 40))
        word = np.cumsum(rng.integers(0, 2, size))
        count = int(word.max()) + 1
        word[rng.random(size) < 0.1] = -1
        word, values = torch.from_numpy(word), torch.from_numpy(rng.random(size).astype(np.float32))
        torch.testing.assert_close(merge_words(values, word, count, how), naive(values.double(), word, count, how))


@pytest.fixture(scope="module")
def loaded():
    return load_token_classifier(open_checkpoint(classifier_folder()))


def test_no_chunk_ends_inside_a_word(loaded):
    tokenizer, _ = loaded
    text = "Some words here. " * 3 + "extraordinarily long sentence without an end " * 5
    encoded = encode(tokenizer, text)
    cut = chunks(encoded, text, 20)
    assert [a for a, _ in cut[1:]] == [b for _, b in cut[:-1]]
    assert all(b - a <= 20 and (b == len(encoded.ids) or encoded.word[b] != encoded.word[b - 1]) for a, b in cut)
    first = text[: encoded.ends[encoded.word[cut[0][1] - 1]]]
    assert first.endswith(".")


def test_chunks_are_read_as_the_module_reads_them_alone(loaded):
    tokenizer, model = loaded
    one, two = "A short text.", "Another text of more words, 3 of them."
    (both, other), usage = keep_probabilities(tokenizer, model, [(encode(tokenizer, t), t) for t in (one, two)], 50)
    for text, found in ((one, both), (two, other)):
        read = tokenizer(text, return_tensors="pt")
        wanted = model(**read).logits.softmax(-1)[0, 1:-1, 1]
        torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=1e-5)
    assert usage.prompt_tokens == len(both) + len(other)


def test_forced_words_and_digits_stay():
    text = "Pay 350 now, or wait for 12 days and see: nothing else will do, friend."
    made = Classifier(classifier_folder(), force_tokens=("see",), force_digits=True)
    (found,) = made.compress([Part(text)], Budget(rate=0.4))
    assert all(word in found.text for word in ("350", "12", "see"))
    once = Classifier(classifier_folder(), force_tokens=("a", "b"), drop_consecutive=True)
    forced = once._scored(encode(once.loaded[0], "a b c a"), "a b c a", [0.1, 0.2, 0.3, 0.4]).first
    assert forced == [True, False, False, True]


def test_the_threshold_is_that_of_expanded_data(loaded):
    text = texts(1, seed=9, longest=60)[0]
    made = Classifier(classifier_folder())
    (found,) = made.compress([Part(text)], Budget(rate=0.5))
    encoded = encode(loaded[0], text)
    word = torch.from_numpy(encoded.word)
    sizes = word_sizes(word, len(encoded.ends))
    share = Budget(rate=0.5).most(found.tokens_before) / found.tokens_before
    wanted = np.percentile(np.repeat(np.array(found.scores), sizes), 100 * (1 - share))
    assert found.notes["threshold"] == pytest.approx(wanted)


@pytest.mark.slow
def test_merging_is_twenty_times_a_loop():
    word = torch.arange(10_000) // 2
    values = torch.rand(10_000)

    def best(run):
        took = []
        for _ in range(7):
            begun = time.perf_counter()
            run()
            took.append(time.perf_counter() - begun)
        return min(took)

    loop = best(lambda: naive(values, word, 5000, "mean"))
    assert loop / best(lambda: merge_words(values, word, 5000, "mean")) >= 20


def test_folders_that_are_no_token_classifier(tmp_path):
    from consort import lab

    made = Classifier(str(lab.path("base")))
    with pytest.raises(BadCheckpoint, match="token classifier|labels"):
        made.compress([Part("a text of words")], Budget(rate=0.5))
