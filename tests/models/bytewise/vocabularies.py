"""Tiny tokenizers of every kind, and the judge of models over bytes: all that a tokenizer writes, enumerated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch

from consort.models import FakeTokenModel, HFTokenizer

END = 256
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def wrapped(core: Any, added: Sequence[str] = ()) -> HFTokenizer:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    core.add_special_tokens(["<s>", "</s>"])
    core.add_tokens([AddedToken(text, normalized=False) for text in added])
    return HFTokenizer(PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>"))


def letters() -> dict[int, str]:
    """GPT-2's alphabet, written anew: printable Latin-1 is itself, all else comes after 255."""
    own = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in own]
    return {b: chr(b) for b in own} | {b: chr(256 + n) for n, b in enumerate(others)}


def by_bytes(
    merges: Sequence[tuple[str, str]],
    *,
    pattern: str = "",
    prefix: bool = False,
    normaliser: Any = None,
    added: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> HFTokenizer:
    """Byte pair encoding of bytes; `merges` are of texts. `whole`: tokens that only whole words become."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    show = letters()

    def name(text: str) -> str:
        return "".join(show[b] for b in text.encode("latin-1"))

    pairs = [(name(a), name(b)) for a, b in merges]
    names = dict.fromkeys([*show.values(), *(a + b for a, b in pairs), *map(name, whole)])
    core = Tokenizer(models.BPE({n: i for i, n in enumerate(names)}, pairs, ignore_merges=bool(whole)))
    level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not pattern)
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated"), level] if pattern else [level]
    core.pre_tokenizer = pre_tokenizers.Sequence(steps)
    core.decoder = decoders.ByteLevel()
    if normaliser is not None:
        core.normalizer = normaliser
    return wrapped(core, added)


def marked(
    pieces: Sequence[str],
    merges: Sequence[tuple[str, str]],
    scheme: str,
    *,
    split: bool = False,
    fallback: bool = True,
    added: Sequence[str] = (),
) -> HFTokenizer:
    """SentencePiece's byte pair encoding. `scheme`: of Metaspace, or "legacy" for the normaliser that came before it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    spare = [f"<0x{b:02X}>" for b in range(256)] if fallback else []
    names = ["<unk>", *spare, *pieces, *(a + b for a, b in merges)]
    ids = {n: i for i, n in enumerate(dict.fromkeys(names))}
    core = Tokenizer(models.BPE(ids, list(merges), byte_fallback=fallback, unk_token="<unk>", fuse_unk=True))
    if scheme == "legacy":
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    strip = [decoders.Strip(" ", 1, 0)] if scheme != "never" else []
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return wrapped(core, added)


def unigram(scores: Sequence[tuple[str, float]], *, words: bool = False, scheme: str = "always") -> HFTokenizer:
    """Unigram as XLM-R has it (`words`: spaces are where words are split, and are lost beyond one)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    core = Tokenizer(models.Unigram([("<unk>", 0.0), *scores], unk_id=0, byte_fallback=False))
    space = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=words)
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space]) if words else space
    core.decoder = decoders.Metaspace(prepend_scheme=scheme, split=words)
    return wrapped(core)


class Judge:
    """The byte process of a model, by enumerating what its tokenizer makes of all texts up to a length.

    The model gives nothing to tokens that these texts do not have.
    """

    def __init__(self, tokenizer: HFTokenizer, alphabet: str, longest: int, *, lead: bytes = b"", seed: int = 0) -> None:
        self.lead, bos = lead, tokenizer.bos
        assert bos is not None
        texts = ("".join(t) for n in range(longest + 1) for t in product(alphabet, repeat=n))
        made = tokenizer.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        self.whole = set(map(tuple, made))
        self.begun = {made[:n] for made in self.whole for n in range(len(made) + 1)}
        self.seen = sorted({token for made in self.whole for token in made})
        self.bytes = {token: self._bytes(tokenizer, token) for token in self.seen}
        self.text = {made: self._text(made) for made in self.begun}
        size, self.eos = tokenizer.vocab_size, tokenizer.eos
        table = torch.randn(3, 17, size, generator=torch.Generator().manual_seed(seed)).double()
        barred = torch.ones(size, dtype=torch.bool)
        barred[[*self.seen, tokenizer.eos]] = False

        def logits(tokens: tuple[int, ...]) -> list[float]:
            mixed = table[0, tokens[-1] % 17] + table[1, sum(tokens) % 17] + table[2, len(tokens) % 17]
            return mixed.masked_fill(barred, -math.inf).tolist()

        self.model = FakeTokenModel(logits, tokenizer, name="tiny")  # type: ignore[arg-type]
        self.known: dict[tuple[int, ...], list[float]] = {}
        self.head = tuple(tokenizer.encode("")) or (bos,)

    @staticmethod
    def _bytes(tokenizer: HFTokenizer, token: int) -> bytes:
        inner = tokenizer.tokenizer
        name = inner.convert_ids_to_tokens(token)
        if token in inner.added_tokens_decoder:
            return str(name).encode()
        if "ByteLevel" in str(inner.backend_tokenizer.decoder):
            back = {char: byte for byte, char in letters().items()}
            return bytes(back[char] for char in name)
        if name.startswith("<0x"):
            return bytes([int(name[3:5], 16)])
        return str(name).replace("▁", " ").encode()

    def _text(self, made: Sequence[int]) -> bytes:
        return b"".join(self.bytes[token] for token in made).removeprefix(self.lead)

    def mass(self, made: tuple[int, ...]) -> float:
        return self.mass(made[:-1]) * self.p((*self.head, *made[:-1]))[made[-1]] if made else 1.0

    def p(self, path: tuple[int, ...]) -> list[float]:
        if path not in self.known:
            self.known[path] = torch.tensor(self.model.logits(path)).double().softmax(-1).tolist()
        return self.known[path]

    def writes(self, text: bytes) -> bool:
        return any(self.text[made].startswith(text) for made in self.begun)

    def next(self, text: bytes) -> dict[int, float]:
        """The probabilities of the next byte and the end after `text`."""
        found: dict[int, float] = {}
        for made in self.begun:
            whole = self.text[made]
            if len(whole) > len(text) >= len(self.text[made[:-1]]) and whole.startswith(text):
                found[whole[len(text)]] = found.get(whole[len(text)], 0.0) + self.mass(made)
        ends = [made for made in self.whole if self.text[made] == text]
        found[END] = sum(self.mass(made) * self.p((*self.head, *made))[self.eos or 0] for made in ends)
        return {b: mass / sum(found.values()) for b, mass in found.items()}


Make = Callable[[], tuple[HFTokenizer, str, int, bytes]]
"""A tokenizer, the characters of the texts that are enumerated, their greatest length, and what stands before a text."""

_AB = [("a", "b"), ("b", "b"), ("ab", "b"), (" ", "a"), (" ", " "), (" a", "b")]
_MARKED = [("▁", "a"), ("a", "b"), ("▁", "ab"), ("▁", "▁"), ("b", "a"), ("▁▁", "▁")]
_SCORES = [("▁", -2.0), ("a", -2.1), ("b", -2.3), ("▁a", -3.0), ("ab", -3.3), ("▁ab", -4.4), ("ba", -3.9), ("bab", -6.1)]

KINDS: dict[str, Make] = {
    "gpt2": lambda: (by_bytes(_AB), "ab 1", 6, b""),
    "gpt2_prefix": lambda: (by_bytes(_AB, prefix=True), "ab ", 7, b" "),
    "gpt2_contractions": lambda: (by_bytes([("'", "s"), ("a", "s"), ("s", "a"), (" ", "a")]), "as' ", 6, b""),
    "gpt2_newlines": lambda: (by_bytes([(" ", " "), ("\n", "\n"), (" ", "a")]), "a \n1", 6, b""),
    "cl100k": lambda: (by_bytes([*_AB, ("1", "1")], pattern=CL100K), "a 1", 7, b""),
    "cl100k_newlines": lambda: (by_bytes([(" ", " "), ("\n", "\n"), (".", "\n"), (" ", ".")], pattern=CL100K), "a \n.", 6, b""),
    "cl100k_contractions": lambda: (by_bytes([("'", "s"), ("a", "S"), ("'", "a")], pattern=CL100K), "aSs'", 6, b""),
    "cl100k_whole": lambda: (
        by_bytes([("a", "b"), (" ", "a")], pattern=CL100K, whole=["aab", " ab", "bb"]), "ab ", 7, b""
    ),
    "nfc": lambda: (
        by_bytes([("\xcc", "\x81"), ("\xc3", "\xa9"), (" ", "e")], normaliser=_nfc()), "e\u0301\u0305 ", 5, b""
    ),
    "emoji": lambda: (by_bytes([("\xf0", "\x9f"), ("\x98", "\x80"), (" ", "\xf0")]), "a 😀é", 5, b""),
    "added": lambda: (by_bytes(_AB, added=["<a>", "<a>b"]), "ab<>", 6, b""),
    "added_spaces": lambda: (by_bytes(_AB[:4], added=["  ", "   "]), "ab ", 7, b""),
    **{
        f"metaspace_{scheme}_{'split' if split else 'whole'}": lambda scheme=scheme, split=split: (  # type: ignore[misc]
            marked(["▁", "a", "b"], _MARKED, scheme, split=split, fallback=False),
            "ab ",
            7,
            b"" if scheme == "never" else b" ",
        )
        for scheme in ("first", "always", "never")
        for split in (True, False)
    },
    "legacy": lambda: (marked(["▁", "a", "b"], _MARKED, "legacy"), "abé ", 5, b" "),
    "legacy_spaces": lambda: (marked(["▁", "a", "b"], _MARKED, "legacy"), "ab ", 7, b" "),
    "fallback": lambda: (marked(["▁", "a", "é"], [("▁", "a"), ("a", "a")], "first"), "aéè\n ", 5, b" "),
    "marked_added": lambda: (marked(["▁", "a", "<"], [("▁", "a")], "legacy", added=["<a"]), "a< ", 6, b" "),
    "first_added": lambda: (marked(["▁", "a", "<"], [("▁", "a")], "first", added=["<a"]), "a< ", 6, b" "),
    "always_added": lambda: (marked(["▁", "a", "<"], [("▁", "a")], "always", added=["<a"]), "a< ", 6, b" "),
    "prefix_added": lambda: (by_bytes(_AB, prefix=True, added=["<a"]), "a< ", 6, b" "),
    "unigram": lambda: (unigram(_SCORES), "ab ", 7, b" "),
    "unigram_never": lambda: (unigram(_SCORES, scheme="never"), "ab ", 7, b""),
    "unigram_words": lambda: (unigram(_SCORES, words=True), "ab ", 7, b" "),
}


def _nfc() -> Any:
    from tokenizers import normalizers

    return normalizers.NFC()
