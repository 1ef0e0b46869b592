"""The figures of a zoo's other families, and the claims about them that hold for every seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import torch

from consort.lab.folder import read_classifier, read_model, read_tokenizer
from consort.lab.greedy import accuracy_by_group
from consort.lab.measure import Claim, Figures
from consort.lab.reward import Pair, pair_accuracy
from consort.lab.second_family import B_SKILLS
from consort.lab.task_files import read_lines, read_rows


def measure_second(zoo: Path) -> Figures:
    """Family B: exact match over its three skills, and of family A's base on the same prompts."""
    rows = read_rows(zoo / "tasks" / "b-skills" / "test.jsonl")
    groups = {
        name: accuracy_by_group(read_model(zoo / name), read_tokenizer(zoo / name), rows)
        for name in ("b-base", *(f"b-{word}" for word in B_SKILLS), "base")
    }
    return {
        "b base": fmean(groups["b-base"].values()),
        "b best single": max(fmean(groups[f"b-{word}"].values()) for word in B_SKILLS),
        "b own skill, least": min(groups[f"b-{word}"][word] for word in B_SKILLS),
        "a base on b": fmean(groups["base"].values()),
    }


def measure_facts(zoo: Path) -> Figures:
    """How many facts each model gives in the phrasing in which no one was taught them, by whose they are."""
    rows = read_rows(zoo / "tasks" / "facts" / "test.jsonl")
    figures: Figures = {}
    for name in ("teacher-north", "teacher-south", "pivot"):
        groups = accuracy_by_group(read_model(zoo / name), read_tokenizer(zoo / name), rows)
        figures |= {f"{name} on {group}": value for group, value in groups.items()}
    return figures


@torch.inference_mode()
def measure_prose(zoo: Path, *, texts: int = 100) -> Figures:
    """Acceptance of the draft by the target (2211.17192): mean of sum(min(p, q)) over tokens of test stories."""
    tokenizer, draft, target = read_tokenizer(zoo / "target"), read_model(zoo / "draft"), read_model(zoo / "target")
    accepted, losses = [], {"draft": [0.0], "target": [0.0]}
    lines = read_lines(zoo / "tasks" / "text" / "test.jsonl")[:texts]
    for ids in (tokenizer.encode(line["text"]).ids for line in lines):
        tokens = torch.tensor([ids])
        p, q = (model(input_ids=tokens).logits[0, 1:-1].softmax(-1) for model in (target, draft))
        accepted += torch.minimum(p, q).sum(-1).tolist()
        for name, rows in (("target", p), ("draft", q)):
            losses[name] += (-rows.gather(1, tokens[0, 2:, None]).log()).flatten().tolist()
    return {"acceptance": fmean(accepted)} | {f"{name} loss": fmean(values[1:]) for name, values in losses.items()}


def measure_reward(zoo: Path) -> Figures:
    """How often the reward model prefers the right answer of a pair it has not seen."""
    lines = read_lines(zoo / "tasks" / "reward" / "test.jsonl")
    pairs = [
        Pair(line["prompt"], line["choices"][line["answer"]], line["choices"][1 - line["answer"]]) for line in lines
    ]
    model, tokenizer = read_classifier(zoo / "reward"), read_tokenizer(zoo / "reward")
    return {"reward accuracy": pair_accuracy(model, tokenizer, pairs)}


def measure_rest(zoo: Path) -> Figures:
    """All of this file's figures."""
    return measure_second(zoo) | measure_facts(zoo) | measure_prose(zoo) | measure_reward(zoo)


def claims_rest(figures: Mapping[str, float]) -> list[Claim]:
    """What must hold of `measure_rest`'s figures, whatever the seed."""
    f = figures
    return [
        Claim("family B's base knows its skills hardly: <= .30", 0.30, f["b base"]),
        Claim("each expert of family B is good at its own: >= .80", f["b own skill, least"], 0.80),
        Claim("family A cannot do family B's skills: <= .05", 0.05, f["a base on b"]),
        *(Claim(f"{name} >= .90", f[name], 0.90) for name in _KNOWN),
        *(Claim(f"{name} <= .25", 0.25, f[name]) for name in _UNKNOWN),
        Claim("acceptance of the draft >= .70", f["acceptance"], 0.70),
        Claim("the target knows more than the draft", f["draft loss"], f["target loss"]),
        Claim("the reward model prefers right answers: >= .90", f["reward accuracy"], 0.90),
    ]


_KNOWN = ("teacher-north on north", "teacher-south on south")
_UNKNOWN = ("teacher-north on south", "teacher-south on north", "pivot on north", "pivot on south")
