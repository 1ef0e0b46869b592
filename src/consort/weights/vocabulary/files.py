"""The files that tell the vocabulary of an aligned model: the tokenizer, and special ids in the configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consort.core.errors import Unsupported
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import text_config
from consort.weights.vocabulary.read import Vocabulary, json_object, read_file

TOKENIZER_JSON, TOKENIZER_CONFIG, GENERATION = "tokenizer.json", "tokenizer_config.json", "generation_config.json"
STALE = ("tokenizer.model", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "tekken.json")
"""Other forms of a tokenizer, which lack what is added to tokenizer.json."""
OF_TOKENIZER = (
    TOKENIZER_JSON,
    TOKENIZER_CONFIG,
    *STALE,
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
FLAGS = ("lstrip", "normalized", "rstrip", "single_word", "special")
PLAIN = {flag: False for flag in FLAGS}


def tokenizer_files(
    donor: Checkpoint, inputs: Sequence[Checkpoint], vocabularies: Sequence[Vocabulary], ids: Mapping[str, int]
) -> dict[str, Path | bytes]:
    """The tokenizer of `donor`, with the tokens of `ids` that it lacks taken over from `inputs`.

    Raises Unsupported where tokens must be added and the donor has no tokenizer.json.
    """
    files = {name: content for name, content in donor.files().items() if name in OF_TOKENIZER}
    known = vocabularies[next(i for i, ckpt in enumerate(inputs) if ckpt is donor)].ids
    new = {token: i for token, i in ids.items() if token not in known}
    if not new:
        return files
    if TOKENIZER_JSON not in files:
        hint = "save it as a fast tokenizer (tokenizer.json), or choose the vocabulary of one model"
        raise Unsupported(f"{donor.name} has no {TOKENIZER_JSON} to add tokens to", field="tokenizer", hint=hint)
    added = {t: e for v in reversed(vocabularies) for t, e in v.added.items() if t in new}
    tokenizer = json_object(read_file(files[TOKENIZER_JSON]), f"{donor.name}/{TOKENIZER_JSON}")
    others = [_tokenizer(ckpt) for ckpt in inputs if ckpt is not donor]
    extended = _extended(tokenizer, others, new, added)
    files = {name: content for name, content in files.items() if name not in STALE}
    files[TOKENIZER_JSON] = json.dumps(extended, ensure_ascii=False).encode()
    if TOKENIZER_CONFIG in files:
        config = json_object(read_file(files[TOKENIZER_CONFIG]), f"{donor.name}/{TOKENIZER_CONFIG}")
        files[TOKENIZER_CONFIG] = _json(_with_decoder(config, extended, new))
    return files


def remapped(config: Mapping[str, Any], new_id: Mapping[int, int], fallback: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the ids of special tokens as they are in the output, in it and in its parts.

    An id that has no new one becomes that of `fallback`, the configuration of the model whose vocabulary it is.
    """
    result: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            inner = fallback.get(key)
            result[key] = remapped(value, new_id, inner if isinstance(inner, Mapping) else {})
        elif key.endswith("_token_id"):
            result[key] = _special(value, new_id, fallback.get(key))
        else:
            result[key] = value
    return result


def with_rows(config: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """`config` for a vocabulary of `rows` rows."""
    inner = text_config(config)
    if inner is config:
        return {**config, "vocab_size": rows}
    return {**config, "text_config": {**inner, "vocab_size": rows}}


def generation_config(
    files: Mapping[str, Path | bytes], new_id: Mapping[int, int], fallback: Mapping[str, Path | bytes]
) -> dict[str, Path | bytes]:
    """generation_config.json with its special ids remapped; nothing where there is none."""
    if GENERATION not in files:
        return {}
    config = json_object(read_file(files[GENERATION]), GENERATION)
    other = json_object(read_file(fallback.get(GENERATION, b"{}")), GENERATION)
    return {GENERATION: _json(remapped(config, new_id, other))}


def _special(value: Any, new_id: Mapping[int, int], fallback: Any) -> Any:
    if isinstance(value, list):
        found = [new_id[i] for i in value if i in new_id]
        return found or fallback
    if type(value) is not int:
        return value
    return new_id.get(value, fallback) if value >= 0 else value


def _tokenizer(ckpt: Checkpoint) -> dict[str, Any]:
    files = ckpt.files()
    if TOKENIZER_JSON not in files:
        return {}
    return json_object(read_file(files[TOKENIZER_JSON]), f"{ckpt.name}/{TOKENIZER_JSON}")


def _extended(
    tokenizer: dict[str, Any],
    others: Sequence[Mapping[str, Any]],
    new: Mapping[str, int],
    added: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """`tokenizer` with the `new` tokens: as added tokens where they are that somewhere, else in its own vocabulary.

    Added tokens stand in the vocabulary as well: one that does not is numbered anew, after it, when the file is read.
    A BPE tokenizer also gets the merges that make them, after its own, so that it can produce them.
    """
    model = tokenizer["model"]
    entries = [{**PLAIN, **added[token], "id": i, "content": token} for token, i in new.items() if token in added]
    pieces = {token: i for token, i in new.items() if token not in added}
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        vocab.update({entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens") or []} | dict(new))
    else:
        scores = {e[0]: e[1] for other in others for e in _unigrams(other)}
        for token, i in pieces.items():
            if i == len(vocab):
                vocab.append([token, scores.get(token, 0.0)])
            else:  # a list has no gaps: its place is taken by an added token
                entries.append({**PLAIN, "id": i, "content": token})
    if "merges" in model:
        model["merges"] += _merges(others, pieces, pairs=bool(model["merges"]) and isinstance(model["merges"][0], list))
    tokenizer["added_tokens"] = sorted([*(tokenizer.get("added_tokens") or []), *entries], key=lambda e: e["id"])
    return tokenizer


def _unigrams(tokenizer: Mapping[str, Any]) -> Sequence[Any]:
    vocab = tokenizer.get("model", {}).get("vocab")
    return vocab if isinstance(vocab, list) else []


def _merges(others: Sequence[Mapping[str, Any]], pieces: Mapping[str, int], *, pairs: bool) -> list[Any]:
    """The merges of other tokenizers that make `pieces`, each once, in order."""
    found: dict[tuple[str, str], None] = {}
    for other in others:
        for merge in other.get("model", {}).get("merges") or []:
            one, two = merge.split(" ", 1) if isinstance(merge, str) else merge
            if one + two in pieces:
                found[one, two] = None
    return [list(pair) if pairs else " ".join(pair) for pair in found]


def _with_decoder(config: dict[str, Any], tokenizer: Mapping[str, Any], new: Mapping[str, int]) -> dict[str, Any]:
    """tokenizer_config.json that also lists what was added, where it lists added tokens."""
    if "added_tokens_decoder" in config:
        entries = [entry for entry in tokenizer["added_tokens"] if entry["content"] in new]
        listed = {str(e["id"]): {"content": e["content"], **{flag: e[flag] for flag in FLAGS}} for e in entries}
        config["added_tokens_decoder"] = {**config["added_tokens_decoder"], **listed}
    return config


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
