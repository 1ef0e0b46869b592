"""The draft reads the short prompt, the target the long one; what comes out is the target's own."""

from __future__ import annotations

from consort.cooperate.speculate import Speculate
from consort.core.types import Sampling
from consort.testing.built import open_model

PROMPT = "Rain fell on the hills.\n\nThe key is under the stone.\n\nWhere is the key?"


def test_a_short_draft_and_a_whole_target():
    target, draft = open_model(0), open_model(1)
    read = []
    opened = draft.open

    def open_(batch=1):
        session = opened(batch)
        feed = session.feed
        session.feed = lambda tokens, **how: (read.append([list(t) for t in tokens]), feed(tokens, **how))[1]
        return session

    draft.open = open_
    try:
        model = Speculate(target, draft, drafter={"shortened": {"compressor": {"bm25": {"rate": 0.6}}}})
        for sampling in (Sampling(max_tokens=12), Sampling(max_tokens=12, temperature=1.0, seed=3)):
            (answer,) = model.generate([PROMPT], sampling)
            if not sampling.temperature:
                assert answer.tokens == target.generate([PROMPT], sampling)[0].tokens
            assert answer.cost["open-0"].prompt_tokens == len(PROMPT)
    finally:
        del draft.open
    first = next(row for rows in read for row in rows if row)
    assert bytes(first).decode().startswith("The key is under the stone.\n\nWhere is the key?")
