"""Teaching one model from a stream of rows, with progress and without losing what an interrupted run had done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from consort.lab.folder import final_name, state_file
from consort.lab.rows import answer_loss, drawer
from consort.lab.streams import Stream
from consort.train.loop import Recipe, fit

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

Report = Callable[[str, int, int], None]
"""Called during training with the model's name, the steps done and the steps in all."""


def learn(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    stream: Stream,
    recipe: Recipe,
    size: int,
    seed: int,
    report: Report,
    *,
    answer_only: bool = True,
    state: Path | None = None,
) -> None:
    """Train on batches of `size` rows of `stream`; the state is kept beside `folder`, so a killed run goes on.

    What is drawn depends on `seed` and the folder's name. `state`: another place for it, for one run of several.
    """
    name = final_name(folder)
    fit(
        model,
        drawer(tokenizer, stream, size, answer_only=answer_only),
        answer_loss,
        recipe,
        seed=f"{seed}:{name}",
        state=state or state_file(folder),
        progress=lambda step, _: report(name, step, recipe.steps),
    )
