"""Models over bytes of tiny tokenizers of every kind against a judge: all that a tokenizer writes, enumerated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import torch

from consort.core.errors import Unsupported
from consort.models import AsBytes, FakeTokenModel, HFTokenizer

END = 256
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
O200K = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
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
    """SentencePiece's byte pair encoding. `scheme`: of Metaspace, or "legacy": the normaliser that came before it."""
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


def _nfc() -> Any:
    from tokenizers import normalizers

    return normalizers.NFC()


def unigram(scores: Sequence[tuple[str, float]], *, words: bool = False, scheme: str = "always") -> HFTokenizer:
    """Unigram as XLM-R has it (`words`: spaces are where words are split, and are lost beyond one)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    core = Tokenizer(models.Unigram([("<unk>", 0.0), *scores], unk_id=0, byte_fallback=False))
    space = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=words)
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space]) if words else space
    core.decoder = decoders.Metaspace(prepend_scheme=scheme, split=words)
    return wrapped(core)


def by_steps(merges: Sequence[tuple[str, str]], *splits: Any) -> HFTokenizer:
    """Byte pair encoding of bytes behind several steps of splitting."""
    from tokenizers import pre_tokenizers

    core = by_bytes(merges).tokenizer.backend_tokenizer
    core.pre_tokenizer = pre_tokenizers.Sequence([*splits, core.pre_tokenizer])
    return wrapped(core)


def gemma() -> HFTokenizer:
    """No space before a text; pieces of several marks are among the added tokens."""
    from tokenizers import decoders, normalizers, pre_tokenizers

    pieces, merges = ["▁", "a", "b", "<"], [("▁", "a"), ("a", "b"), ("▁", "▁")]
    core = marked(pieces, merges, "never", added=["<a", "▁▁"]).tokenizer.backend_tokenizer
    core.normalizer = normalizers.Replace(" ", "▁")
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return wrapped(core)


def trimmed(tokenizer: HFTokenizer, *, left: bool, right: bool) -> HFTokenizer:
    """One whose normaliser drops spaces at the ends of a text; SentencePiece without a map does so at the right."""
    from tokenizers import normalizers

    core = tokenizer.tokenizer.backend_tokenizer
    core.normalizer = normalizers.Strip(left=left, right=right)
    return wrapped(core)


class Judge:
    """The byte process of a model, by enumerating what its tokenizer makes of all texts up to a length.

    The model gives nothing to tokens that these texts do not have.
    """

    def __init__(
        self, tokenizer: HFTokenizer, alphabet: str, longest: int, *, lead: bytes = b"", seed: int = 0
    ) -> None:
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
        by_letters = "ByteLevel" in str(inner.backend_tokenizer.decoder)
        if by_letters and token in inner.added_tokens_decoder:
            return str(name).encode()
        if by_letters:
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


def _digits() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Digits(individual_digits=True)


Make = Callable[[], tuple[HFTokenizer, str, int, bytes]]
"""A tokenizer, the characters of the texts that are enumerated, their greatest length, what stands before a text."""

_AB = [("a", "b"), ("b", "b"), ("ab", "b"), (" ", "a"), (" ", " "), (" a", "b")]
_MARKED = [("▁", "a"), ("a", "b"), ("▁", "ab"), ("▁", "▁"), ("b", "a"), ("▁▁", "▁")]
_SCORES = [
    ("▁", -2.0),
    ("a", -2.1),
    ("b", -2.3),
    ("▁a", -3.0),
    ("ab", -3.3),
    ("▁ab", -4.4),
    ("ba", -3.9),
    ("bab", -6.1),
]

KINDS: dict[str, Make] = {
    "gpt2": lambda: (by_bytes(_AB), "ab 1", 6, b""),
    "gpt2_prefix": lambda: (by_bytes(_AB, prefix=True), "ab ", 7, b" "),
    "gpt2_contractions": lambda: (by_bytes([("'", "s"), ("a", "s"), ("s", "a"), (" ", "a")]), "as' ", 6, b""),
    "gpt2_newlines": lambda: (by_bytes([(" ", " "), ("\n", "\n"), (" ", "a")]), "a \n1", 6, b""),
    "cl100k": lambda: (by_bytes([*_AB, ("1", "1")], pattern=CL100K), "a 1", 7, b""),
    "cl100k_newlines": lambda: (
        by_bytes([(" ", " "), ("\n", "\n"), (".", "\n"), (" ", ".")], pattern=CL100K),
        "a \n.",
        6,
        b"",
    ),
    "cl100k_contractions": lambda: (by_bytes([("'", "s"), ("a", "S"), ("'", "a")], pattern=CL100K), "aSs'", 6, b""),
    "cl100k_whole": lambda: (
        by_bytes([("a", "b"), (" ", "a")], pattern=CL100K, whole=["aab", " ab", "bb"]),
        "ab ",
        7,
        b"",
    ),
    "nfc": lambda: (
        by_bytes([("\xcc", "\x81"), ("\xc3", "\xa9"), (" ", "e")], normaliser=_nfc()),
        "e\u0301\u0305 ",
        5,
        b"",
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
    "bloom": lambda: (
        by_bytes([(".", "#"), ("#", "."), ("1", "#"), ("1", "."), ("#", "1")], pattern=BLOOM),
        "1.# ",
        5,
        b"",
    ),
    "o200k": lambda: (by_bytes([*_AB, ("A", "b"), ("a", "B")], pattern=O200K), "aB ", 6, b""),
    "digits": lambda: (by_steps([*_AB, ("1", "1"), (" ", "1"), ("a", "1")], _digits()), "ab 1", 6, b""),
    "gemma": lambda: (gemma(), "a< ", 6, b""),
    **{
        f"trimmed_{at}_{kind}": lambda make=make, left=left, right=right, lead=lead: (  # type: ignore[misc]
            trimmed(make(), left=left, right=right),
            "ab ",
            7,
            lead,
        )
        for at, left, right in (("left", True, False), ("right", False, True), ("both", True, True))
        for kind, make, lead in (
            ("unigram", lambda: unigram(_SCORES), b" "),
            ("letters", lambda: by_bytes(_AB), b""),
            ("prefix", lambda: by_bytes(_AB, prefix=True), b" "),
        )
    },
    "unigram": lambda: (unigram(_SCORES), "ab ", 7, b" "),
    "unigram_never": lambda: (unigram(_SCORES, scheme="never"), "ab ", 7, b""),
    "unigram_words": lambda: (unigram(_SCORES, words=True), "ab ", 7, b" "),
}


def error(kind: str, longest: int) -> tuple[float, int]:
    """The largest error of a next byte's probability after any text up to a length, and how many texts there were."""
    tokenizer, alphabet, size, lead = KINDS[kind]()
    judge = Judge(tokenizer, alphabet, size + longest - 2, lead=lead)
    model, worst, count = AsBytes(judge.model), 0.0, 0
    texts = ["".join(t).encode() for n in range(longest + 1) for t in product(alphabet, repeat=n)]
    for text in filter(judge.writes, texts):
        wanted = judge.next(text)
        got = model.open().feed([[END, *text]], last=True)[0][-1].exp().tolist()
        worst, count = max([worst, *(abs(got[b] - wanted.get(b, 0.0)) for b in range(257))]), count + 1
    return worst, count


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_equal_enumeration(kind: str) -> None:
    worst, count = error(kind, 2)
    assert worst < 1e-6 and count > 6


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_of_longer_texts_equal_enumeration(kind: str) -> None:
    assert error(kind, 3)[0] < 1e-6


def test_B2_a_tokenizer_that_puts_a_space_before_the_first_word() -> None:
    """BPE <s> </s> ▁ a b ab, Metaspace(first, split False): "ba" is ▁ b a, and no other tokens are."""
    tokenizer = marked(["▁", "a", "b"], [("a", "b")], "first", fallback=False)
    judge = Judge(tokenizer, "ab ", 6, lead=b" ")
    wanted = math.log(judge.next(b"")[ord("b")]) + math.log(judge.next(b"b")[ord("a")])
    assert AsBytes(judge.model).score([("", "ba")])[0] == pytest.approx(wanted, abs=1e-6)


def test_B3_a_digit_after_two_spaces() -> None:
    """cl100k leaves the last of several spaces alone before a digit, so `a  1` is a, space, space, 1."""
    tokenizer = by_bytes([(" ", " "), (" ", "a")], pattern=CL100K)
    judge = Judge(tokenizer, "a 1", 6)
    text, total = b"a  1", 0.0
    for n in range(len(text)):
        total += math.log(judge.next(text[:n])[text[n]])
    assert AsBytes(judge.model).score([("", text.decode())])[0] == pytest.approx(total, abs=1e-6)


def test_B6_an_added_token_is_never_spelled_by_letters() -> None:
    tokenizer = by_bytes([("t", "h"), ("<", "t")], added=["<think>"])
    model = FakeTokenModel(lambda _: [0.0] * tokenizer.vocab_size, tokenizer)  # type: ignore[arg-type]
    texts = AsBytes(model).spelling
    assert texts.valid is not None
    letters_ = tokenizer.encode("<thin", special=False)
    at = {i: n for n, i in enumerate(texts.trie.ids.tolist())}
    (think,) = tokenizer.encode("<think>", special=False)
    assert texts.valid.mask([])[at[think]]
    assert texts.valid.mask(letters_)[at[tokenizer.encode("k", special=False)[0]]]
    after = texts.valid.mask([*letters_, *tokenizer.encode("k", special=False)])
    assert not after[at[tokenizer.encode(">", special=False)[0]]]


def test_word_pieces_are_refused_by_name_before_anything_is_read() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    core = Tokenizer(models.WordPiece({"[UNK]": 0, "do": 1, "##es": 2}, unk_token="[UNK]"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    tokenizer = wrapped(core)
    model = FakeTokenModel(lambda _: pytest.fail("read"), tokenizer)  # type: ignore[arg-type]
    for covers in ("valid", "all"):
        with pytest.raises(Unsupported, match="WordPiece"):
            AsBytes(model, covers=covers)  # type: ignore[arg-type]


def _single_word() -> HFTokenizer:
    from tokenizers import AddedToken

    core = by_bytes(_AB).tokenizer.backend_tokenizer
    core.add_tokens([AddedToken("<a>", single_word=True)])
    return wrapped(core)


def _without_spaces() -> HFTokenizer:
    from tokenizers import pre_tokenizers

    return by_steps(_AB, pre_tokenizers.WhitespaceSplit())


def _space_added() -> HFTokenizer:
    return marked(["▁", "a", "b"], _MARKED, "legacy", added=["  "])


def _trimmed_added() -> HFTokenizer:
    return trimmed(by_bytes(_AB, added=["<a>"]), left=True, right=True)


REFUSED = [
    (_single_word, "<a>"),
    (_without_spaces, "drops spaces"),
    (_space_added, "begins with a space"),
    (_trimmed_added, "leaves out spaces where a text begins"),
]


@pytest.mark.parametrize(("make", "says"), REFUSED)
def test_B4_what_more_than_the_text_before_decides_is_refused(make: Callable[[], HFTokenizer], says: str) -> None:
    model = FakeTokenModel(lambda _: pytest.fail("read"), make())  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match=says):
        AsBytes(model)


@pytest.mark.parametrize("kind", ["cl100k", "gpt2_prefix", "legacy", "unigram", "added", "nfc"])
def test_a_batch_is_its_rows_and_pieces_are_the_whole(kind: str) -> None:
    tokenizer, alphabet, size, lead = KINDS[kind]()
    model = AsBytes(Judge(tokenizer, alphabet, size, lead=lead).model)
    texts = [(alphabet * 2).encode(), alphabet[:2].encode(), alphabet[::-1].encode()]
    whole = [model.open().feed([[END, *text]])[0] for text in texts]
    batch = model.open(3).feed([[END, *text] for text in texts])
    session = model.open()
    pieces = [session.feed([[byte]])[0] for byte in (END, *texts[0])]
    session.rollback([3])
    again = session.feed([list(texts[0][2:])])[0]
    assert all(torch.equal(a, b) for a, b in zip(whole, batch, strict=True))
    assert torch.equal(torch.cat(pieces), whole[0]) and torch.equal(again, whole[0][3:])
