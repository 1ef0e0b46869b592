"""Decoding on one CPU thread: sessions, rounds, answers and ensembles, against transformers in the same run.

A target of 17.3 M and a draft of 1.4 M parameters with random weights: the work is that of trained ones, the
acceptance is not. Costs are thread CPU time, the least of several repeats, behind a prompt of 65 tokens.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from consort.core.types import Sampling
from consort.ensemble.during.average import Average
from consort.models import FakeTokenizer, HFModel
from consort.models.hf.choose import find_stock_opener
from consort.models.hf.lean_pass import LeanModule

PROMPT, NEW, GAMMA, REPEATS = 65, 64, 5, 7
TOKENIZER = FakeTokenizer("".join(chr(0x4E00 + i) for i in range(4095)), eos=False)
TEXT = "".join(TOKENIZER.alphabet[97 * i % 4095] for i in range(PROMPT - 1))
IDS = TOKENIZER.encode(TEXT)


def least_of(works: Sequence[Callable[[], object]], repeats: int = REPEATS) -> list[float]:
    """Milliseconds of thread CPU time of each, the least of the repeats, taken in turns so that noise is shared."""
    found: list[list[float]] = [[] for _ in works]
    for number in range(repeats + 1):
        for work, taken in zip(works, found, strict=True):
            begun = time.thread_time()
            work()
            if number:
                taken.append(time.thread_time() - begun)
    return [1e3 * min(taken) for taken in found]


def least(work: Callable[[], object], repeats: int = REPEATS) -> float:
    return least_of([work], repeats)[0]


@cache
def model(seed: int, layers: int = 8, size: int = 384, heads: int = 6) -> HFModel:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=4096,
        hidden_size=size,
        intermediate_size=8 * size // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        eos_token_id=None,
        bos_token_id=TOKENIZER.bos,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = transformers.AutoModelForCausalLM.from_config(config)
    return HFModel(f"model-{seed}", module, TOKENIZER)


def feed_cost(opener: Callable[[int], Any], tokens: int, batch: int = 1) -> float:
    """One feed of so many tokens behind the prompt."""
    session = opener(batch)
    session.feed([IDS] * batch)
    lengths = [PROMPT] * batch

    def work() -> None:
        session.feed([[5] * tokens] * batch)
        session.rollback(lengths)

    return least(work, 4 * REPEATS)


def round_cost(target: Callable[[int], Any], draft: Callable[[int], Any]) -> float:
    """Draft GAMMA tokens one by one, let the target read them with the token before, step back."""
    t, d = target(1), draft(1)
    for session in (t, d):
        session.feed([IDS])

    def work() -> None:
        tokens = [5]
        for _ in range(GAMMA):
            tokens.append(int(d.feed([tokens[-1:]], last=True)[0].argmax()))
        int(t.feed([tokens])[0].argmax(-1)[0])
        t.rollback([PROMPT])
        d.rollback([PROMPT])

    return least(work, 3 * REPEATS)


def assisted_round(target: HFModel, draft: HFModel) -> tuple[float, float]:
    """Milliseconds of a round, and tokens accepted in one, of transformers' assisted generation with GAMMA drafts."""
    helper = draft.module
    helper.generation_config.num_assistant_tokens = GAMMA
    helper.generation_config.num_assistant_tokens_schedule = "constant"
    helper.generation_config.assistant_confidence_threshold = 0.0
    rounds = [0]
    hook = target.module.model.register_forward_hook(lambda *_: rounds.__setitem__(0, rounds[0] + 1))
    ids = torch.tensor([IDS])
    options: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": NEW}

    def work() -> None:
        rounds[0] = 0
        target.module.generate(ids, assistant_model=helper, pad_token_id=0, **options)

    cost = least(work, 3)
    hook.remove()
    return cost / rounds[0], NEW / rounds[0] - 1


def generate_cost(module: Any, **options: Any) -> float:
    """Milliseconds a token of transformers' `generate`."""
    ids = torch.tensor([IDS])
    fixed = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
    return least(lambda: module.generate(ids, max_new_tokens=NEW, **fixed, **options), 3) / NEW


def engine(made: Any, new: int = NEW) -> Callable[[], object]:
    return lambda: made.generate([TEXT], Sampling(max_tokens=new))


def bare(made: HFModel, new: int = NEW) -> Callable[[], object]:
    """Feeds and argmax alone, the prompt's pass included."""

    def work() -> None:
        session, feed = made.open(), IDS
        for _ in range(new):
            feed = [int(session.feed([feed], last=True)[0].argmax())]

    return work


def show(what: str, value: float, unit: str = "ms", note: str = "") -> None:
    print(f"{what:58s}{value:9.3f} {unit}  {note}")


def sessions(target: HFModel, draft: HFModel) -> None:
    for name, made in (("target", target), ("draft", draft)):
        stock = find_stock_opener(made)
        for tokens in (1, GAMMA + 1):
            lean, plain = feed_cost(made.open, tokens), feed_cost(stock, tokens)
            show(f"{name}, {tokens} tokens: stock modules", plain)
            show(f"{name}, {tokens} tokens: lean", lean, note=f"{lean / plain:.2f} x stock")


def rounds(target: HFModel, draft: HFModel) -> None:
    peer, accepted = assisted_round(target, draft)
    stock = round_cost(find_stock_opener(target), find_stock_opener(draft))
    lean = round_cost(target.open, draft.open)
    show(f"round of {GAMMA}: transformers assistant_model", peer, note=f"{accepted:.2f} accepted a round")
    show(f"round of {GAMMA}: own loop, stock modules", stock, note=f"{stock / peer:.2f} x transformers (at most 0.85)")
    show(f"round of {GAMMA}: own loop, lean", lean, note=f"{lean / peer:.2f} x transformers (at most 0.65)")


def forms_taken(made: HFModel) -> None:
    """Which form each product takes for 1, 2, ... tokens, as measured on this processor."""
    for matrix in {tuple(m.weight.shape): m for m in LeanModule(made.module).matrices()}.values():
        shape = " x ".join(map(str, matrix.weight.shape))
        print(f"products of {shape} with 1, 2, ... tokens: {', '.join(matrix.forms) or 'linear'}")


def tokens_of(target: HFModel) -> None:
    peer, lookup = generate_cost(target.module), generate_cost(target.module, prompt_lookup_num_tokens=10)
    alone, ours = (cost / NEW for cost in least_of([bare(target), engine(target)]))
    show("a token: transformers generate", peer, note=f"{1e3 / peer:.0f} tokens/s")
    show("a token: transformers prompt lookup", lookup, note=f"{1e3 / lookup:.0f} tokens/s")
    show(
        "a token: consort generate",
        ours,
        note=f"{1e3 / ours:.0f} tokens/s, {ours / peer:.2f} x transformers (at most 0.85)",
    )
    show("a token: bare feeds and argmax", alone, note=f"engine {ours / alone - 1:+.1%} (at most +5 %)")


def in_turn(members: list[HFModel], new: int) -> Callable[[], object]:
    """Bare feeds of all members, token by token: what one member alone keeps in the processor's cache, two may not."""

    def work() -> None:
        sessions, feed = [member.open() for member in members], IDS
        for _ in range(new):
            rows = [session.feed([feed], last=True)[0] for session in sessions]
            feed = [int(rows[0].argmax())]

    return work


def ensembles(members: list[HFModel]) -> None:
    for count in (2, 3):
        chosen = members[:count]
        works = [engine(member, 32) for member in chosen] + [in_turn(chosen, 32), engine(Average(chosen), 32)]
        *alone, turns, team = (cost / 32 for cost in least_of(works, 4))
        note = (
            f"{team / sum(alone):.2f} x the sum of its members, {team / turns:.2f} x the same fed in turn (at most 1.1)"
        )
        show(f"average of {count}: a token", team, note=note)


def speculation(target: HFModel, draft: HFModel) -> None:
    """The whole strategy, where it is installed: cost of a token, and of a round by what it reports."""
    if importlib.util.find_spec("consort.cooperate.speculate.speculation") is None:
        print("consort.cooperate.speculate is not there: not measured")
        return
    from consort.cooperate.speculate.speculation import Speculate

    for name, made in (("model", Speculate(target, draft, gamma=GAMMA)), ("lookup", Speculate(target))):
        plain, cost = (found / NEW for found in least_of([engine(target), engine(made)], 4))
        told = made.generate([TEXT], Sampling(max_tokens=NEW))[0].details["speculation"]
        a_round = cost * NEW / told["rounds"]
        note = f"{cost / plain:.2f} x plain, acceptance {told['acceptance']:.2f}, {a_round:.2f} ms a round"
        show(f"a token: speculate ({name})", cost, note=note)


def main() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(1)
    target, draft = model(0), model(1, 2, 128, 4)
    for name, made in (("target", target), ("draft", draft)):
        print(f"{name}: {sum(p.numel() for p in made.module.parameters()) / 1e6:.1f} M parameters")
        forms_taken(made)
    sessions(target, draft)
    rounds(target, draft)
    tokens_of(target)
    ensembles([target, model(2), model(3)])
    speculation(target, draft)


if __name__ == "__main__":
    main()
