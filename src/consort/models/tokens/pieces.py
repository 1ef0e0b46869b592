"""The bytes of every token of a tokenizer, and whether they join to the texts that it writes.

How a vocabulary writes its tokens follows from its decoder: an alphabet of 256 characters (GPT-2), a mark for the space
(SentencePiece), or words that are joined by spaces. Whatever is read so is checked against `decode`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

from consort.core.errors import Unsupported
from consort.models.base import Tokenizer

Pieces = tuple[bytes | None, ...]
"""The bytes of each token where it stands inside a text; None for those that are no text (special, unused)."""

Writing = Literal["bytes", "spaces", "words", "subwords", "suffixed", "plain"]
"""How a vocabulary writes its tokens; see `writing`."""

MARK = "\u2581"
"""What stands for a space in vocabularies of the SentencePiece kind."""

_SAMPLED, _GROUP = 512, 8
"""How many tokens are compared with what `decode` makes of them, and how many at a time."""


def token_bytes(tokenizer: Tokenizer) -> Pieces:
    """The bytes that each token adds to a text. A word of a tokenizer of words brings the space before it."""
    held: Any = tokenizer  # kept by identity
    return _token_bytes(held)


@lru_cache(maxsize=32)
def _token_bytes(tokenizer: Any) -> Pieces:
    own = getattr(tokenizer, "pieces", None)
    if own is not None:
        return tuple(own)
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:
        return _decoded_bytes(tokenizer)
    spell, marked = _speller(inner), writing(inner) == "spaces"
    found: list[bytes | None] = [None] * tokenizer.vocab_size
    added = dict(inner.added_tokens_decoder)
    for name, i in inner.get_vocab().items():
        if i not in added:
            found[i] = None if i == tokenizer.unk else spell(name)
        elif not added[i].special:
            found[i] = spell(name) if marked and MARK in name else name.encode()  # its decoder knows no difference
    return tuple(found)


def _decoded_bytes(tokenizer: Tokenizer) -> Pieces:
    """For tokenizers whose tokens are characters or bytes: what each decodes to by itself."""
    special = {tokenizer.bos, tokenizer.eos}
    shown = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    return tuple(
        None if i in special or not text else bytes([i]) if text == "\ufffd" else text.encode()
        for i, text in enumerate(shown)
    )


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in vocabularies of the GPT-2 kind: itself where it is printable."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


def part(component: Any) -> Any:
    """The settings of a part of a tokenizer (decoder, normaliser, ...) as JSON has them; None where there is none."""
    return None if component is None else json.loads(component.__getstate__())


def steps(spec: Any) -> list[dict[str, Any]]:
    """The steps of a part, those of sequences inside it in order."""
    if spec is None:
        return []
    inner = next((spec[key] for key in ("decoders", "pretokenizers", "normalizers", "processors") if key in spec), None)
    return [spec] if inner is None else [step for one in inner for step in steps(one)]


def writing(inner: Any) -> Writing:
    """How a fast tokenizer's vocabulary writes tokens.

    "bytes": GPT-2's alphabet; "spaces": a mark for each space; "subwords": `##` before what continues a word
    (WordPiece); "suffixed": a mark at the end of a word; "words": joined by spaces; "plain": as they are.
    """
    backend = inner.backend_tokenizer
    decoder, splits = steps(part(backend.decoder)), steps(part(backend.pre_tokenizer))
    kinds = {step["type"] for step in decoder}
    before = {step["type"] for step in splits}
    if "ByteLevel" in kinds or not kinds and "ByteLevel" in before:
        return "bytes"
    model = type(backend.model).__name__
    if model == "WordPiece" or "WordPiece" in kinds:
        return "subwords"
    if "BPEDecoder" in kinds or getattr(backend.model, "end_of_word_suffix", None):
        return "suffixed"
    normal = [step for step in steps(part(backend.normalizer)) if step["type"] in ("Prepend", "Replace")]
    if "Metaspace" in kinds | before or any(MARK in json.dumps(s, ensure_ascii=False) for s in [*decoder, *normal]):
        return "spaces"
    if not kinds and (model == "WordLevel" or before & {"Whitespace", "WhitespaceSplit", "BertPreTokenizer"}):
        return "words"
    return "plain" if kinds else "spaces"


def _speller(inner: Any) -> Callable[[str], bytes | None]:
    kind, alphabet = writing(inner), byte_alphabet()
    if kind == "bytes":
        return lambda name: bytes(alphabet[c] for c in name) if all(c in alphabet for c in name) else name.encode()
    if kind == "words":
        return lambda name: b" " + name.encode()
    if kind == "subwords":
        prefix = getattr(inner.backend_tokenizer.model, "continuing_subword_prefix", None) or "##"
        return lambda name: name.removeprefix(prefix).encode() if name.startswith(prefix) else b" " + name.encode()
    if kind == "suffixed":
        suffix = getattr(inner.backend_tokenizer.model, "end_of_word_suffix", None) or "</w>"
        return lambda name: name.removesuffix(suffix).encode() + b" " * name.endswith(suffix)
    return _unspaced if kind == "spaces" else str.encode


def _unspaced(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace(MARK, " ").encode()


def names_of(inner: Any) -> Callable[[bytes], str]:
    """Bytes in the way the vocabulary writes them; empty where it cannot."""
    kind = writing(inner)
    if kind == "bytes":
        letter = {b: c for c, b in byte_alphabet().items()}
        return lambda text: "".join(letter[b] for b in text)

    def write(text: bytes) -> str:
        try:
            name = text.decode()
        except UnicodeDecodeError:
            return ""
        if kind == "spaces":
            return name.replace(" ", MARK)
        return name.removeprefix(" ") if kind in ("words", "subwords") else name

    return write


def check_spelling(tokenizer: Tokenizer, field: str) -> None:
    """Raise Unsupported, naming `field`, for a tokenizer whose tokens do not join to the bytes of its texts."""
    held: Any = tokenizer
    what = _unjoined(held)
    if what:
        hint = "take a model whose tokenizer keeps every character, or combine finished answers"
        raise Unsupported(f"{what}: its tokens cannot be read as bytes", field=field, hint=hint)


@lru_cache(maxsize=32)
def _unjoined(tokenizer: Any) -> str:
    """Why the tokens do not join to the text; empty if they do."""
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if getattr(inner, "backend_tokenizer", None) is None:
        return ""
    kind = writing(inner)
    if kind == "subwords":
        return "a WordPiece tokenizer loses where spaces stand beside signs"
    if kind == "suffixed":
        return "a tokenizer that marks the ends of words loses where spaces stand"
    if kind == "bytes" and any(map(_drops_spaces, steps(part(inner.backend_tokenizer.pre_tokenizer)))):
        return "its splitting into words drops spaces"
    if inner.backend_tokenizer.decoder is None and kind != "words":
        return ""  # what there is to go by is how it splits
    pieces = token_bytes(tokenizer)
    texts = [i for i, piece in enumerate(pieces) if piece and _is_text(piece)]
    some = texts[:: max(1, len(texts) // _SAMPLED)]
    for at in range(0, len(some), _GROUP):
        group = some[at : at + _GROUP]
        wanted = tokenizer.decode(group)
        if wanted.encode() not in _joined(pieces, group):
            return f"its decoder writes {wanted[:40]!r} for tokens of other bytes"
    return ""


def _drops_spaces(step: dict[str, Any]) -> bool:
    dropped = step["type"] in ("WhitespaceSplit", "Whitespace", "BertPreTokenizer", "CharDelimiterSplit")
    return dropped or str(step.get("behavior", "")).lower() == "removed"


def _joined(pieces: Pieces, tokens: Sequence[int]) -> tuple[bytes, bytes]:
    """The bytes of tokens, and those without a space that a decoder takes from the start of a text."""
    whole = b"".join(pieces[i] or b"" for i in tokens)
    return whole, whole.removeprefix(b" ")


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
