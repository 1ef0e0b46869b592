"""All that decides which tokens a tokenizer writes: its word model, its splitting, its added tokens, its normaliser."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consort.core.errors import Unsupported
from consort.models.bytewise.merges import Merges, grown, ranked
from consort.models.bytewise.splits import Splits, rebuilt
from consort.models.bytewise.tables import VERSION, Arrays, Shapes, kept, shapes
from consort.models.bytewise.unigram import Unigram, pieces_of
from consort.models.tokens.pieces import MARK, Pieces, part, steps, token_bytes, writing

_HINT = "covers: all counts every sequence of tokens"
_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """A tokenizer taken apart. Arrays and numbers are by token id.

    `whole`: a word that is a token is that token, whatever the merges make of it. `fallback`: the tokens of single
    bytes that stand for characters in no vocabulary, `stray` those that stand for nothing, `covered` the UTF-8 forms of
    the characters that are in it. `added`: ordinary added tokens by their bytes; `absorbing`: which of them take spaces
    before and after them along. `lead`: what is put before a text, `leads`: after an added token too. `prepends`: it is
    put before a space as well. `trimmed`, `begins_trimmed`: spaces at the end of a text, at its beginning, are left
    out. `stable`: whether the normaliser leaves a text as it is; `unstable`: tokens that it changes;
    `composing`: characters that can change with what stands before them (None: any).
    """

    pieces: Pieces
    words: Merges | Unigram
    whole: bool
    splits: Splits
    shapes: Shapes
    fallback: dict[int, int]
    stray: frozenset[int]
    covered: frozenset[bytes]
    added: dict[bytes, int]
    absorbing: dict[int, tuple[bool, bool]]
    lead: bytes
    leads: bool
    prepends: bool
    trimmed: bool
    begins_trimmed: bool
    stable: Callable[[str], bool] | None
    unstable: NDArray[np.bool_]
    composing: frozenset[str] | None


@lru_cache(maxsize=8)
def lexicon(tokenizer: Any) -> Lexicon | None:
    """The tokenizer taken apart; None for one whose tokens are characters or bytes.

    Raises Unsupported, naming the kind, for a tokenizer that is neither byte pair encoding nor Unigram.
    """
    backend = getattr(getattr(tokenizer, "tokenizer", None), "backend_tokenizer", None)
    if backend is None:
        return None
    how = writing(tokenizer.tokenizer)
    state, model = _model_of(backend, how)
    normal, split = part(backend.normalizer), part(backend.pre_tokenizer)
    pieces = token_bytes(tokenizer)
    marked = any(step["type"] == "Replace" and step["content"] == MARK for step in steps(normal))
    splits = Splits(split, marked=marked)
    normaliser = _normaliser(normal)
    extra = tokenizer.tokenizer.added_tokens_decoder
    named = _named(extra, pieces, marked=how == "spaces")
    _check_beginnings(named.values(), lead=_lead(normal, split), trimmed=_trims(normal, "strip_left"))
    key = sha256(state + json.dumps([VERSION, normal, split, sorted(named.items())]).encode()).hexdigest()[:32]
    tables = kept(f"bytes-{key}", lambda: _made(model, pieces, splits, normaliser, marked=how == "spaces"))
    known = [(shape, tuple(tails)) for shape, tails in json.loads(bytes(tables["known"]).decode())]
    splits.ends += sorted({begin[0] for shape, tails in known for begin in ((shape,) if shape else tails)})
    words = _words(model, tables, pieces)
    named_bytes = _fallback(model) if how == "spaces" else {}
    fallback = named_bytes if model.get("byte_fallback") else {}
    _mark_alone(words, named_bytes.values(), bool(fallback), tokenizer.unk)
    singles = [name for name in _names(model) if len(name) == 1]
    return Lexicon(
        pieces=pieces,
        words=words,
        whole=bool(model.get("ignore_merges")),
        splits=splits,
        shapes=Shapes(tables["of"], known),
        fallback=fallback,
        stray=frozenset(named_bytes.values()) - frozenset(fallback.values()),
        covered=frozenset({MARK.encode()} | {name.replace(MARK, " ").encode() for name in singles}),
        added={content.encode(): i for i, content in named.items()},
        absorbing={i: (token.lstrip, token.rstrip) for i, token in extra.items() if i in named},
        lead=b" " if _lead(normal, split) else b"",
        leads=_lead(normal, split) == "always",
        prepends=any(step["type"] == "Prepend" for step in steps(normal)),
        trimmed=_trims(normal, "strip_right"),
        begins_trimmed=_trims(normal, "strip_left"),
        stable=None if normaliser is None else lambda text: bool(normaliser.normalize_str(text) == text),
        unstable=tables["unstable"].astype(bool),
        composing=_composing(normal),
    )


def _model_of(backend: Any, how: str) -> tuple[bytes, dict[str, Any]]:
    """The word model's settings as the tokenizer writes them, and read. Raises Unsupported as `lexicon`."""
    kind = type(backend.model).__name__
    if kind not in ("BPE", "Unigram") or how not in ("bytes", "spaces", "plain"):
        raise Unsupported(f"{kind} is no byte pair encoding and no Unigram", field="covers", hint=_HINT)
    state = backend.model.__getstate__()
    model = json.loads(state)
    if model.get("continuing_subword_prefix") or model.get("dropout"):
        raise Unsupported("its byte pair encoding marks parts of words, or drops merges", field="covers", hint=_HINT)
    return state, model


def _trims(normal: Any, side: str) -> bool:
    """Whether spaces at that side of a text are dropped."""
    return any(step["type"] == "Strip" and step.get(side) for step in steps(normal))


def _named(extra: Any, pieces: Pieces, *, marked: bool) -> dict[int, str]:
    """Ordinary added tokens; a mark in a text is written as a space is, and what has one is a piece like others.

    Raises Unsupported as `_check_parts`.
    """
    known = {i: token for i, token in extra.items() if not token.special and pieces[i] is not None}
    known = {i: token for i, token in known.items() if not (marked and MARK in token.content)}
    _check_parts(known.values())
    return {i: token.content for i, token in known.items()}


def _check_parts(added: Iterable[Any]) -> None:
    """Raise Unsupported, by name, for what decides by more than the text before a token."""
    if single := next((token.content for token in added if token.single_word), None):
        raise Unsupported(f"its added token {single!r} is written between words only", field="covers", hint=_HINT)


def _check_beginnings(added: Iterable[str], *, lead: str, trimmed: bool) -> None:
    """Raise Unsupported, by name, where the spaces at which a text begins are not told by its tokens."""
    if lead and (token := next((token for token in added if token[:1] == " "), None)):
        why = f"its added token {token!r} begins with a space, as does what the tokenizer puts before a text"
        raise Unsupported(why, field="covers", hint=_HINT)
    if trimmed and (token := next(iter(added), None)):
        why = f"it leaves out spaces where a text begins, after its added token {token!r} as well"
        raise Unsupported(why, field="covers", hint=_HINT)


def _mark_alone(words: Any, named_bytes: Iterable[int], stand: bool, unk: int | None) -> None:
    """Tokens that are words by themselves: those of bytes, where they `stand` for them, and the unknown one."""
    words.alone[list(named_bytes)] = stand
    if unk is not None:
        words.alone[unk] = True


def lead_of(tokenizer: Any) -> bytes | None:
    """What a tokenizer puts before a text; None if its settings do not say."""
    backend = getattr(getattr(tokenizer, "tokenizer", None), "backend_tokenizer", None)
    if backend is None:
        return None
    return b" " if _lead(part(backend.normalizer), part(backend.pre_tokenizer)) else b""


def _lead(normal: Any, split: Any) -> str:
    """Where a space is put: "always", before every part of a text, "first", or nowhere."""
    if any(step["type"] == "Prepend" for step in steps(normal)):
        return "always"
    for step in steps(split):
        if step["type"] == "ByteLevel" and step["add_prefix_space"]:
            return "always"
        if step["type"] == "Metaspace" and step["prepend_scheme"] != "never":
            return str(step["prepend_scheme"])
    return ""


def _names(model: dict[str, Any]) -> list[str]:
    return [name for name, _ in model["vocab"]] if isinstance(model["vocab"], list) else list(model["vocab"])


def _fallback(model: dict[str, Any]) -> dict[int, int]:
    ids = {name: i for i, name in enumerate(_names(model))} if isinstance(model["vocab"], list) else model["vocab"]
    return {byte: ids[name] for byte in range(256) if (name := f"<0x{byte:02X}>") in ids}


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return [(one, two) for one, two in pairs]


def _words(model: dict[str, Any], tables: Arrays, pieces: Pieces) -> Merges | Unigram:
    if model["type"] == "Unigram":
        return pieces_of(model, pieces)
    size = max(len(pieces), len(tables["alone"]))
    spare = {"time": -1, "left": -1, "right": -1, "alone": 0}
    wide = {key: np.pad(tables[key], (0, size - len(tables[key])), constant_values=n) for key, n in spare.items()}
    return Merges(ranked(model["vocab"], _merges(model)), {**wide, "edges": tables["edges"]})


def _made(model: dict[str, Any], pieces: Pieces, splits: Splits, normaliser: Any, *, marked: bool) -> Arrays:
    """What takes long: shapes, trees of merges, and which tokens the normaliser changes."""
    found = shapes(pieces, splits.classes)
    known = np.frombuffer(json.dumps([[shape, list(tails)] for shape, tails in found.known]).encode(), np.uint8)
    trees = grown(model["vocab"], _merges(model), marked=marked) if model["type"] == "BPE" else {}
    changed = [normaliser is not None and piece is not None and _changed(piece, normaliser) for piece in pieces]
    return {"of": found.of, "known": known, "unstable": np.array(changed, np.uint8), **trees}


def _changed(piece: bytes, normaliser: Any) -> bool:
    text = piece.decode("utf-8", "ignore")
    return bool(normaliser.normalize_str(text) != text)


def _normaliser(normal: Any) -> Any:
    """A normaliser without what it puts before a text, for spaces, or takes from the ends; None if that is all."""
    own = [
        step
        for step in steps(normal)
        if step["type"] not in ("Prepend", "Strip") and not (step["type"] == "Replace" and _spaces(step))
    ]
    return rebuilt(normalizer={"type": "Sequence", "normalizers": own}).normalizer if own else None


def _spaces(step: dict[str, Any]) -> bool:
    return bool(step["content"] == MARK and step["pattern"] == {"String": " "})


def _composing(normal: Any) -> frozenset[str] | None:
    """The characters that can change with what stands before them; None if any might."""
    own = [step["type"] for step in steps(normal) if not (step["type"] == "Replace" and _spaces(step))]
    return _joining() if all(kind in _FORMS or kind == "Prepend" for kind in own) else None


@cache
def _joining() -> frozenset[str]:
    found = {chr(i) for i in range(0x300, 0x20000) if unicodedata.combining(chr(i))}
    found.update(chr(i) for i in range(0x1161, 0x1200))  # vowels and finals of Hangul
    for i in range(0xA0, 0x20000):
        if unicodedata.decomposition(chr(i)):
            found.update(unicodedata.normalize("NFD", chr(i))[1:])
    return frozenset(found)


def added_within(pieces: Sequence[bytes | None], added: dict[bytes, int]) -> list[int]:
    """Tokens that have the text of an added token inside, and so are never written."""
    own = set(added.values())
    texts = list(added)
    return [i for i, p in enumerate(pieces) if p and i not in own and any(text in p for text in texts)]
