"""What sample-level privacy costs a client: exact match on its skill after DP-SGD at several noises, beside epsilon.

    python benchmarks/federate_private.py [--seeds=0] [--steps=120] [--z=0,0.5,1]

One client with one skill of the lab (LoRA, A frozen), each example's gradient clipped to 1. Lines: nothing learned, no
clipping, clipping alone, and noise z; epsilon at delta 1e-5 by the accountant, as if batches were Poisson samples.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from federate import TRAIN, WORDS, Lab, rows_of

from consort.evaluate import evaluate
from consort.federate.privacy.sample_level import SamplePrivacy
from consort.models.hf.loading import load_model

ROWS, BATCH, CLIP = 2000, 32, 1.0


def line(seed: int, steps: int, z: float | None) -> str:
    """A run; `z` None is without clipping, below 0 without training."""
    lab = Lab(seed, fixed=True)
    task = replace(lab.task, test=tuple(e for e in lab.task.test if e.group == WORDS[0]))
    plain = replace(TRAIN, steps=steps, batch=BATCH, lr=4e-3)
    options = plain if z is None else replace(plain, clip_sample=CLIP, noise_sample=max(z, 0.0))
    rows = rows_of(WORDS[:1], ROWS, seed)
    begun = time.process_time()
    state = lab.bench.first if z is not None and z < 0 else lab.run([lab.client("own", rows, options)], "fedavg", 1)
    score = evaluate(load_model(lab.bench.trained(state)), task, split="test").score
    spent = float("inf") if not z or z < 0 else SamplePrivacy(CLIP, z).spent(steps, BATCH, ROWS)
    name = "no clipping" if z is None else "not trained" if z < 0 else "clipping alone" if not z else f"z {z:g}"
    told = f"{'no bound' if spent == float('inf') else f'{spent:.2f}':>10}"
    return f"{name:<16}{seed:>5}{told}{score:9.3f}{time.process_time() - begun:9.0f} s"


def main(arguments: Sequence[str]) -> None:
    given = dict(a[2:].split("=", 1) for a in arguments if a.startswith("--") and "=" in a)
    seeds = [int(s) for s in given.get("seeds", "0").split(",")]
    noises = [float(z) for z in given.get("z", "0,0.5,1").split(",")]
    print(f"{ROWS} rows of one skill, batches of {BATCH}, {given.get('steps', '120')} steps")
    print(f"{'':<16}{'seed':>5}{'epsilon':>10}{'right':>9}{'processor':>11}")
    for seed in seeds:
        for z in (-1.0, None, *noises):
            print(line(seed, int(given.get("steps", "120")), z), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
