"""A tiny cross-encoder of natural language inference, trained on statements about invented countries."""

from __future__ import annotations

import random
from collections.abc import Sequence
from difflib import SequenceMatcher
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
NLI = Recipe(steps=2000, lr=2e-3, weight_decay=0.01)
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
        single=f"{BOS} $A", pair=f"{BOS} $A {EOS} $B:1", special_tokens=[(BOS, 1), (EOS, 2)]
    )
    return tokenizer


def _spread(text: str) -> list[str]:
    """Words, and of numbers the figures one by one, so that no piece is learnt that holds two figures."""
    return [part for word in text.split() for part in (word if word.isdigit() else (word,))]


def classifier(vocabulary: int, *, seed: int, hidden: int = 64, layers: int = 3) -> PreTrainedModel:
    """An encoder of three layers by 64, normed before each block, without dropout.

    The first layer begins with a token looking at its like in the other text: keys are the queries mirrored along the
    direction in which the two texts' type vectors differ. From there the rest is learnt in minutes.
    """
    from transformers import RobertaPreLayerNormConfig, RobertaPreLayerNormForSequenceClassification

    config = RobertaPreLayerNormConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=CONTEXT + 1,
        type_vocab_size=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )

    def build() -> PreTrainedModel:
        made = RobertaPreLayerNormForSequenceClassification(config)
        encoder = made.roberta_prelayernorm
        towards = functional.normalize(torch.randn(hidden), dim=0)
        first = encoder.encoder.layer[0].attention.self
        with torch.no_grad():
            size = encoder.embeddings.word_embeddings.weight.norm(dim=1).mean()
            encoder.embeddings.token_type_embeddings.weight.copy_(torch.stack([towards, -towards]) * size)
            encoder.embeddings.position_embeddings.weight.mul_(0.3)
            first.query.weight.normal_(0, 0.15)
            first.key.weight.copy_(first.query.weight - 2 * (first.query.weight @ towards)[:, None] * towards[None, :])
        return made

    return fresh(build, seed)


def draw_batch(rng: random.Random) -> list[Item]:
    """Items whose premises have equally many sentences, mostly one, so that little is padding."""
    size = rng.choices((1, 2, 3), weights=(7, 2, 1))[0]
    return [item for _ in range(_PREMISES) for item in draw_items(rng, size)]


def loss(model: Any, tokenizer: Tokenizer, items: Sequence[Item]) -> Tensor:
    """Cross-entropy (nats) of the label, and of what is wrong with each word of a hypothesis that has a twin.

    A word that its twin has too is right; another is what the label says. That teaches which words to compare; from
    labels alone it is learnt very slowly.
    """
    read = encoded(tokenizer, items)
    states = model.roberta_prelayernorm(**read).last_hidden_state
    told = torch.tensor([LABELS.index(item.label) for item in items])
    labels = functional.cross_entropy(model.classifier(states), told)
    each = words_told(tokenizer, items, read["input_ids"].shape[1])
    head = model.classifier
    scores = head.out_proj(torch.tanh(head.dense(states[each >= 0])))
    return labels + functional.cross_entropy(scores, each[each >= 0])


def encoded(tokenizer: Tokenizer, items: Sequence[Item]) -> dict[str, Tensor]:
    """What the model reads: tokens, their types (0 the premise's, 1 the hypothesis'), and which are no padding."""
    rows = tokenizer.encode_batch([(item.premise, item.hypothesis) for item in items])
    width = max(len(row.ids) for row in rows)
    ids, types = (
        torch.tensor([list(one) + [0] * (width - len(one)) for one in each])
        for each in ([row.ids for row in rows], [row.type_ids for row in rows])
    )
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": (ids != 0).long()}


def words_told(tokenizer: Tokenizer, items: Sequence[Item], width: int) -> Tensor:
    """The label of each token of hypotheses that have a twin, entailment where the twin has it too; -1 elsewhere."""
    own = tokenizer.encode_batch([(item.premise, item.hypothesis) for item in items])
    twins = tokenizer.encode_batch([(item.premise, item.twin or item.hypothesis) for item in items])
    found = torch.full((len(items), width), -1)
    for i, (item, one, twin) in enumerate(zip(items, own, twins, strict=True)):
        if not item.twin:
            continue
        begin = one.type_ids.index(1)
        said, meant = one.ids[begin:], twin.ids[begin:]
        for tag, _, _, a, b in SequenceMatcher(None, meant, said, autojunk=False).get_opcodes():
            found[i, begin + a : begin + b] = LABELS.index("entailment" if tag == "equal" else item.label)
    return found


def logits(model: nn.Module, tokenizer: Tokenizer, items: Sequence[Item]) -> Tensor:
    """The three outputs for each item."""
    made: Tensor = model(**encoded(tokenizer, items)).logits
    return made


def accuracy(model: nn.Module, tokenizer: Tokenizer, items: Sequence[Item]) -> float:
    """The share of items whose largest output is right."""
    with torch.inference_mode():
        chosen = logits(model, tokenizer, items).argmax(-1).tolist()
    return sum(LABELS[i] == item.label for i, item in zip(chosen, items, strict=True)) / len(items)
