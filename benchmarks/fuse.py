"""Alignment of two tokenizers on one text: by end offset, beside our implementation of the official programme.

    python benchmarks/fuse.py [FOLDER FOLDER TEXT]

FOLDERs have a tokenizer.json; by default two tokenizers and a novel of the shared data. Costs are thread CPU time, the
least of several repeats. The official programme's own time at 1024 x 1024 tokens is given as 1.9 s by its users.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from consort.models.tokens.dtw import costs, path, spellings
from consort.models.tokens.ends import same_end, spell
from consort.models.tokens.tokenizer import load_tokenizer

REPEATS = 7
SHARED = Path(os.environ.get("CONSORT_SHARED", Path(__file__).parents[2] / "shared")) / "data"
DEFAULT = [str(SHARED / name) for name in ("tokenizers/gpt-neox-20b", "tokenizers/gpt2", "eval/text/sherlock.txt")]


def least(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Milliseconds of thread CPU time, the least of the repeats; one more warms up."""
    found = []
    for _ in range(repeats + 1):
        begun = time.thread_time()
        work()
        found.append(time.thread_time() - begun)
    return 1e3 * min(found[1:])


def main(pivot_folder: str, source_folder: str, text_file: str) -> None:
    pivot, source = (load_tokenizer(Path(f), f, config={}) for f in (pivot_folder, source_folder))
    text = Path(text_file).read_text("utf-8")[2000:40000]
    ours, theirs = spell(pivot, text), spell(source, text)
    print(f"{'tokens':>8} {'end offset':>12} {'official':>12}   (ms, alignment of tokens that are there already)")
    for n in (256, 512, 1024, 2048):
        one, other = ours.ends[:n], theirs.ends[:n]
        strings = [spellings(t, s.ids[:n].tolist()) for t, s in ((source, theirs), (pivot, ours))]
        fast = least(lambda one=one, other=other: same_end(one, other))
        slow = least(lambda strings=strings: path(costs(*strings)), 2)
        print(f"{n:>8} {fast:>12.3f} {slow:>12.1f}")
    part = text[:5000]
    count = len(spell(pivot, part))
    print(f"tokens and ends of a text of {count} tokens: {least(lambda: spell(pivot, part)):.1f} ms")


if __name__ == "__main__":
    main(*(sys.argv[1:] or DEFAULT))
