"""Short answers of a small model: consort against transformers' `generate`, same prompts, one run.

Both are greedy and must give the same answers; transformers pads to the left and runs until the last row ends.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

import consort as c
from consort import lab
from consort.data import load_task
from consort.models import FakeTokenizer, HFModel

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


def stock_session() -> None:
    """A GPT-2 of 6 layers x 256, which has no lean pass: prompts of 131 tokens, 100 new ones, random weights."""
    import transformers

    size, new = 4096, 100
    config = transformers.GPT2Config(
        vocab_size=size, n_embd=256, n_layer=6, n_head=8, n_positions=512, eos_token_id=None, bos_token_id=size - 1
    )
    torch.manual_seed(0)
    module = transformers.AutoModelForCausalLM.from_config(config).eval()
    tokenizer = FakeTokenizer("".join(chr(0x4E00 + i) for i in range(size - 1)), eos=False)
    model = HFModel("gpt2", module, tokenizer)
    texts = ["".join(tokenizer.alphabet[(97 * i + 31 * row) % (size - 1)] for i in range(130)) for row in range(4)]
    for batch, most in ((1, 1.1), (4, 1.0)):
        ids = torch.tensor([tokenizer.encode(text) for text in texts[:batch]])
        options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
        works: list[Callable[[], object]] = [
            partial(model.generate, texts[:batch], c.Sampling(max_tokens=new)),
            partial(torch.inference_mode()(module.generate), ids, max_new_tokens=new, **options),
        ]
        taken: list[list[float]] = [[], []]
        for _ in range(RUNS + 1):  # in turns, so that noise is shared
            for work, seconds in zip(works, taken, strict=True):
                begun = time.thread_time()
                work()
                seconds.append(time.thread_time() - begun)
        mine, peer = (min(seconds[1:]) for seconds in taken)
        print(f"GPT-2, batch {batch}: consort {mine:.2f} s of CPU, {mine / peer:.2f} x transformers (at most {most})")


if __name__ == "__main__":
    main()
    stock_session()
