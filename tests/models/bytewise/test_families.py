"""Real tokenizers of known families from their original files, and texts of many kinds."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consort.models import HFTokenizer
from consort.models.bytewise.lexicon import lexicon
from consort.models.bytewise.trie import Trie
from consort.models.bytewise.validity import Validity
from consort.models.tokens.pieces import check_spelling, token_bytes
from consort.models.tokens.tokenizer import load_tokenizer

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
FAMILIES = ["gpt2", "gpt-neox-20b", "mistral-v03-hf", "llama2", "llama2-legacy", "llama3", "tok512"]

TEXTS = [
    "Hello world",
    " Hello",
    "  two before",
    "a  b",
    "a   b",
    "a  1",
    "x =  12",
    "end  ",
    "end ",
    " ",
    "  ",
    "\n",
    "\n\n",
    "a\nb",
    "a\n\n  b",
    "a \n b",
    "\ttab\tinside",
    "a\r\nb",
    "def f(x):\n    return x + 1\n",
    "  x = 1",
    "if (a != b) { c[0] += 1; }  // why?",
    "for i in range(10):\n\n        print(i,  end='')",
    "don't you're I'll we've",
    "DON'T YOU'RE it'S",
    "'s alone",
    "rock 'n' roll",
    "1",
    "12",
    "123",
    "1234",
    "12345678901",
    "3.14159",
    "1,000,000",
    "2 + 2 = 4",
    "100%",
    "$5.00",
    "a1b2c3",
    "x^2 + y^2",
    "e-mail: a.b@c.org",
    "https://example.org/a?b=c&d=%20",
    "C:\\path\\file",
    "naïve café",
    "Überraschung größer",
    "Ελληνικά κείμενα",
    "Русский текст",
    "עברית",
    "العربية نص",
    "हिन्दी पाठ",
    "ภาษาไทย",
    "日本語の文章です。",
    "中文文本，没有空格",
    "한국어 문장",
    "Tiếng Việt",
    "ქართული",
    "Հայերեն",
    "አማርኛ",
    "😀",
    "a😀b",
    "👩‍👩‍👧",
    "🇫🇷 flag",
    "👍🏽 ok",
    "emoji 😀😀 two",
    "math ∑ ∫ √",
    "“quotes” – dash…",
    "♥ ♦",
    "…",
    "___",
    "----",
    "====  ===",
    "a_b_c",
    "CamelCaseWord",
    "ALL CAPS TEXT",
    "mixed 中文 and English",
    "tab\t\t\tend\t",
    "zero\u200bwidth",
    "nb\u00a0space",
    "line one\nline two\n\n\nline five",
    "<b>bold</b>",
    '{"a": [1, 2,  3]}',
    '#!/bin/sh\necho "$1"  \n',
    "\u2028sep",
    "ﬁ ligature",
    "½ cup",
    "supercalifragilisticexpialidocious",
    "aaaaaaaaaaaaaaaa",
    "zqx",
    "I  am   spaced    out",
]


def family(shared: Path, name: str) -> HFTokenizer:
    folder = shared / "tokenizers" / name.removesuffix("-legacy")
    if name == "llama3":
        return _ranked(folder / "tokenizer.model")
    if name in ("llama2", "llama2-legacy", "tok512"):
        file = next(folder.glob("*.model"))
        return _sentencepiece(file, legacy=name != "llama2")
    return load_tokenizer(folder, name, config={})


def _wrapped(core: Any, bos: str, eos: str) -> HFTokenizer:
    from transformers import PreTrainedTokenizerFast

    core.add_special_tokens([bos, eos])
    return HFTokenizer(PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token=eos))


def _ranked(file: Path) -> HFTokenizer:
    """Tokens by rank: a word that is one is taken whole, else the pair of lowest rank is joined first."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    own = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in own]
    show = {b: chr(b) for b in own} | {b: chr(256 + n) for n, b in enumerate(others)}
    ranks = {base64.b64decode(a): int(n) for a, n in (line.split() for line in file.read_bytes().splitlines())}
    names = {"".join(show[b] for b in text): rank for text, rank in ranks.items()}
    pairs = []
    for text, rank in ranks.items():
        halves = [(text[:n], text[n:]) for n in range(1, len(text)) if text[:n] in ranks and text[n:] in ranks]
        pairs += [(rank, ranks[a], ranks[b], a, b) for a, b in halves]
    merges = [tuple("".join(show[c] for c in half) for half in pair[3:]) for pair in sorted(pairs)]
    core = Tokenizer(models.BPE(names, merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(CL100K), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    core.decoder = decoders.ByteLevel()
    return _wrapped(core, "<|begin_of_text|>", "<|end_of_text|>")


def _sentencepiece(file: Path, *, legacy: bool) -> HFTokenizer:
    """Byte pair encoding whose merges are all pairs of pieces that make a piece, the best piece first."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    pieces = list(_pieces(file.read_bytes()))
    ids = {name: i for i, (name, _) in enumerate(pieces)}
    pairs = []
    for name, score in pieces:
        pairs += [(-score, name[:n], name[n:]) for n in range(1, len(name)) if name[:n] in ids and name[n:] in ids]
    merges = [(a, b) for _, a, b in sorted(pairs, key=lambda p: (p[0], ids[p[1]], ids[p[2]]))]
    core = Tokenizer(models.BPE(ids, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if legacy:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(steps)
    core.add_special_tokens(["<unk>"])
    return _wrapped(core, "<s>", "</s>")


def _pieces(data: bytes) -> Iterator[tuple[str, float]]:
    """Names and scores of a SentencePiece file: field 1 of the message, again and again."""
    for field, value in _fields(data):
        if field == 1:
            inner = dict(_fields(value))
            yield inner[1].decode(), struct.unpack("<f", inner[2])[0]


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        kind = tag & 7
        if kind == 0:
            start = at
            _, at = _number(data, at)
            yield tag >> 3, data[start:at]
            continue
        size = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            size, at = _number(data, at)
        yield tag >> 3, data[at : at + size]
        at += size


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


LARGE = ("gpt-neox-20b", "llama3")
"""Families of the kinds `nfc` and `cl100k_whole` of test_kinds, with large vocabularies."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in FAMILIES])
def test_what_a_tokenizer_writes_is_valid_and_spelled(
    shared: Path, name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token after those before it, and the end; bytes join to what `decode` tells."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    tokenizer = family(shared, name)
    check_spelling(tokenizer, name)
    pieces, known = token_bytes(tokenizer), lexicon(tokenizer)
    assert known is not None
    validity = Validity(known, Trie(list(pieces)))
    wrong = []
    for text in TEXTS:
        ids = tokenizer.encode(text, special=False)
        spelt = b"".join(pieces[i] or b"" for i in ids)
        assert tokenizer.decode(ids).encode() in (spelt, spelt.removeprefix(b" "))
        wrong += [(text, n) for n, token in enumerate(ids) if not validity.mask(ids[:n])[validity.at[token]]]
        wrong += [] if validity.may_end(ids) else [(text, len(ids))]
    assert not wrong
