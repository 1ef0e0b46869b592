"""Particle evaluations per second against the usual way (save an adapter, load the model with it, generate), and what
racing saves; all in one run, on the bundled models, one thread, in seconds of the processor."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from consort.data import load_task
from consort.evaluate.measure import prompt_of
from consort.lab import path
from consort.plan.build import Builder
from consort.plan.search import read_search
from consort.recipes.spaces import open_space
from consort.search.cache import Scores
from consort.search.evaluator import Evaluator, Job
from consort.search.optimizers.pso import Pso
from consort.search.run import Run
from consort.search.utility import task_utility
from consort.search.workers import InProcess
from consort.weights import write

SKILLS = ("mirror", "order", "shout", "twice", "next", "spin", "yell", "edges")
EXAMPLES, PARTICLES = int(sys.argv[1]) if len(sys.argv) > 1 else 64, 16


def document(mode: str) -> dict:
    call = {"models": [f"lab:lora-{name}" for name in SKILLS], "weight": {"free": [-0.5, 1.5]}, "mode": mode}
    pso = {"pso": {"populate": {"extra": True}}}
    return {"search": {"optimizer": pso, "space": {"merge_adapters": call}, "base": "lab:base"}}


def usual_way(plan, points, task, batch: int) -> list[float]:
    """As released code does it: each particle is written, base and adapter are loaded, answers are generated.

    The released code takes batches of 10.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    scores = []
    tokenizer = AutoTokenizer.from_pretrained(path("base"), padding_side="left")
    tokenizer.pad_token_id = tokenizer.pad_token_id or 0
    examples = task.dev[:EXAMPLES]
    for point in points:
        with tempfile.TemporaryDirectory() as folder:
            write(Builder().build(plan.node(plan.expression(point)), "adapter"), Path(folder) / "a", plan=None, seed=0)
            base = AutoModelForCausalLM.from_pretrained(path("base"), dtype=torch.float32)
            model = PeftModel.from_pretrained(base, Path(folder) / "a").eval()
        texts = []
        for at in range(0, len(examples), batch):
            prompts = [prompt_of(e) for e in examples[at : at + batch]]
            inputs = tokenizer(prompts, return_tensors="pt", padding=True)
            inputs.pop("token_type_ids", None)
            with torch.no_grad():
                found = model.generate(**inputs, max_new_tokens=task.options.max_tokens, do_sample=False)
            texts += tokenizer.batch_decode(found[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        scores.append(sum(t.strip() in e.target for t, e in zip(texts, examples, strict=True)) / len(examples))
    return scores


def speed(mode: str, task) -> None:
    plan = read_search(document(mode))
    space = open_space(plan, Builder(), pack=PARTICLES)
    evaluator = Evaluator(space, task_utility([task], limit=EXAMPLES))
    points = tuple(tuple(row) for row in Pso(plan.domain, particles=PARTICLES).ask().tolist())
    evaluator(Job(points[:2]))
    usual_way(plan, points[:1], task, 10)
    started = time.process_time()
    packed = [outcome.score for outcome in evaluator(Job(points))]
    ours = PARTICLES / (time.process_time() - started)
    for batch in (10, EXAMPLES):
        few = points[:4]
        started = time.process_time()
        usual = usual_way(plan, few, task, batch)
        theirs = len(few) / (time.process_time() - started)
        agree = [round(s, 3) for s in usual] == [round(s, 3) for s in packed[:4]]
        print(
            f"LoRA {mode:6}  packed {ours:6.2f} /s   usual, batches of {batch:2} {theirs:6.2f} /s   "
            f"{ours / theirs:5.1f} x   scores agree: {agree}",
            flush=True,
        )


def racing(task, skills, iterations: int) -> None:
    """Examples asked with and without racing along one trajectory."""
    raw = document("exact")
    raw["search"]["space"]["merge_adapters"]["models"] = [f"lab:lora-{name}" for name in skills]
    plan = read_search(raw)
    space = open_space(plan, Builder(), pack=PARTICLES)
    utility = task_utility([task], limit=EXAMPLES)
    evaluator = Evaluator(space, utility)
    found, rates = [], []
    for is_racing in (False, True):
        optimizer = Pso(plan.domain, seed=0, particles=PARTICLES, iterations=iterations)
        run = Run(
            optimizer,
            InProcess(lambda: evaluator),
            Scores("b", "o"),
            pack=PARTICLES,
            size=utility.size,
            racing=is_racing,
        )
        started = time.process_time()
        found.append(run.run())
        rates.append(found[-1].evaluations / (time.process_time() - started))
    plain, raced = found
    same = [s.point for s in plain.steps] == [s.point for s in raced.steps]
    saved = 1 - raced.examples / plain.examples
    print(
        f"racing, {len(skills)} experts, best {plain.best.outcome.score:.3f}: {plain.evaluations} evaluations, "
        f"{saved:.1%} of the examples saved, same trajectory: {same}; "
        f"{rates[0]:.2f} /s, raced {rates[1]:.2f} /s",
        flush=True,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    whole = load_task(path("tasks/skills"))
    for mode in ("exact", "factor"):
        speed(mode, whole)
    racing(whole, SKILLS, 30)
    racing(whole, SKILLS[:3], 30)
