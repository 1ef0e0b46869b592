"""The tokenizers of the lab: family A's words, and byte-pair or unigram pieces learnt on the spot."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from consort.lab.operations import OPERATIONS, SKILLS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
SPECIALS = (PAD, BOS, EOS)
"""Special tokens of every tokenizer here; their ids are 0, 1, 2."""

WORDS = (
    *SPECIALS,
    "=",
    *string.ascii_letters,
    *string.digits,
    *OPERATIONS,
    *SKILLS,
    *("weave", UNK, *(f"spare{i}" for i in range(6))),
)
"""Family A's vocabulary of 94, in the order of ids: each word is one token."""


def words(vocabulary: Sequence[str] = WORDS) -> Tokenizer:
    """A tokenizer of whole words, by default family A's: splits at white space; other words become `<unk>`."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _finish(tokenizer)


def byte_pairs(texts: Iterable[str], size: int) -> Tokenizer:
    """A byte-level byte-pair tokenizer of `size` entries trained on `texts`; nothing is unknown to it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _finish(tokenizer)


def unigram(texts: Iterable[str], size: int) -> Tokenizer:
    """A unigram tokenizer of at most `size` pieces trained on `texts`; a character never seen becomes `<unk>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=[*SPECIALS, UNK], unk_token=UNK, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _finish(_rounded(tokenizer))


def _rounded(tokenizer: Tokenizer) -> Tokenizer:
    """The same pieces, their scores to nine places: the trainer sums in parallel, so the last digits are chance."""
    from tokenizers import Tokenizer

    value = json.loads(tokenizer.to_str())
    value["model"]["vocab"] = [[piece, round(score, 9)] for piece, score in value["model"]["vocab"]]
    return Tokenizer.from_str(json.dumps(value))


def _finish(tokenizer: Tokenizer) -> Tokenizer:
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 1)]
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer


def encode_rows(tokenizer: Tokenizer, rows: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    """Token ids of (prompt, target) pairs: the prompt's with bos, and the answer's with eos.

    Both are cut from one encoding of the whole text, so that the answer has the tokens a model would have to write.
    """
    whole = tokenizer.encode_batch([f"{prompt} {target}" for prompt, target in rows])
    heads = tokenizer.encode_batch([prompt for prompt, _ in rows])
    return [
        (full.ids[: len(head.ids)], [*full.ids[len(head.ids) :], 2]) for full, head in zip(whole, heads, strict=True)
    ]
