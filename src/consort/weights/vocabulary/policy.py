"""How vocabularies are brought together: what a plan may say under `tokenizer`, checked.

    tokenizer: none | union | base | NAME
    tokenizer: {source: union, tokens: {TOKEN: {source: …, force: false}}, pad_to_multiple_of: 64, trim: false}

The source of a token is a model's NAME, `{kind: model_token, model: NAME, token: T}` (or `token_id: N`) or
`{kind: zero}`. A NAME is an input's name or its number in the file, from 0; `base` is the base, else the first input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from consort.core.errors import BadParameter, did_you_mean
from consort.weights.checkpoint import Checkpoint

KEYS = ("source", "tokens", "pad_to_multiple_of", "trim")
KINDS = ("model_token", "zero")


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where a token's row comes from: row `token_id`, or that of `token`, of input `model`; None: zero."""

    model: int | None
    token: str | None = None
    token_id: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """`source`: none, union, or the number of the input whose tokens and ids the output has."""

    source: Literal["none", "union"] | int
    tokens: Mapping[str, TokenSource] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None
    trim: bool = False


def read_policy(value: Any, inputs: Sequence[Checkpoint], donor: int) -> Policy:
    """The policy for `inputs`, of which number `donor` is the base, else the first. Raises BadParameter."""
    if value is None:
        return Policy("none")
    if not isinstance(value, Mapping):
        return Policy(_source(value, inputs, donor, "tokenizer"))
    _only(value, KEYS, "tokenizer")
    tokens = value.get("tokens") or {}
    if not isinstance(tokens, Mapping):
        raise BadParameter(f"{tokens!r} is no mapping", field="tokenizer.tokens", hint="{TOKEN: {source: NAME}}")
    multiple, trim = value.get("pad_to_multiple_of"), value.get("trim", False)
    if multiple is not None and (type(multiple) is not int or multiple < 1):
        hint = "a whole number, 1 or more"
        raise BadParameter(f"{multiple!r} is no multiple", field="tokenizer.pad_to_multiple_of", hint=hint)
    if not isinstance(trim, bool):
        raise BadParameter(f"{trim!r} is not true or false", field="tokenizer.trim", hint="give true or false")
    source = _source(value.get("source", "union"), inputs, donor, "tokenizer.source")
    if source == "none" and (tokens or multiple or trim):
        raise BadParameter("none changes nothing", field="tokenizer.source", hint="union, base or a model's name")
    found = {str(token): _token(rule, inputs, donor, f"tokenizer.tokens.{token}") for token, rule in tokens.items()}
    return Policy(source, found, multiple, trim)


def _source(value: Any, inputs: Sequence[Checkpoint], donor: int, at: str) -> Literal["none", "union"] | int:
    if value == "none" or value == "union":
        return "none" if value == "none" else "union"
    return input_named(value, inputs, donor, at)


def input_named(value: Any, inputs: Sequence[Checkpoint], donor: int, at: str) -> int:
    """The number of the input that `value` names."""
    if value == "base":
        return donor
    if type(value) is int and 0 <= value < len(inputs):
        return value
    if not isinstance(value, str | int):
        found = [i for i, ckpt in enumerate(inputs) if ckpt is value]
    else:
        names = {str(value), PurePath(str(value)).name}
        found = [i for i, ckpt in enumerate(inputs) if ckpt.name in names]
    if len(found) == 1 or (found and all(inputs[i] is inputs[found[0]] for i in found)):
        return found[0]
    if found:
        raise BadParameter(f"{len(found)} inputs are called {value!r}", field=at, hint="give its number, from 0")
    known = {"union", "base", *(ckpt.name for ckpt in inputs)}
    raise BadParameter(f"no input is called {value!r}", field=at, hint=did_you_mean(str(value), known))


def _token(rule: Any, inputs: Sequence[Checkpoint], donor: int, at: str) -> TokenSource:
    if not isinstance(rule, Mapping):
        raise BadParameter(f"{rule!r} is no mapping", field=at, hint="{source: NAME, force: false}")
    _only(rule, ("source", "force"), at)
    force, source = rule.get("force", False), rule.get("source")
    if not isinstance(force, bool) or source is None:
        raise BadParameter(f"{dict(rule)!r} names no source", field=at, hint="{source: NAME, force: false}")
    if not isinstance(source, Mapping):
        return TokenSource(input_named(source, inputs, donor, f"{at}.source"), force=force)
    if source.get("kind") == "zero":
        _only(source, ("kind",), f"{at}.source")
        return TokenSource(None, force=force)
    if source.get("kind") != "model_token":
        hint = did_you_mean(str(source.get("kind")), KINDS)
        raise BadParameter(f"{source.get('kind')!r} is no kind", field=f"{at}.source.kind", hint=hint)
    _only(source, ("kind", "model", "token", "token_id"), f"{at}.source")
    token, token_id = source.get("token"), source.get("token_id")
    if (token is None) == (token_id is None) or "model" not in source:
        hint = "{kind: model_token, model: NAME, token: T}, or token_id: N"
        raise BadParameter("needs a model and one of token and token_id", field=f"{at}.source", hint=hint)
    return TokenSource(input_named(source["model"], inputs, donor, f"{at}.source.model"), token, token_id, force)


def _only(mapping: Mapping[str, Any], known: Sequence[str], at: str) -> None:
    for key in mapping:
        if key not in known:
            raise BadParameter(f"unknown key {key!r}", field=f"{at}.{key}", hint=did_you_mean(str(key), known))
