"""What a CUDA device gives: merge, decode, ensemble, speculation and packed search, beside transformers and the CPU.

    python benchmarks/gpu.py [--minutes 10]

Every part checks its results against the CPU before it is timed; without a CUDA device it says so and ends. Times are
medians of turns, the device synchronised at each end.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import consort
from consort import lab
from consort.core.types import Sampling
from consort.models import HFModel, load_model
from consort.models.hf.loading import own_tokenizer
from consort.weights import open_folder

PROMPTS = ["mirror a b c =", "order d b a =", "twice: a b =", "shout a b c ="] * 4
SAMPLING = Sampling(max_tokens=32)
TURNS = 5


def timed(work: Callable[[], Any]) -> float:
    """The median of the seconds that it takes, after a first time that is not counted."""
    work()
    seconds = []
    for _ in range(TURNS):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def told(part: str, ours: float, beside: float, other: str) -> None:
    """One line of the table."""
    print(f"{part:<24} {ours * 1e3:10.1f} ms   {other} {beside * 1e3:10.1f} ms   {ours / beside:6.2f}x", flush=True)


def alike(part: str, here: list[Any], there: list[Any]) -> None:
    """End with an error where the device answers otherwise than the CPU."""
    same = sum(a.tokens == b.tokens for a, b in zip(here, there, strict=True))
    print(f"{part:<24} {same} of {len(here)} answers are those of the CPU", flush=True)
    if same < 0.9 * len(here):
        sys.exit(f"{part}: the device does not answer as the CPU does")


def large() -> HFModel:
    """A random model of 110 M parameters in bfloat16 on the device, with the lab's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = own_tokenizer(open_folder(lab.path("base")))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=16,
        num_attention_heads=12,
    )
    module = LlamaForCausalLM(config).to("cuda", torch.bfloat16)
    return HFModel("random-110M", module, tokenizer, ends=[-1])


def decode() -> None:
    """Answers of the lab's models, and the time of tokens of a larger one beside transformers."""
    cpu, gpu = (load_model(lab.path("mirror"), device=device) for device in ("cpu", "cuda"))
    alike("decode", gpu.generate(PROMPTS, SAMPLING), cpu.generate(PROMPTS, SAMPLING))
    model = large()
    ids = torch.tensor([model.tokenizer.encode(PROMPTS[0])] * len(PROMPTS), device="cuda")
    options = {"max_new_tokens": 32, "min_new_tokens": 32, "do_sample": False, "pad_token_id": 0}
    stock = timed(lambda: model.module.generate(ids, attention_mask=torch.ones_like(ids), **options))
    told("decode, 16 rows", timed(lambda: model.generate([PROMPTS[0]] * 16, SAMPLING)), stock, "transformers")
    one = timed(lambda: model.module.generate(ids[:1], attention_mask=torch.ones_like(ids[:1]), **options))
    told("decode, 1 row", timed(lambda: model.generate(PROMPTS[:1], SAMPLING)), one, "transformers")


def ensemble() -> None:
    """A mean of three models' distributions."""
    teams: list[Any] = []
    for device in ("cpu", "cuda"):
        models = [load_model(lab.path(name), device=device) for name in ("mirror", "order", "twice")]
        teams.append(consort.average(models))
    cpu, gpu = teams
    alike("ensemble", gpu.generate(PROMPTS, SAMPLING), cpu.generate(PROMPTS, SAMPLING))
    told("ensemble of 3", timed(lambda: gpu.generate(PROMPTS, SAMPLING)), _seconds(cpu), "the CPU     ")


def speculation() -> None:
    """A draft and a target, lossless: the target's own answers."""
    target, draft = (load_model(lab.path(name), device="cuda") for name in ("target", "draft"))
    fast: Any = consort.speculate(target, draft)
    alike("speculation", fast.generate(PROMPTS, SAMPLING), target.generate(PROMPTS, SAMPLING))
    plain = timed(lambda: target.generate(PROMPTS[:1], SAMPLING))
    told("speculation, 1 row", timed(lambda: fast.generate(PROMPTS[:1], SAMPLING)), plain, "its target  ")


def merging() -> None:
    """A merge loaded onto the device has the CPU's weights, and answers as it does."""
    merged = consort.merge(
        "ties", [consort.load("lab:mirror"), consort.load("lab:order")], base=consort.load("lab:base")
    )
    cpu, gpu = (load_model(merged, device=device) for device in ("cpu", "cuda"))
    for (name, here), (_, there) in zip(gpu.module.named_parameters(), cpu.module.named_parameters(), strict=True):
        if not torch.equal(here.cpu(), there):
            sys.exit(f"merge: {name} is another on the device")
    alike("merge", gpu.generate(PROMPTS, SAMPLING), cpu.generate(PROMPTS, SAMPLING))
    seconds = timed(lambda: load_model(merged, device="cuda"))
    begun = time.perf_counter()
    load_model(merged, device="cpu")
    told("merge and load", seconds, time.perf_counter() - begun, "the CPU     ")


def packed() -> None:
    """Sixteen mixtures of adapters in one pass, against one after the other."""
    from consort.search.engine.domain import Domain
    from consort.search.engine.space import Packed
    from consort.weights import open_adapter

    base = open_folder(lab.path("base"))
    adapters = [open_adapter(lab.path(name)) for name in ("lora-mirror", "lora-order")]
    space = Packed(Domain([0.0, 0.0], [1.0, 1.0]), "gpu", load_model(base, device="cuda"), adapters, under=base)
    points = [(i / 15, 1 - i / 15) for i in range(16)]
    rows = space.packed(points)
    if rows is None:
        sys.exit("packed search: the base cannot be packed on this device")

    def together() -> list[Any]:
        mixed: list[Any] = space.packed(points).rows(list(range(16))).generate(PROMPTS, SAMPLING)  # type: ignore[union-attr]
        return mixed

    def alone() -> list[Any]:
        return [
            space.model(point).generate([prompt], SAMPLING)[0] for point, prompt in zip(points, PROMPTS, strict=True)
        ]

    alike("packed search", together(), alone())
    told("packed search, 16", timed(together), timed(alone), "one by one  ")


def _seconds(model: Any) -> float:
    begun = time.perf_counter()
    model.generate(PROMPTS, SAMPLING)
    return time.perf_counter() - begun


def main() -> None:
    """All parts that the time allows, each named where it is left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    most = parser.parse_args().minutes * 60
    if not torch.cuda.is_available():
        print("skipped: no CUDA device here (merge, decode, ensemble, speculation, packed search)")
        return
    print(torch.cuda.get_device_name(0), torch.__version__)
    begun = time.perf_counter()
    for part in (merging, decode, ensemble, speculation, packed):
        if time.perf_counter() - begun > 0.8 * most:
            print(f"left out for want of time: {part.__name__}")
            continue
        part()


if __name__ == "__main__":
    main()
