"""What an abstractive compressor learns: to write what makes a reader surer of the right answer, else nothing.

RECOMP (2310.04408, section 3.2): of a text's summaries the one is the target under which log p(answer) is largest, and
the empty text where none does better than no text at all.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from consort.cooperate.compress.parts import TOUCHED
from consort.cooperate.compress.rewriting import asked
from consort.cooperate.compress.roles import Divided, parts_of
from consort.cooperate.compress.soft.encoder import Encoder, check_reader, frozen, pad, read_state, reader_hash
from consort.cooperate.compress.soft.prompted import answer_loss
from consort.cooperate.compress.units import sentences
from consort.core.errors import BadData, Unsupported
from consort.train.loop import Recipe, fit
from consort.train.lora import Lora, LoraLinear

MODE = "abstractive"
BATCH = 8


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked about a text, and what shall be written: nothing where nothing helps."""

    asked: str
    summary: str


def targets(
    prompts: Sequence[Any],
    answers: Sequence[str],
    reader: Any,
    write: Callable[[Sequence[str]], list[str]],
    rate: float = 1.0,
) -> list[Target]:
    """For every text of every prompt the summary that helps `reader` most to the answer, or the empty one.

    Candidates are what `write` makes of the question about a text and its single sentences, if no longer than `rate` of
    the text's characters. Each text is judged as if it were the only one of its prompt.
    """
    if not hasattr(reader, "score"):
        hint = "learn with a model or a strategy on token level as the reader"
        raise Unsupported(f"{reader.name} has no log-likelihoods", field="model", hint=hint)
    found: list[Target] = []
    for prompt, answer in zip(prompts, answers, strict=True):
        divided = parts_of(prompt)
        places = [i for i, part in enumerate(divided.parts) if part.role in TOUCHED and part.text.strip()]
        questions = [asked(divided.parts[i].text, divided.question) for i in places]
        for place, question, own in zip(places, questions, write(questions) if questions else [], strict=True):
            best = _best(divided, place, own, answer, reader, rate)
            found.append(Target(question, best))
    return found


def _best(divided: Divided, place: int, written: str, answer: str, reader: Any, rate: float) -> str:
    text = divided.parts[place].text
    singles = [text[a:b].strip() for a, b in sentences(text)]
    most = max(rate * len(text), min(map(len, singles), default=0))
    candidates = ["", *dict.fromkeys(c for c in (written, *singles) if c and len(c) <= most)]
    pairs = [(_prompt(divided, place, candidate), answer) for candidate in candidates]
    pairs = [(head, tail if head[-1:].isspace() or tail[:1].isspace() else f" {tail}") for head, tail in pairs]
    values = list(reader.score(pairs))
    return candidates[max(range(len(values)), key=lambda i: (values[i], -i))]


def _prompt(divided: Divided, place: int, summary: str) -> str:
    """The prompt with this summary as its only context."""
    texts = ["" if part.role in TOUCHED else part.text for part in divided.parts]
    original = divided.parts[place].text
    texts[place] = summary + original[len(original.rstrip()) :] if summary else ""
    return str(divided.join(texts))


def learn(
    model: Any, taught: Sequence[Target], file: Path, *, rank: int, steps: int, lr: float, seed: int
) -> dict[str, Any]:
    """Teach a delta of `rank` to write the targets; only the delta is written to `file`, with the model's hash."""
    check_reader(model, MODE)
    rows = [(list(model.tokenizer.encode(one.asked)), _ending(model, one.summary)) for one in taught]
    window = model.window
    fitting = [row for row in rows if window is None or len(row[0]) + len(row[1]) <= window]
    if not fitting:
        raise BadData("no text fits into the window with its question", field=model.name, hint="shorter contexts")
    encoder = _encoder(model, rank, seed)

    def loss(module: nn.Module, batch: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        assert isinstance(module, Encoder)
        tokens = pad([torch.tensor([*head, *tail], device=model.device) for head, tail in batch])
        with module.switched(True) as inner:
            logits = inner(input_ids=tokens, use_cache=False).logits
        ends = [len(head) + len(tail) for head, tail in batch]
        return answer_loss([row[:n] for row, n in zip(logits, ends, strict=True)], [tail for _, tail in batch])

    def drawn(rng: random.Random) -> list[tuple[list[int], list[int]]]:
        return [fitting[rng.randrange(len(fitting))] for _ in range(BATCH)]

    training = file.with_name(file.name + ".training")
    with frozen(model.module):
        last = fit(encoder, drawn, loss, Recipe(steps, lr), seed=f"{MODE} {rank} {seed}", state=training, every=100)
    encoder.save(file, mode=MODE, reader=reader_hash(model.module), facts={})
    training.unlink(missing_ok=True)
    empty = sum(not one.summary for one in taught)
    return {"targets": len(taught), "empty": empty, "too_long": len(rows) - len(fitting), "loss": last}


def _ending(model: Any, summary: str) -> list[int]:
    """The tokens of a summary after the question for it, and the one that ends an answer."""
    end = model.tokenizer.eos
    if end is None:
        raise Unsupported("has no token that ends an answer", field=model.name, hint="take a model that has one")
    return [*(model.tokenizer.encode(f" {summary}", special=False) if summary else ()), end]


def _encoder(model: Any, rank: int, seed: int) -> Encoder:
    return Encoder(model.module, 0, Lora(rank=rank, alpha=2.0 * rank), seed)


def taught_model(model: Any, file: str, rank: int) -> Any:
    """The model with a learned delta in its weights. Raises BadCheckpoint, Incompatible for another model's."""
    from consort.models.hf.model import HFModel

    check_reader(model, MODE)
    tensors, _ = read_state(file, mode=MODE, reader=reader_hash(model.module))
    encoder = _encoder(model, rank, 0)
    encoder.load(tensors, file)
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        for name, part in encoder.module.named_modules():
            if isinstance(part, LoraLinear):
                delta = encoder.scale * (part.lora_B @ part.lora_A)
                module.get_submodule(name).weight.add_(delta.to(part.layer.weight))
    return HFModel(model.name, module, model.tokenizer, ends=model.ends)
