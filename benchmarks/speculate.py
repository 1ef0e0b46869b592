"""Speculative decoding on one thread: a round against transformers' assisted generation, runs against plain decoding.

Usage: python benchmarks/speculate.py [round] [pairs] [lab stories260K llama2xs random]
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
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
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64 or 1,
        max_position_embeddings=window,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
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


def pairs(wanted: Sequence[str] = ()) -> None:
    """Auto-off: speed against plain decoding on runs of 1,024 tokens, plain and speculated in turns, median of 5.

    Windows are short, so that a run is several prompts, each to the end of the window: ends are forbidden. Every
    speculated run begins with a new model, which has to find out anew whether its draft pays.
    """
    stories = SHARED / "models"
    bit = load_model(stories / "bit-3M", device="cpu")
    chosen: dict[str, tuple[HFModel, Callable[[], HFModel]]] = {
        "lab draft -> target": (lab("target"), lambda: lab("draft")),
        "stories260K -> bit-3M": (bit, lambda: load_model(stories / "stories260K", device="cpu")),
        "llama2xs -> bit-3M": (bit, lambda: load_model(stories / "llama2xs", device="cpu")),
        "random -> bit-3M": (bit, lambda: HFModel("random", llama(5, 64, 3, 512, 512), bit.tokenizer)),
    }
    for name, (target, find) in chosen.items():
        if wanted and not any(name.startswith(word) for word in wanted):
            continue
        draft = find()
        for temperature in (0.0, 1.0):
            show_pair(f"{name}, temperature {temperature:g}", target, draft, temperature)


def show_pair(name: str, target: HFModel, draft: HFModel, temperature: float) -> None:
    once(target, temperature, 0)
    once(Speculate(target, draft), temperature, 0)
    gains: list[tuple[float, float]] = []
    switches: list[int] = []
    facts: list[dict[str, Any]] = []
    for number in range(5):
        fast = Speculate(target, draft, adapt=True)
        (plain, _), (spent, answers) = in_turns([target, fast], temperature, number, Speculate(target, draft))
        gains.append((plain[0] / spent[0], plain[1] / spent[1]))
        facts = [a.details["speculation"] for a in answers]
        switches.append(sum(len(t["switches"]) for t in facts))
    for kind, found in zip(("CPU", "wall"), zip(*gains, strict=True), strict=True):
        shown = " ".join(f"{g:.2f}" for g in found)
        print(f"{name}: {statistics.median(found):.3f}x in {kind} time (at least 0.97), runs {shown}")
    last = {key: facts[-1][key] for key in ("on", "acceptance", "draft_cost", "projected", "measured")}
    print(f"    switches in each run {switches}; at the end {last}", flush=True)


def in_turns(
    models: Sequence[Any], temperature: float, number: int, first: Any
) -> list[tuple[tuple[float, float], list[Any]]]:
    """CPU and wall seconds a token of a run of each model, and its answers; the models work in turns of a few steps.

    What else a machine does changes from second to second, and so meets all of them alike. Each works in a thread of
    its own, which `first` has warmed up: a new thread's first products are slower.
    """
    turn, lock = 0, threading.Condition()
    done, found = [False] * len(models), [((0.0, 0.0), list[Any]())] * len(models)

    def work(own: int, model: Any) -> None:
        wall, begun, steps = 0.0, 0.0, 0

        def begin() -> None:
            nonlocal begun
            with lock:
                lock.wait_for(lambda: turn == own)
            begun = time.perf_counter()

        def end() -> None:
            nonlocal wall, turn
            wall += time.perf_counter() - begun
            with lock:
                turn = next(
                    (i % len(models) for i in range(own + 1, own + len(models)) if not done[i % len(models)]), own
                )
                lock.notify_all()

        def step() -> bool:
            nonlocal steps
            steps += 1
            if steps % TURN == 0:
                end()
                begin()
            return False

        with lock:
            once(first, temperature, 0)
        begin()
        cpu, answers = time.thread_time(), list[Any]()
        while sum(len(a.tokens) for a in answers) < TOKENS:
            answers.append(once(model, temperature, number + len(answers), step))
        cpu, tokens = time.thread_time() - cpu, sum(len(a.tokens) for a in answers)
        done[own] = True
        end()
        found[own] = ((cpu / tokens, wall / tokens), answers)

    threads = [threading.Thread(target=work, args=given) for given in enumerate(models)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def once(model: Any, temperature: float, number: int, step: Callable[[], bool] = bool) -> Any:
    """An answer that fills the window; `step` is called at each step."""
    length = model.window - 16
    sampling = c.Sampling(max_tokens=length, min_tokens=length, temperature=temperature, seed=number)
    return model.generate([PROMPTS[number % len(PROMPTS)]], sampling, cancel=step)[0]


TOKENS, TURN = 1024, 16
PROMPTS = ["Once upon a time", "One day, a little girl", "Tom and Lily went", "The dog was", "In the garden"]

if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = sys.argv[1:] or ["round", "pairs"]
    if "round" in asked:
        rounds()
    if "pairs" in asked:
        pairs([word for word in asked if word not in ("round", "pairs")])
