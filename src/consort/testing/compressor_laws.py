"""Laws that every compressor keeps; for authors of plug-ins as for consort's own tests.

A law is a function of a registered name that raises AssertionError where it is broken; `check(NAME)` runs them all.
"""

from __future__ import annotations

import json
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from consort.cooperate.compress.compressor import Compressor
from consort.cooperate.compress.compressors import COMPRESSORS
from consort.cooperate.compress.parts import Budget, Compression, Part, Span, text_of
from consort.cooperate.compress.units import whole_graphemes
from consort.core.errors import BadParameter
from consort.testing import built as building
from consort.testing.built import open_model

QUESTION = "Who found the key?"
WORDS = "the a key door river found lost Ann Bob walked slowly to and from under green 42 3.5 stones because it rained"
PIECES = ("\r\n", "\n\n", " ", "  ", "👩‍👩‍👧", "🇫🇷🇩🇪", "e\u0301", "ñ", "日本語", "ไทย", ". ", "! ", "\t", "\u200b", "-")
ODD = ("\x00\x01\x02\x1b", " \n\t ", "x" * 700, "\u0301\u0301", "。。。", "🇫", ".", "\ufeffa")


@cache
def compressor(name: str) -> Compressor:
    """A compressor over small exact models, whose tokens are bytes."""
    params = COMPRESSORS.entry(name).params
    given: dict[str, Any] = {"checkpoint": classifier_folder()} if any(p.name == "checkpoint" for p in params) else {}
    made: Compressor = building.built(COMPRESSORS, name, [open_model(0), open_model(1)], given=given)
    return made


@cache
def classifier_folder() -> str:
    """A random token classifier of the shape of LLMLingua-2's, in a folder."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = Path(tempfile.mkdtemp(prefix="consort-law-"))
    letters = [chr(i) for i in range(33, 127)]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *("##" + c for c in letters)]
    core = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.BertTokenizerFast(tokenizer_object=core)
    config = transformers.BertConfig(
        vocab_size=len(names), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, num_labels=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.BertForTokenClassification(config)
        module.classifier.weight.data.mul_(20)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@cache
def texts(count: int, seed: int = 0, longest: int = 30) -> list[str]:
    """Texts of words, marks, line ends, emoji and accents; some begin or end with white space."""
    rng, words = random.Random(seed), WORDS.split()
    found = []
    for _ in range(count):
        pieces = [
            rng.choice((rng.choice(words), f" {rng.choice(words)}", rng.choice(PIECES)))
            for _ in range(rng.randint(1, longest))
        ]
        found.append("".join(pieces))
    return found


def shortened(name: str, text: str | list[str], budget: Budget) -> list[Compression]:
    parts = [Part(one) for one in ([text] if isinstance(text, str) else text)]
    return compressor(name).compress(parts, budget, QUESTION, reader=open_model(0).tokenizer)


def rate_one_is_the_text_itself(name: str) -> None:
    for text in texts(500):
        for budget in (Budget(rate=1), Budget(tokens=len(text.encode()))):
            (found,) = shortened(name, text, budget)
            assert found.text == text and found.tokens_after == found.tokens_before


def rate_zero_leaves_what_is_not_context(name: str) -> None:
    parts = [Part("Answer.\n", "instruction"), Part("Ann lost it. Bob found it.\n"), Part(QUESTION, "question")]
    found = compressor(name).compress(parts, Budget(rate=0))
    assert [one.text for one in found] == ["Answer.\n", "", QUESTION]


def only_context_and_demonstrations_are_touched(name: str) -> None:
    story = "Ann walked to the river. Bob found the key under a stone. It rained. " * 2
    parts = [Part(story, "instruction"), Part(story), Part(story, "demonstration"), Part(story, "question")]
    found = sorted(compressor(name).compress(parts, Budget(rate=0.4)), key=lambda one: one.part)
    assert found[0].text == found[3].text == story
    assert len(found[1].text) + len(found[2].text) < 2 * len(story)


def the_budget_is_met(name: str) -> None:
    for number, text in enumerate(texts(8, seed=1, longest=20)):
        for rate in (0.1, 0.5, 0.9):
            (found,) = shortened(name, text, Budget(rate=rate))
            most = int(rate * found.tokens_before + 0.5)
            assert found.tokens_after <= most, (number, rate)
            assert found.tokens_after == len(found.text.encode())
            if found.units and found.kept:
                largest = max(len(text[a:b].encode()) for a, b in found.units)
                assert most - found.tokens_after <= largest, (number, rate)


def kept_spans_are_the_text(name: str) -> None:
    for text in texts(6, seed=2):
        (found,) = shortened(name, text, Budget(rate=0.5))
        if found.kept or not found.text:
            assert found.text == text_of(text, found.kept)
            edges = [edge for span in found.kept for edge in span]
            assert edges == sorted(set(edges)), "spans are sorted and disjoint"


def graphemes_stay_whole(name: str) -> None:
    for text in texts(8, seed=3):
        (found,) = shortened(name, text, Budget(rate=0.5))
        cuts = sorted({0, len(text), *(edge for span in found.kept for edge in span)})
        pieces = [Span(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
        assert len(whole_graphemes(text, pieces)) == len(pieces), text


def odd_texts_are_shortened_too(name: str) -> None:
    for text in ODD:
        (found,) = shortened(name, text, Budget(rate=0.5))
        assert found.tokens_after <= (len(text.encode()) + 1) // 2


def it_is_deterministic(name: str) -> None:
    story = ["Ann lost a key. It rained. ", "Bob walked to the green door. He found the key. "]
    one, other = (shortened(name, story, Budget(rate=0.5)) for _ in range(2))
    assert [(c.text, c.part, c.kept) for c in one] == [(c.text, c.part, c.kept) for c in other]


def parts_come_back_once_each(name: str) -> None:
    found = shortened(name, ["Ann lost a key. ", "", "Bob found a key under the door. "], Budget(rate=0.6))
    assert sorted(one.part for one in found) == [0, 1, 2]


def a_question_that_is_needed_is_asked_for(name: str) -> None:
    if compressor(name).needs_question:
        try:
            compressor(name).compress([Part("Ann lost a key. Bob found it.")], Budget(rate=0.5))
        except BadParameter as fault:
            assert "question" in str(fault)
        else:
            raise AssertionError("it went on without a question")


def what_is_told_is_json(name: str) -> None:
    from consort.cooperate.compress.compressed import told

    json.dumps(told(shortened(name, "Ann lost a key. Bob found it, slowly.", Budget(rate=0.5))), allow_nan=False)


KINDS = ("compressor",)
LAWS = [
    rate_one_is_the_text_itself,
    rate_zero_leaves_what_is_not_context,
    only_context_and_demonstrations_are_touched,
    the_budget_is_met,
    kept_spans_are_the_text,
    graphemes_stay_whole,
    odd_texts_are_shortened_too,
    it_is_deterministic,
    parts_come_back_once_each,
    a_question_that_is_needed_is_asked_for,
    what_is_told_is_json,
]


def check(name: str) -> list[str]:
    """Every law over a registered compressor, but those that it is exempt from; the names of the laws that held."""
    return building.run(COMPRESSORS, LAWS, name)
