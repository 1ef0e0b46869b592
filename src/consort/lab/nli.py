"""A tiny cross-encoder of natural language inference, trained on statements about invented countries."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from consort.lab.architectures import fresh
from consort.lab.folder import CONTEXT, final_name, make, state_file, write_model
from consort.lab.learning import Report
from consort.lab.statements import Item, draw_item
from consort.lab.tokenizers import BOS, EOS, byte_pairs
from consort.train.loop import Recipe, fit

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

LABELS = ("contradiction", "entailment", "neutral")
"""In the order of the outputs, which is not the order in which consort keeps them: it is read from id2label."""
NLI = Recipe(steps=5000, lr=1e-3, weight_decay=0.01)
_ITEMS = 64
_PIECES = 480


def train_nli(zoo: Path, seed: int, report: Report) -> None:
    """Train `nli` from scratch on items drawn afresh at each step."""

    def write(folder: Path) -> None:
        tokenizer = pair_tokenizer(seed)
        model = classifier(tokenizer.get_vocab_size(), seed=seed + 500)
        fit(
            model,
            draw_batch,
            lambda net, items: loss(net, tokenizer, items),
            NLI,
            seed=f"{seed}:nli",
            state=state_file(folder),
            progress=lambda step, _: report(final_name(folder), step, NLI.steps),
        )
        about = "Says whether one sentence about an invented country follows from others, contradicts them, or neither."
        write_model(folder, model, tokenizer, tags=("nli",), about=about)

    make(zoo / "nli", write)


def pair_tokenizer(seed: int) -> Tokenizer:
    """Byte pairs of such statements; two texts are joined with a separator, figures stand alone."""
    from tokenizers import pre_tokenizers, processors

    rng = random.Random(f"{seed}:nli tokenizer")
    items = [draw_item(rng) for _ in range(3000)]
    texts = [f"{item.premise} {item.hypothesis}" for item in items]
    tokenizer = byte_pairs((" ".join(_spread(text)) for text in texts), _PIECES)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {EOS} $B", special_tokens=[(BOS, 1), (EOS, 2)]
    )
    return tokenizer


def _spread(text: str) -> list[str]:
    """Words, and of numbers the figures one by one, so that no piece is learnt that holds two figures."""
    return [part for word in text.split() for part in (word if word.isdigit() else (word,))]


def classifier(vocabulary: int, *, seed: int, hidden: int = 96, layers: int = 3) -> PreTrainedModel:
    """A Llama of three layers by 96 with three outputs, read behind the last token of the hypothesis."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    return fresh(lambda: LlamaForSequenceClassification(config), seed)


def draw_batch(rng: random.Random) -> list[Item]:
    """Items whose premises have equally many sentences, often one, so that little is padding."""
    size = rng.choices(range(1, 6), weights=(6, 4, 3, 2, 2))[0]
    return [draw_item(rng, size) for _ in range(_ITEMS)]


def loss(model: nn.Module, tokenizer: Tokenizer, items: Sequence[Item]) -> Tensor:
    """Cross-entropy of the labels (nats), and of the words of hypotheses that follow from their premises.

    The second part teaches where in a premise to look; from labels alone that is learnt very slowly.
    """
    ids, heads = encoded(tokenizer, items)
    states = model.model(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
    told = torch.tensor([LABELS.index(item.label) for item in items])
    last = states[torch.arange(len(ids)), (ids != 0).sum(1) - 1]
    labels = functional.cross_entropy(model.score(last), told)
    follows = torch.tensor([item.label == "entailment" for item in items])
    place = torch.arange(ids.shape[1])[None, :]
    wanted = follows[:, None] & (place >= torch.tensor(heads)[:, None]) & (ids != 0)
    foretold = states[:, :-1][wanted[:, 1:]] @ model.model.embed_tokens.weight.T
    return labels + 0.5 * functional.cross_entropy(foretold, ids[:, 1:][wanted[:, 1:]])


def encoded(tokenizer: Tokenizer, items: Sequence[Item]) -> tuple[Tensor, list[int]]:
    """Token ids of premises and hypotheses, padded at the right, and where each hypothesis begins."""
    rows = [one.ids for one in tokenizer.encode_batch([(item.premise, item.hypothesis) for item in items])]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return ids, [row.index(2) + 1 for row in rows]


def logits(model: nn.Module, tokenizer: Tokenizer, items: Sequence[Item]) -> Tensor:
    """The three outputs for each item."""
    ids, _ = encoded(tokenizer, items)
    made: Tensor = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
    return made


def accuracy(model: nn.Module, tokenizer: Tokenizer, items: Sequence[Item]) -> float:
    """The share of items whose largest output is right."""
    with torch.inference_mode():
        chosen = logits(model, tokenizer, items).argmax(-1).tolist()
    return sum(LABELS[i] == item.label for i, item in zip(chosen, items, strict=True)) / len(items)
