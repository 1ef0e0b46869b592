"""What a reader makes of shortened prompts: a choice of five at equal budgets, every baseline beside every method.

The small real models make no use of facts in their context, so one of them (260 K parameters) is taught to on prompts
of the same form: a fact among paragraphs of stories, the answer at the end; whole prompts alone, none shortened. The
stories, and the fact's place, are drawn anew; what is measured is not the reader. A reader that is not clearly better
with its context than without (the interval of the difference is above 0) can tell nothing, and then that is all that
is said. Set CONSORT_READER to a folder to keep the reader between runs.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compress import ANIMALS, NAMES, SHARED, VALUES, Case, baselines, interval, needle_cases, stories
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from consort.cooperate.compress import Budget, Part
from consort.cooperate.compress.compressors import COMPRESSORS
from consort.cooperate.compress.units import sentences
from consort.models import load_model
from consort.train.loop import Recipe, fit

CHOICES, PARAGRAPHS = 5, 6
TAUGHT, BASE = Recipe(steps=120, lr=2e-3), "stories260K"
ROWS = 8
RATES = (0.5, 1 / 3, 0.2)


def reader_cases(count: int, seed: int = 0) -> list[tuple[Case, str, list[str]]]:
    """The needle among paragraphs that a small reader's window holds; how the answer begins; the right word first."""
    rng, found = random.Random(f"reader {seed}"), []
    for case in needle_cases(count, seed):
        (place, span) = case.gold[0]
        fact = case.documents[place][span.start : span.end]
        begun, value = fact.split(" under the bed")[0].rsplit(" ", 1)
        others = sorted((text for i, text in enumerate(case.documents) if i != place), key=len)
        kept = rng.sample(others[:12], PARAGRAPHS - 1)
        at = rng.randrange(len(kept) + 1)
        texts = [*kept[:at], fact + rng.choice(others[:12]), *kept[at:]]
        wrong = rng.sample([v for v in VALUES if v != value], CHOICES - 1)
        found.append((Case(texts, case.question, [(at, span)]), begun, [value, *wrong]))
    return found


@cache
def paragraphs() -> list[str]:
    """Three sentences each of every fifth story, short ones."""
    found = []
    for story in stories()[::5]:
        spans = sentences(story)
        for at in range(0, len(spans) - 3, 3):
            text = " ".join(story[spans[at].start : spans[at + 2].end].split())
            found += [f"{text}\n\n"] if len(text) <= 220 else []
    return found


def lesson(rng: random.Random) -> tuple[str, str]:
    """A whole prompt with a fact in it, and the word that the answer needs."""
    texts = rng.sample(paragraphs(), rng.randint(1, PARAGRAPHS))
    name, animal, value = rng.choice(NAMES), rng.choice(ANIMALS), rng.choice(VALUES)
    begun = f"{name} the {animal} hid a"
    at = rng.randrange(len(texts))
    texts[at] = f"{begun} {value} under the bed. {texts[at]}"
    return "".join(texts).strip() + f"\n\n{begun}", value


def taught(folder: Path) -> Any:
    """The small model after its lessons; what the folder holds of an earlier run is taken up."""
    model = load_model(SHARED / "models" / BASE)
    encode = model.tokenizer.encode

    def batch(rng: random.Random) -> list[tuple[list[int], list[int]]]:
        rows = []
        while len(rows) < ROWS:
            prompt, value = lesson(rng)
            head, whole = encode(prompt), encode(f"{prompt} {value}")
            rows += [(head, whole[len(head) :])] if len(whole) <= model.window else []
        return rows

    def loss(module: nn.Module, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        width = max(len(head) + len(tail) for head, tail in rows)
        ids = torch.tensor([[*head, *tail] + [0] * (width - len(head) - len(tail)) for head, tail in rows])
        logits = module(input_ids=ids, use_cache=False).logits
        losses = [
            cross_entropy(row[len(head) - 1 : len(head) - 1 + len(tail)], torch.tensor(tail))
            for row, (head, tail) in zip(logits, rows, strict=True)
        ]
        return torch.stack(losses).mean()

    model.module.requires_grad_(True)
    told = lambda step, value: print(f"  step {step}: {value:.3f}", flush=True) if step % 20 == 0 else None  # noqa: E731
    fit(model.module, batch, loss, TAUGHT, seed=0, state=folder / "reader.training", every=60, progress=told)
    return model


def chosen(model: Any, prompt: str, choices: Sequence[str]) -> tuple[bool, float]:
    """Whether the first of the choices is the likeliest continuation, and its share among them."""
    encode = model.tokenizer.encode
    head = encode(prompt)
    tails = [encode(f"{prompt} {choice}")[len(head) :] for choice in choices]
    session = model.open(1)
    (after,) = session.feed([head], last=True)
    session = session.select([0] * len(tails))
    scores = []
    for tail, logits in zip(tails, session.feed(tails), strict=True):
        rows = torch.cat([after, logits[:-1]]).log_softmax(-1)
        scores.append(float(rows.gather(-1, torch.tensor(tail)[:, None]).sum()))
    shares = torch.tensor(scores).softmax(0)
    return bool(shares.argmax() == 0), float(shares[0])


Answers = list[tuple[Case, str, list[str]]]


def right(model: Any, cases: Answers, texts: Sequence[Sequence[str]]) -> np.ndarray:
    """For each case whether the reader answers right from these texts."""
    found = [
        chosen(model, "".join(own).strip() + f"\n\n{begun}", choices)[0]
        for (_, begun, choices), own in zip(cases, texts, strict=True)
    ]
    return np.array(found, float)


def shortened(made: Any, cases: Answers, rate: float, model: Any) -> list[list[str]]:
    """The documents of each case after compression."""
    found = []
    for case, _, _ in cases:
        parts = [Part(document) for document in case.documents]
        done = made.compress(parts, Budget(rate=rate), case.question, reader=model.tokenizer)
        found.append([one.text for one in done])
    return found


def methods() -> dict[str, Any]:
    scorer = load_model(SHARED / "models" / BASE)
    clever = {n: COMPRESSORS.get(n)(scorer) for n in ("selective", "llmlingua")}
    for name in ("longllmlingua", "hybrid"):
        clever[name] = COMPRESSORS.get(name)(scorer, restriction="")
    clever["exit (question)"] = COMPRESSORS.get("exit")(scorer, by="question")
    clever["evidence"] = COMPRESSORS.get("evidence")(scorer)
    clever["auto"] = COMPRESSORS.get("auto")(scorer)
    return {**baselines(), **clever}


def reader(count: int) -> None:
    """A choice of five at budgets of 50, 33 and 20 %, by a reader that has been shown to use its context."""
    with tempfile.TemporaryDirectory() as spare:
        folder = Path(os.environ.get("CONSORT_READER", spare))
        folder.mkdir(parents=True, exist_ok=True)
        print(f"\nteaching {BASE} to read a fact in its context: {TAUGHT.steps} steps of {ROWS} prompts")
        model = taught(folder)
    cases = reader_cases(count)
    whole = right(model, cases, [case.documents for case, _, _ in cases])
    nothing = right(model, cases, [[] for _ in cases])
    low, high = interval(list(whole - nothing))
    print(
        f"{count} needles among {PARAGRAPHS} paragraphs, {CHOICES} choices: whole prompt {whole.mean():.3f}, ", end=""
    )
    print(f"nothing {nothing.mean():.3f}, difference {(whole - nothing).mean():+.3f} [{low:+.2f}, {high:+.2f}]")
    if low <= 0:
        print("  NOT MEASURED: the reader is not clearly better with its context, so it cannot tell methods apart")
        return
    print("  right at 50, 33 and 20 %, with 95 % intervals; right less the whole prompt's")
    found = {}
    for name, made in methods().items():
        found[name] = [right(model, cases, shortened(made, cases, rate, model)) for rate in RATES]
        cells = []
        for values in found[name]:
            low, high = interval(list(values))
            cells.append(f"{values.mean():.3f} [{low:.2f}, {high:.2f}] {(values - whole).mean():+.3f}")
        print(f"  {name:24}" + "   ".join(cells), flush=True)
    truncated = max(float(found[n][0].mean()) for n in ("first", "last", "head_tail"))
    own = float(found["auto"][0].mean())
    told = "met" if own >= whole.mean() - 0.02 and own >= truncated else "MISSED"
    print(f"  auto at 50 % {own:.3f}, whole - .02 {whole.mean() - 0.02:.3f}, best truncation {truncated:.3f}: {told}")
