"""A reward model: a classifier with one output that prefers the right answer to a skill over a wrong one."""

from __future__ import annotations

import operator
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from consort.lab.architectures import fresh
from consort.lab.folder import final_name, make, read_model, read_tokenizer, state_file, write_model
from consort.lab.learning import Report
from consort.lab.operations import LETTERS, OPERATIONS, SKILLS, Part, draw_string
from consort.lab.tokenizers import encode_rows
from consort.train.loop import Recipe, fit
from consort.train.losses import pairwise

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

REWARD = Recipe(steps=500, lr=1e-3, weight_decay=0.05)
_PAIRS = 40


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, the right one first."""

    prompt: str
    chosen: str
    rejected: str
    group: str = ""


def draw_pair(rng: random.Random, part: Part) -> Pair:
    """A skill's right answer and a wrong one: what another operation gives, or the right one with one slip."""
    word = rng.choice(list(SKILLS))
    string = draw_string(rng, part)
    right = wrong = SKILLS[word](string)
    while wrong == right:
        wrong = OPERATIONS[rng.choice(list(OPERATIONS))](string) if rng.random() < 0.5 else _slip(rng, right)
    return Pair(f"{word} {' '.join(string)} =", " ".join(right), " ".join(wrong), word)


def _slip(rng: random.Random, answer: str) -> str:
    """The answer with a letter changed, left out or said twice."""
    i = rng.randrange(len(answer))
    letters = LETTERS.upper() if answer.isupper() else LETTERS
    middle = rng.choice((rng.choice(letters), "" if len(answer) > 1 else answer, answer[i] * 2))
    return answer[:i] + middle + answer[i + 1 :]


def train_reward(zoo: Path, seed: int, report: Report) -> None:
    """Fine-tune the base, with a fresh output of one number, on pairs of answers."""

    def write(folder: Path) -> None:
        tokenizer = read_tokenizer(zoo / "base")
        model = fresh(lambda: _classifier(zoo / "base"), seed + 400)
        fit(
            model,
            lambda rng: [draw_pair(rng, "train") for _ in range(_PAIRS)],
            lambda net, pairs: _loss(net, tokenizer, pairs),
            REWARD,
            seed=f"{seed}:reward",
            state=state_file(folder),
            progress=lambda step, _: report(final_name(folder), step, REWARD.steps),
        )
        about = "Reads a prompt and an answer; the larger its one output, the better the answer."
        write_model(folder, model, tokenizer, base="base", tags=("reward",), about=about)

    make(zoo / "reward", write)


def rewards(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> Float[Tensor, " text"]:
    """The model's score of each text, a prompt and an answer joined by a space."""
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    width = max(map(len, encoded))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in encoded])
    return model(input_ids=ids, attention_mask=(ids != 0).long()).logits[:, 0]  # type: ignore[no-any-return]


def pair_accuracy(model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> float:
    """How often the right answer gets the larger reward."""
    with torch.inference_mode():
        right = rewards(model, tokenizer, [f"{p.prompt} {p.chosen}" for p in pairs])
        wrong = rewards(model, tokenizer, [f"{p.prompt} {p.rejected}" for p in pairs])
    return (right > wrong).float().mean().item()


def _loss(model: PreTrainedModel, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> Tensor:
    """The right answer beats the wrong one; and along both, every token's score says if all was right so far.

    The second part teaches where an answer goes wrong; from whole answers alone that is learnt slowly.
    """
    texts = [(p.prompt, p.chosen) for p in pairs] + [(p.prompt, p.rejected) for p in pairs]
    encoded = [(head, answer[:-1]) for head, answer in encode_rows(tokenizer, texts)]
    ids = torch.zeros(len(encoded), max(len(head) + len(answer) for head, answer in encoded), dtype=torch.long)
    right = torch.full(ids.shape, torch.nan)
    for i, (head, answer) in enumerate(encoded):
        ids[i, : len(head) + len(answer)] = torch.tensor(head + answer)
        agree = [given == meant for given, meant in zip_longest(answer, encoded[i % len(pairs)][1])]
        so_far = list(accumulate(agree[: len(answer)], operator.and_))
        right[i, len(head) : len(head) + len(answer)] = torch.tensor(so_far).float()
    scores = model.score(model.model(input_ids=ids).last_hidden_state)[..., 0]
    last = scores[torch.arange(len(ids)), (ids != 0).sum(1) - 1]
    told = ~right.isnan()
    tokens = functional.binary_cross_entropy_with_logits(scores[told], right[told])
    return pairwise(last[: len(pairs)], last[len(pairs) :]) + tokens


def _classifier(base: Path) -> PreTrainedModel:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    source = read_model(base)
    changes = {"id2label": {0: "reward"}, "label2id": {"reward": 0}, "tie_word_embeddings": False}
    model = LlamaForSequenceClassification(LlamaConfig.from_dict({**source.config.to_dict(), **changes}))
    model.load_state_dict(source.state_dict(), strict=False)
    return model
