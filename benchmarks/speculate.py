"""Speculative decoding on one thread: a round against transformers' assisted generation, runs against plain decoding.

Usage: python benchmarks/speculate.py [round] [pairs]
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

import consort.core.types as c
from consort.cooperate.speculate import Speculate
from consort.lab import path as lab_path
from consort.models import ByteTokenizer, HFModel, load_model

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


def llama(layers: int, hidden: int, seed: int, vocabulary: int = 4096, window: int = 2048) -> Any:
    """A random Llama without an end token, so that runs have their full length."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64 or 1,
        max_position_embeddings=window,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=True,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


class Ids(ByteTokenizer):
    """Token ids are their own text."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.vocab_size = size

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, tokens: Any) -> str:
        return " ".join(map(str, tokens))


def lab(name: str) -> HFModel:
    return load_model(lab_path(name), device="cpu")


def rounds() -> None:
    """Process time of a round of 5 drafted tokens and of one plain step, least of several runs."""
    target, draft = llama(8, 384, 0), llama(2, 128, 1)
    tokenizer, prompt = Ids(4096), list(torch.randint(0, 4096, (64,)).tolist())
    ours = HFModel("target", target, tokenizer), HFModel("draft", draft, tokenizer)
    model, text, new = Speculate(*ours, gamma=5), tokenizer.decode(prompt), 128
    draft.generation_config.num_assistant_tokens = 5
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    draft.generation_config.assistant_confidence_threshold = 0.0
    ids = torch.tensor([prompt])
    found: dict[str, list[float]] = {"ours": [], "theirs": [], "plain": []}
    for _ in range(8):
        begun = time.process_time()
        (answer,) = model.generate([text], c.Sampling(max_tokens=new))
        passed = answer.details["speculation"]["rounds"] + 1  # and the prompt
        found["ours"].append((time.process_time() - begun) / passed)
        passes: list[int] = []
        hook = target.register_forward_hook(lambda *_: passes.append(1))  # noqa: B023
        begun = time.process_time()
        shown = target.generate(ids, assistant_model=draft, max_new_tokens=new, do_sample=False)
        found["theirs"].append((time.process_time() - begun) / len(passes))
        hook.remove()
        begun = time.process_time()
        (plain,) = ours[0].generate([text], c.Sampling(max_tokens=new))
        found["plain"].append((time.process_time() - begun) / new)
        same = list(answer.tokens) == list(plain.tokens)
        agree = shown[0, 64:].tolist() == list(answer.tokens)
    best = {name: 1000 * min(times) for name, times in found.items()}
    print(f"passes {passed} and {len(passes)}")
    print(
        f"round of 5: ours {best['ours']:.2f} ms, transformers {best['theirs']:.2f} ms, "
        f"ratio {best['ours'] / best['theirs']:.3f}; a plain step {best['plain']:.2f} ms; "
        f"rounds {answer.details['speculation']}; equal to plain {same}, to transformers {agree}"
    )


def pairs() -> None:
    """Auto-off: speed against plain decoding over 1,024 tokens (several prompts, as windows are short), median of 5."""
    stories = SHARED / "models"
    bit = load_model(stories / "bit-3M", device="cpu")
    random = HFModel("random", llama(5, 64, 3, 512, 512), bit.tokenizer)
    chosen = {
        "lab draft -> target": (lab("target"), lab("draft")),
        "stories260K -> bit-3M": (bit, load_model(stories / "stories260K", device="cpu")),
        "llama2xs -> bit-3M": (bit, load_model(stories / "llama2xs", device="cpu")),
        "random -> bit-3M": (bit, random),
    }
    for name, (target, draft) in chosen.items():
        for sampling in (c.Sampling(max_tokens=10_000), c.Sampling(max_tokens=10_000, temperature=1.0)):
            gains, last = [], None
            for _ in range(5):
                model = Speculate(target, draft, adapt=True)
                spent, last = _seconds((target, model), sampling)
                gains.append(spent[0] / spent[1])
            told = last.details["speculation"]
            print(
                f"{name}, temperature {sampling.temperature:g}: median {statistics.median(gains):.2f}x "
                f"of {[round(g, 2) for g in gains]}; {told}",
                flush=True,
            )


def _seconds(models: Any, sampling: c.Sampling) -> tuple[list[float], Any]:
    """Process seconds for each of at least 1,024 tokens of each model, prompt by prompt in turn."""
    spent, tokens, answer = [0.0] * len(models), [0] * len(models), None
    for number in range(10_000):
        for i, model in list(enumerate(models))[:: 1 if number % 2 else -1]:
            begun = time.process_time()
            (answer,) = model.generate([PROMPTS[number % len(PROMPTS)]], replace(sampling, seed=number))
            spent[i], tokens[i] = spent[i] + time.process_time() - begun, tokens[i] + len(answer.tokens)
        if min(tokens) >= 1024:
            break
    return [s / n for s, n in zip(spent, tokens, strict=True)], models[-1].generate(["The"], sampling)[0]


PROMPTS = ["Once upon a time", "One day, a little girl", "Tom and Lily went", "The dog was", "In the garden"]

if __name__ == "__main__":
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or ["round", "pairs"]
    if "round" in wanted:
        rounds()
    if "pairs" in wanted:
        pairs()
