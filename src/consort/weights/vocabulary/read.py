"""Which token has which id in a model: read from the tokenizer files beside it, whatever their format.

tokenizer.json; vocab.json or vocab.txt; tokenizer.model of sentencepiece. No tokenizer is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from consort.core.errors import BadCheckpoint
from consort.core.files import machine_errors
from consort.weights.checkpoint import Checkpoint

MAX_BYTES = 200_000_000
"""Of a tokenizer file; the largest known ones have about 40 MB."""
MAIN = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model by id. `added` are the entries of tokens that stand outside the tokenizer's own model."""

    ids: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """One more than the highest id."""
        return max(self.ids.values(), default=-1) + 1

    @cached_property
    def tokens(self) -> Mapping[int, str]:
        """The token of each id; of two tokens with one id the first."""
        return {i: token for token, i in reversed(list(self.ids.items()))}


def read_vocabulary(ckpt: Checkpoint) -> Vocabulary | None:
    """The vocabulary beside a checkpoint, None where no file tells it. Raises BadCheckpoint for a damaged file."""
    files = ckpt.files()
    name = main_file(files)
    if name is None:
        return None
    content = read_file(files[name])
    if name == "tokenizer.json":
        return vocabulary_of(json_object(content, f"{ckpt.name}/{name}"))
    extra = json_object(read_file(files.get("added_tokens.json", b"{}")), f"{ckpt.name}/added_tokens.json")
    decoder = json_object(read_file(files.get("tokenizer_config.json", b"{}")), f"{ckpt.name}/tokenizer_config.json")
    added = {e["content"]: int(i) for i, e in (decoder.get("added_tokens_decoder") or {}).items()}
    if name == "vocab.json":
        ids = json_object(content, f"{ckpt.name}/{name}")
    else:
        tokens = content.decode("utf-8", "replace").splitlines() if name == "vocab.txt" else list(_pieces(content))
        ids = {token: i for i, token in reversed(list(enumerate(tokens)))}
    return Vocabulary(_whole_numbers({**ids, **extra, **added}, ckpt.name)) if ids else None


def main_file(files: Mapping[str, Path | bytes]) -> str | None:
    """The file that tells the vocabulary, None if there is none."""
    return next((name for name in MAIN if name in files), None)


def vocabulary_of(tokenizer: Mapping[str, Any]) -> Vocabulary | None:
    """The vocabulary of the content of a tokenizer.json, None if it has none."""
    model = tokenizer.get("model")
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocab, list):  # Unigram: pairs of piece and score
        vocab = {entry[0]: i for i, entry in reversed(list(enumerate(vocab)))}
    if not isinstance(vocab, Mapping):
        return None
    added = {entry["content"]: entry for entry in tokenizer.get("added_tokens") or []}
    ids = {**vocab, **{token: entry["id"] for token, entry in added.items()}}
    return Vocabulary(_whole_numbers(ids, "tokenizer.json"), added)


def same_content(one: Path | bytes, other: Path | bytes) -> bool:
    """Whether two files have equal bytes; those of different size are not read."""
    if isinstance(one, Path) and isinstance(other, Path):
        with machine_errors(one):
            if one == other:
                return True
            if one.stat().st_size != other.stat().st_size:
                return False
    return read_file(one) == read_file(other)


def differences(one: Vocabulary, other: Vocabulary, names: tuple[str, str], most: int = 5) -> list[str]:
    """The first tokens, by id, that do not have one id in both, and how."""
    if one.ids == other.ids:
        return []
    differing = [t for t in {**one.ids, **other.ids} if one.ids.get(t) != other.ids.get(t)]
    differing.sort(key=lambda t: (min(v.ids[t] for v in (one, other) if t in v.ids), t))
    return [f"{token!r} is {_at(one, token, names[0])}, {_at(other, token, names[1])}" for token in differing[:most]]


def json_object(content: bytes, where: str) -> dict[str, Any]:
    """A JSON object, or BadCheckpoint."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"is no valid JSON: {error}", field=where, hint="download or mend the file") from None
    if not isinstance(value, dict):
        raise BadCheckpoint("is no JSON object", field=where, hint="it should begin with {")
    return value


def read_file(content: Path | bytes) -> bytes:
    """The bytes of a file beside a checkpoint, however it is given."""
    if isinstance(content, bytes):
        return content
    with machine_errors(content):
        if content.stat().st_size > MAX_BYTES:
            raise BadCheckpoint(f"is larger than {MAX_BYTES} bytes", field=str(content), hint="is this a tokenizer?")
        return content.read_bytes()


def _at(vocabulary: Vocabulary, token: str, name: str) -> str:
    return f"{vocabulary.ids[token]} in {name}" if token in vocabulary.ids else f"absent in {name}"


def _whole_numbers(ids: Mapping[str, Any], where: str) -> Mapping[str, int]:
    wrong = list(islice((token for token, i in ids.items() if type(i) is not int or i < 0), 1))
    if wrong:
        raise BadCheckpoint(f"token {wrong[0]!r:.80} has no id", field=where, hint="save the tokenizer again")
    return ids


def _pieces(data: bytes) -> Iterator[str]:
    """The pieces of a sentencepiece model: field 1 of its protocol buffer, whose field 1 is the text."""
    if data[:1] != b"\x0a":  # another format of the same name (tiktoken's lines of base64)
        return
    for number, value in _fields(data):
        if number == 1:
            yield next((text for field_, text in _fields(value) if field_ == 1), b"").decode("utf-8", "replace")


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of a protocol buffer; numbers are skipped."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise BadCheckpoint("is no sentencepiece model", field="tokenizer.model", hint="download it again")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise BadCheckpoint("ends too early", field="tokenizer.model", hint="download it again")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
