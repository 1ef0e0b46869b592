"""Answers that obey a schema or a grammar: a mask over the vocabulary for each token, in the one logits pipeline.

What may come next is computed by `llguidance` over the bytes of the tokens (tokens/pieces.py), so it holds for any
tokenizer, bytes included, and for whatever the logits come from: one model, an ensemble, a speculated pair.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from threading import RLock
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from consort.core.errors import BadParameter, MissingExtra, Unsupported
from consort.core.types import Grammar, Sampling
from consort.models.base import LogitModel
from consort.models.tokens.pieces import token_bytes

MOST_TEXT = 2**17
"""Most characters of a schema or a grammar."""
_KEPT = 256
"""Most answers whose state is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Mask(Grammar):
    """A grammar bound to a model's tokens: which may follow an answer so far. Safe for threads.

    A state is kept for each of the last answers asked for; the next token of one moves its state on.
    """

    tokens: Any = None
    ends: frozenset[int] = frozenset()
    begin: Any = None
    states: OrderedDict[tuple[int, ...], Any] = field(default_factory=OrderedDict)
    lock: Any = field(default_factory=RLock)

    def allowed(self, answer: Sequence[int], width: int) -> Bool[Tensor, " vocab"]:
        """Which of the first `width` tokens may follow; all, after an answer that no grammar could have given.

        Raises Unsupported where no token of the vocabulary can go on.
        """
        with self.lock:
            state = self._state(tuple(answer))
            if state is None:
                return torch.ones(width, dtype=torch.bool)
            bits = state.compute_bitmask()
            accepting = state.is_accepting()
        packed = torch.frombuffer(bytearray(bits), dtype=torch.uint8)
        found = ((packed.unsqueeze(-1) >> torch.arange(8)) & 1).flatten().bool()[:width]
        if len(found) < width:
            found = torch.cat([found, torch.zeros(width - len(found), dtype=torch.bool)])
        for end in self.ends:
            if end < width:
                found[end] = accepting
        if not bool(found.any()):
            hint = "another grammar, or a model whose tokens can spell it"
            raise Unsupported("no token of the vocabulary can go on by the grammar", field=FIELDS[self.kind], hint=hint)
        return found

    def is_over(self, answer: Sequence[int]) -> bool:
        """Whether the answer is whole and nothing can follow it."""
        with self.lock:
            state = self._state(tuple(answer))
            return state is not None and state.is_stopped() and not state.is_error()

    def _state(self, answer: tuple[int, ...]) -> Any:
        """The state after an answer, None where it cannot be one."""
        if answer in self.states:
            self.states.move_to_end(answer)
            return self.states[answer]
        before = self.states.get(answer[:-1]) if answer else None
        state = self.begin.deep_copy() if before is None else before.deep_copy()
        new = list(answer if before is None else answer[-1:])
        found = state if state.try_consume_tokens(new) == len(new) and not state.is_error() else None
        self.states[answer] = found
        while len(self.states) > _KEPT:
            self.states.popitem(last=False)
        return found


FIELDS = {
    "json_schema": "response_format",
    "json_object": "response_format",
    "regex": "guided_regex",
    "choice": "guided_choice",
    "grammar": "guided_grammar",
}
"""What a request calls each kind."""


def bound(sampling: Sampling, model: LogitModel) -> Sampling:
    """The same settings with the grammar, if there is one, bound to the model's tokens. Raises as `mask_of`."""
    if sampling.grammar is None or isinstance(sampling.grammar, Mask):
        return sampling
    return replace(sampling, grammar=mask_of(sampling.grammar, model))


def is_over(sampling: Sampling, answer: Sequence[int]) -> bool:
    """Whether the settings' grammar lets nothing follow this answer."""
    return isinstance(sampling.grammar, Mask) and sampling.grammar.is_over(answer)


def mask_of(grammar: Grammar, model: LogitModel) -> Mask:
    """The mask of a grammar for a model. Raises BadParameter for one that is none, MissingExtra without llguidance."""
    from_model: Any = model.tokenizer  # kept by identity
    tokens = _tokens_of(from_model, tuple(sorted(model.ends)))
    found = _library().LLMatcher(tokens, compiled(grammar), log_level=0)
    if found.is_error():
        raise _refused(grammar, found.get_error())
    return Mask(grammar.kind, grammar.text, tokens, model.ends, found)


def check_grammar(grammar: Grammar) -> None:
    """Raise BadParameter for a grammar that no model could obey because it is none."""
    fault = _library().LLMatcher.validate_grammar(compiled(grammar), None)
    if fault and not fault.startswith("WARNING"):
        raise _refused(grammar, fault)


def compiled(grammar: Grammar) -> str:
    """The grammar as llguidance reads it. Raises BadParameter for one that is none or is too long."""
    if len(grammar.text) > MOST_TEXT:
        raise BadParameter(f"has more than {MOST_TEXT} characters", field=FIELDS[grammar.kind], hint="shorten it")
    library = _library()
    try:
        if grammar.kind in ("json_schema", "json_object"):
            schema = grammar.text if grammar.kind == "json_schema" else '{"type": "object"}'
            options: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
            return str(library.LLMatcher.grammar_from_json_schema(schema, overrides=options))
        if grammar.kind == "regex":
            return str(library.LLMatcher.grammar_from_regex(grammar.text))
        text = grammar.text
        if grammar.kind == "choice":
            text = "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in json.loads(text))
        elif "::=" in text:
            text = library.gbnf_to_lark(text)
        return str(library.LLMatcher.grammar_from_lark(text))
    except (ValueError, TypeError) as error:
        raise _refused(grammar, str(error)) from None


def _refused(grammar: Grammar, why: str) -> BadParameter:
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    return BadParameter(f"cannot be obeyed: {' '.join(lines)[:300]}", field=FIELDS[grammar.kind])


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        hint = 'pip install "consort[serve]"'
        raise MissingExtra("structured output needs llguidance", field="grammar", hint=hint) from None
    return llguidance


class _Vocabulary:
    """The bytes of all tokens, as llguidance asks for them; special tokens and what has no text begin with 0xFF."""

    bos_token_id: int | None = None

    def __init__(self, pieces: Sequence[bytes | None], ends: Collection[int]) -> None:
        self.tokens = [piece if piece else b"\xff<%d>" % i for i, piece in enumerate(pieces)]
        while len(self.tokens) <= max(ends, default=-1):
            self.tokens.append(b"\xff<%d>" % len(self.tokens))
        self.special_token_ids = [i for i, token in enumerate(self.tokens) if token[:1] == b"\xff"]
        self.eos_token_id = min(ends, default=len(self.tokens))
        if not ends:  # nothing ends an answer but the grammar itself
            self.special_token_ids.append(len(self.tokens))
            self.tokens.append(b"\xff<end>")
        self._ids = {token: i for i, token in enumerate(self.tokens)}

    def __call__(self, text: bytes | str) -> list[int]:
        """Any tokens that spell a text, the longest first; used only to split what a grammar forces."""
        left = text.encode() if isinstance(text, str) else text
        found: list[int] = []
        while left:
            size = next((n for n in range(min(len(left), 32), 0, -1) if left[:n] in self._ids), 0)
            if not size:
                return found
            found.append(self._ids[left[:size]])
            left = left[size:]
        return found


@lru_cache(maxsize=32)
def _tokens_of(tokenizer: Any, ends: tuple[int, ...]) -> Any:
    library = _library()
    pieces = [None if i in ends else piece for i, piece in enumerate(token_bytes(tokenizer))]
    vocabulary = _Vocabulary(pieces, ends)
    wrapped = library.TokenizerWrapper(vocabulary)
    return library.LLTokenizer(wrapped, n_vocab=len(vocabulary.tokens), eos_token=vocabulary.eos_token_id)
