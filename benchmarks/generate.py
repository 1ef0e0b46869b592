"""Short answers of a small model: consort against transformers' `generate`, same prompts, one run.

Both are greedy and must give the same answers; transformers pads to the left and runs until the last row ends.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

import consort as c
from consort import lab
from consort.data import load_task

RUNS, ROWS, NEW = 5, 256, 8


def median_seconds(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    folder = lab.path("mirror")
    prompts = [e.prompt or "" for e in load_task(lab.path("tasks/skills")).test[:ROWS]]
    ours = c.model(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")

    def consort_generate() -> list[str]:
        return [a.text for a in ours.generate(prompts, c.Sampling(max_tokens=NEW))]

    def transformers_generate() -> list[str]:
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        batch.pop("token_type_ids", None)
        with torch.inference_mode():
            out = theirs.generate(**batch, max_new_tokens=NEW, do_sample=False)
        return tokenizer.batch_decode(out[:, batch.input_ids.shape[1] :], skip_special_tokens=True)

    same = sum(a.strip() == b.strip() for a, b in zip(consort_generate(), transformers_generate(), strict=True))
    mine, peer = median_seconds(consort_generate), median_seconds(transformers_generate)
    print(f"{ROWS} prompts, at most {NEW} tokens, one thread; {same} of {ROWS} answers are the same")
    print(f"transformers generate  {peer:6.2f} s")
    print(f"consort                {mine:6.2f} s   {mine / peer:.2f} x transformers")


if __name__ == "__main__":
    main()
