"""Where a tokenizer splits a text into words, asked of itself for texts by their classes of characters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consort.models.bytewise.classes import Classes
from consort.models.tokens.pieces import MARK, steps


@dataclass(frozen=True, slots=True)
class Window:
    """The end of a text that is being spelled: its `shape`, and the places in it where tokens end.

    `joined` and `begun` are the places at which the token after it may stand in the same word, may begin a word.
    `open`: the text ends inside a character. Places inside characters are not among them.
    """

    shape: str
    places: frozenset[int]
    joined: frozenset[int]
    begun: frozenset[int]
    open: bool
    lenient: bool = False


BOUND, JOIN, GOES_ON = 1, 2, 4
"""What a token may do after a text: begin a word, stand in the word at its end, and not be that word's end."""


class Splits:
    """The splitting of a tokenizer, without what it puts before a text."""

    def __init__(self, spec: Any, *, marked: bool) -> None:
        """`spec`: the pre-tokenizer's settings; `marked`: its normaliser writes a mark for each space."""
        own = [step for step in map(_plain, steps(spec)) if step is not None]
        self.strict = any(step["type"] == "WhitespaceSplit" for step in own)
        if any(step["type"] == "Metaspace" for step in own):  # words without the spaces before them, which it puts back
            own = [step for step in own if step["type"] != "WhitespaceSplit"]
        self.classes, self.marked = Classes(spec), marked
        self.cut = _splitter(own) if own else None
        self.ends: list[str] = [""]
        """What may follow a text, as far as it can matter: nothing, and a character of each class."""

    def places(self, text: str) -> set[int]:
        """Where words begin or end in `text`."""
        if self.cut is None:
            return set()
        text = text.replace(" ", MARK) if self.marked else text
        return {place for _, span in self.cut.pre_tokenize_str(text) for place in span}

    def may(self, window: Window, shape: str, tails: Sequence[str]) -> int:
        """What a token of this shape may do after a window; `tails`: characters it may begin without completing."""
        if self.cut is None:
            return (JOIN | GOES_ON) if window.shape or window.open else BOUND | GOES_ON
        found, start = 0, len(window.shape)
        for tail in tails or ("",):
            stop = start + len(shape) + len(tail)
            for end in self.ends:
                places = self.places(window.shape + shape + tail + end)
                if any(start < place < stop for place in places):
                    continue
                if not window.lenient and not fits(window, places):
                    continue
                begins = not window.open and (start in places or not start)
                found |= BOUND if begins else JOIN | (GOES_ON if end and stop not in places else 0)
            if found & BOUND and found & JOIN:
                break
        return found


def fits(window: Window, places: set[int]) -> bool:
    """Whether the words that begin at `places` agree with the tokens of the window."""
    stop = len(window.shape) + window.open
    inner = {place for place in places if 0 < place < stop}
    return inner <= window.begun and window.places - inner <= window.joined


def _plain(step: dict[str, Any]) -> dict[str, Any] | None:
    """A step without what it puts before a text; None if it splits nothing."""
    if step["type"] == "ByteLevel":
        return {**step, "add_prefix_space": False} if step.get("use_regex", True) else None
    if step["type"] == "Metaspace":
        return {**step, "prepend_scheme": "never"} if step.get("split", True) else None
    return step


def _splitter(own: Sequence[dict[str, Any]]) -> Any:
    spec = own[0] if len(own) == 1 else {"type": "Sequence", "pretokenizers": list(own)}
    return rebuilt(pre_tokenizer=spec).pre_tokenizer


def rebuilt(**parts: Any) -> Any:
    """A tokenizer without vocabulary that has these parts."""
    from tokenizers import Tokenizer

    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    model = {"type": "BPE", "vocab": {}, "merges": []}
    return Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": model, **empty, **parts}))
