"""Original phrases back in an answer that was given to a compressed prompt (LongLLMLingua, 2310.06839, section 4.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from consort.cooperate.compress.parts import Compression, Span, text_of

GAP = 10
"""Words of the original that may have been dropped between two that are found."""

_WORD = re.compile(r"\w+")


def recover(answer: str, originals: Sequence[str], done: Sequence[Compression]) -> str:
    """The answer with each run of words that stands in the compressed text written as the original has it.

    For every longest run of two or more words of `answer` that are neighbours in a compressed text, the words they came
    from are found in the original, in order and no more than ten words apart, as near to each other as can be; what
    stands between the first and the last of them takes the run's place. All else is left alone.
    """
    short = [_words(one.text) for one in done]
    kept = [" ".join(word for _, word in words) for words in short]
    words, out, at, copied = _words(answer), [], 0, 0
    while at < len(words):
        end, phrase = at, None
        for stop in range(len(words), at + 1, -1):
            run = [word for _, word in words[at:stop]]
            phrase = next(
                (f for i, k in enumerate(kept) if _has(k, run) and (f := _shortest(originals[done[i].part], run))), None
            )
            if phrase is not None:
                end = stop
                break
        if phrase is None:
            at += 1
            continue
        out += [answer[copied : words[at][0].start], phrase]
        copied, at = words[end - 1][0].end, end
    return "".join([*out, answer[copied:]])


def _words(text: str) -> list[tuple[Span, str]]:
    return [(Span(*m.span()), m.group().lower()) for m in _WORD.finditer(text)]


def _has(text: str, run: Sequence[str]) -> bool:
    return f" {' '.join(run)} " in f" {text} "


def _shortest(original: str, run: Sequence[str]) -> str | None:
    """The shortest piece of the original that has the words of `run` in order, at most `GAP` words between two."""
    words, best = _words(original), None
    for first, (_, word) in enumerate(words):
        if word != run[0]:
            continue
        at = first
        for wanted in run[1:]:
            reach = range(at + 1, min(at + GAP + 2, len(words)))
            nearest = next((i for i in reach if words[i][1] == wanted), None)
            if nearest is None:
                break
            at = nearest
        else:
            if best is None or at - first < best[1] - best[0]:
                best = (first, at)
    if best is None:
        return None
    return text_of(original, [Span(words[best[0]][0].start, words[best[1]][0].end)])
