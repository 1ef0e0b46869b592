"""Alignment on real tokenizers and real texts: nothing raises, nothing is aligned wrongly, most of it as officially."""

from __future__ import annotations

import base64
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from consort.models import HFTokenizer
from consort.models.tokens.dtw import costs, partners, path, spellings
from consort.models.tokens.ends import same_end, spell
from consort.models.tokens.vocabulary_map import vocabulary_map
from consort.weights.vocabulary.read import read_vocabulary

NAMES = ("gpt2", "gpt-neox-20b", "mistral-v03-hf", "llama2", "llama3")
PAIRS = list(permutations(NAMES, 2))
CHINESE = "知识融合把几个语言模型的能力合到一个模型里。中文没有空格，词元常常在字的中间断开。"
EMOJI = "Good morning 🌅! 👩‍🚀 flies to 🪐 — naïve café, ﬁne print, ½ € 日本語 한국어 مرحبا\n\n\t  two  spaces "


def texts(shared: Path) -> list[str]:
    books = [
        (shared / "eval" / "text" / f"{name}.txt").read_text("utf-8") for name in ("sherlock", "wagahaiwa_nekodearu")
    ]
    return [books[0][5000:6500], books[1][2000:2400], CHINESE * 2, EMOJI * 2]


def merged_pairs(ids: dict[str, int]) -> list[tuple[str, str]]:
    """Byte-pair merges of a vocabulary in order of rank: every way to cut a token into two others."""
    found = []
    for token, rank in ids.items():
        cuts = [(token[:n], token[n:]) for n in range(1, len(token))]
        found += [(rank, ids[a], ids[b], (a, b)) for a, b in cuts if a in ids and b in ids]
    return [pair for *_, pair in sorted(found)]


def from_sentencepiece(folder: Path):
    from tokenizers import Tokenizer, decoders, models, normalizers

    from consort.weights.checkpoint import Memory

    ids = dict(read_vocabulary(Memory({}, {}, files={"tokenizer.model": folder / "tokenizer.model"})).ids)
    made = Tokenizer(models.BPE(ids, merged_pairs(ids), byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens(["<s>", "</s>", "<unk>"])
    return made


def from_tiktoken(folder: Path):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    from consort.models.tokens.pieces import byte_alphabet

    letter = {b: c for c, b in byte_alphabet().items()}
    lines = (folder / "tokenizer.model").read_bytes().splitlines()
    ids = {"".join(letter[b] for b in base64.b64decode(line.split()[0])): n for n, line in enumerate(lines)}
    made = Tokenizer(models.BPE(ids, merged_pairs(ids), ignore_merges=True))
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    words += r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(Regex(words), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    return made


@cache
def tokenizer(folder: Path) -> HFTokenizer:
    from transformers import PreTrainedTokenizerFast

    if (folder / "tokenizer.json").is_file():
        return HFTokenizer(PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")))
    make = from_sentencepiece if folder.name == "llama2" else from_tiktoken
    return HFTokenizer(PreTrainedTokenizerFast(tokenizer_object=make(folder)))


@pytest.mark.parametrize("name", NAMES)
def test_ends_are_where_the_bytes_end(shared, name):
    own = tokenizer(shared / "tokenizers" / name)
    for text in texts(shared):
        spelled = spell(own, text)
        data = text.encode()
        assert spelled.ids.tolist() == own.encode(text)
        assert (np.diff(spelled.ends) >= 0).all()
        assert spelled.ends[-1] == len(data)
        for n, end in list(enumerate(spelled.ends.tolist()))[:: max(1, len(spelled) // 20)]:
            whole = own.decode(spelled.ids[: n + 1].tolist())
            if "\ufffd" not in whole:
                assert whole.removeprefix(" ") == data[:end].decode().removeprefix(" ")


@pytest.mark.parametrize(("pivot", "source"), PAIRS)
def test_every_common_boundary_is_aligned_and_no_other(shared, pivot, source):
    for text in texts(shared):
        ours, theirs = (spell(tokenizer(shared / "tokenizers" / name), text, end=True) for name in (pivot, source))
        found = same_end(ours.ends, theirs.ends)
        last = np.r_[ours.ends[1:] != ours.ends[:-1], True]
        assert ((found >= 0) == (np.isin(ours.ends, theirs.ends) & last)).all()
        assert (theirs.ends[found[found >= 0]] == ours.ends[found >= 0]).all()
        assert found.max() < len(theirs)


@pytest.mark.parametrize(("pivot", "source"), PAIRS)
def test_one_to_one_positions_are_as_the_official_programme_has_them(shared, pivot, source):
    one, other = (tokenizer(shared / "tokenizers" / name) for name in (pivot, source))
    same = total = 0
    for text in texts(shared):
        ours, theirs = spell(one, text[:700]), spell(other, text[:700])
        strings = [spellings(t, s.ids.tolist()) for t, s in ((one, ours), (other, theirs))]
        places, _ = path(costs(strings[1], strings[0]))
        official = partners(strings[1], strings[0], places)
        uses = np.bincount([j for at in places for j in at], minlength=len(theirs))
        single = [i for i, at in enumerate(places) if len(at) == 1 and uses[at[0]] == 1 and official[i] >= 0]
        found = same_end(ours.ends, theirs.ends)
        same += sum(int(found[i] == official[i]) for i in single)
        total += len(single)
    assert total > 100
    assert same >= 0.95 * total, f"{same} of {total}"


@pytest.mark.parametrize("rule", ["exact", "first_piece"])
def test_maps_of_real_vocabularies_translate_by_bytes(shared, rule):
    one, other = (tokenizer(shared / "tokenizers" / name) for name in ("gpt2", "gpt-neox-20b"))
    found = vocabulary_map(other, one, rule)
    assert found.shape == (other.vocab_size,)
    assert found.max() < one.vocab_size
    assert (found >= 0).mean() > (0.6 if rule == "exact" else 0.95)
