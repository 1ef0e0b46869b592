"""A tiny cross-encoder of natural language inference, trained on statements about invented countries."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from consort.lab.architectures import fresh
from consort.lab.folder import CONTEXT, final_name, make, state_file, write_model
from consort.lab.learning import Report
from consort.lab.statements import Item, draw_items
from consort.lab.tokenizers import BOS, EOS, byte_pairs
from consort.train.loop import Recipe, fit

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

LABELS = ("contradiction", "entailment", "neutral")
"""In the order of the outputs, which is not the order in which consort keeps them: it is read from id2label."""
NLI = Recipe(steps=3000, lr=3e-3, weight_decay=0.01)
_PREMISES = 16
_PIECES = 800


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
    items = [item for _ in range(2500) for item in draw_items(rng, 2)[:1]]
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
    """Items whose premises have equally many sentences, mostly one, so that little is padding."""
    size = rng.choices((1, 2, 3), weights=(7, 2, 1))[0]
    return [item for _ in range(_PREMISES) for item in draw_items(rng, size)]


def loss(model: Any, tokenizer: Tokenizer, items: Sequence[Item]) -> Tensor:
    """Cross-entropy (nats) of the label at the end, of what can be said at each word, and of words that follow.

    Up to the word in which a hypothesis differs from its twin all might follow; from there on its label holds. That
    teaches where it goes wrong, and the words of hypotheses that follow teach where in a premise to look; from labels
    alone both are learnt very slowly.
    """
    ids, heads = encoded(tokenizer, items)
    states = model.model(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
    last = states[torch.arange(len(ids)), (ids != 0).sum(1) - 1]
    told = torch.tensor([LABELS.index(item.label) for item in items])
    labels = functional.cross_entropy(model.score(last), told)
    so_far = words_told(tokenizer, items, ids, heads)
    words = functional.cross_entropy(model.score(states[so_far >= 0]), so_far[so_far >= 0])
    follows = torch.tensor([item.label == "entailment" for item in items])
    place = torch.arange(ids.shape[1])[None, :]
    wanted = follows[:, None] & (place >= torch.tensor(heads)[:, None]) & (ids != 0)
    foretold = states[:, :-1][wanted[:, 1:]] @ model.model.embed_tokens.weight.T
    return labels + words + 0.5 * functional.cross_entropy(foretold, ids[:, 1:][wanted[:, 1:]])


def words_told(tokenizer: Tokenizer, items: Sequence[Item], ids: Tensor, heads: Sequence[int]) -> Tensor:
    """The label that holds at each token of hypotheses that have a twin; -1 elsewhere."""
    twins = tokenizer.encode_batch([(item.premise, item.twin or item.hypothesis) for item in items])
    found = torch.full(ids.shape, -1)
    for i, (item, twin) in enumerate(zip(items, twins, strict=True)):
        if item.twin:
            own = ids[i][ids[i] != 0].tolist()
            pairs = enumerate(zip_longest(own, twin.ids))
            apart = next((at for at, (a, b) in pairs if a != b), len(own))
            found[i, heads[i] : apart] = LABELS.index("entailment")
            found[i, apart : len(own)] = LABELS.index(item.label)
    return found


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
