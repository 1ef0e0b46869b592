"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290) on a client's own pairs of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from consort.core.errors import BadData
from consort.core.params import Range
from consort.data.rows import parse_object, read_lines
from consort.distil.corpus import answered
from consort.distil.targets import Target, Texts
from consort.federate.training import trainer
from consort.models.base import Tokenizer
from consort.train.losses import dpo, surprisal


@dataclass(eq=False, slots=True)
class Pair:
    """The better and the worse answer to a prompt, and what the reference model thinks of both (nats)."""

    chosen: Target
    rejected: Target
    reference: tuple[float, float] | None = None


@trainer(paper="2305.18290")
class Dpo:
    """Raises the odds of the better of two answers over the model as it was at first; rows {prompt, chosen, rejected}.

    `beta` holds the model near that; `normalised` divides each answer's log-ratio by its number of tokens.
    """

    def __init__(
        self,
        *,
        beta: Annotated[float, Range(0.000001, 1000000)] = 0.1,
        normalised: bool = False,
        separator: str = " ",
    ) -> None:
        self.beta, self.normalised, self.separator = beta, normalised, separator

    def read(self, path: Path, tokenizer: Tokenizer) -> list[Pair]:
        """A JSONL file of pairs. Raises BadData with the line."""
        texts, found = Texts(tokenizer), []
        for number, line in read_lines(Path(path)):
            row, where = parse_object(line, f"{path}:{number}"), f"{path}:{number}"
            head, better, worse = (self._text(row, name, where) for name in ("prompt", "chosen", "rejected"))
            one, other = (texts.target(answered(head, self.separator + answer)) for answer in (better, worse))
            found.append(Pair(one, other))
        return found

    def _text(self, row: dict[str, Any], name: str, where: str) -> str:
        if not isinstance(row.get(name), str) or not row[name]:
            raise BadData("is no text", field=f"{where}: {name}", hint="a line is {prompt, chosen, rejected}")
        return str(row[name])

    @torch.no_grad()
    def prepare(self, module: nn.Module, items: Sequence[Pair]) -> None:
        """The reference is the module as it is now, before the first round."""
        module.eval()
        for pair in items:
            if pair.reference is None:
                one, other = logprobs(module, [pair.chosen, pair.rejected]).tolist()
                pair.reference = one, other

    def loss(self, module: nn.Module, items: Sequence[Pair]) -> Tensor:
        """The mean of -log sigmoid(beta (r_w - r_l))."""
        own = logprobs(module, [pair.chosen for pair in items] + [pair.rejected for pair in items])
        known = torch.tensor([pair.reference for pair in items], device=own.device)
        ratio = own.view(2, -1).T - known
        lengths = {}
        if self.normalised:
            sizes = [[len(pair.chosen.at), len(pair.rejected.at)] for pair in items]
            won, lost = torch.tensor(sizes, device=own.device).T
            lengths = {"chosen_length": won, "rejected_length": lost}
        return dpo(ratio[:, 0], ratio[:, 1], beta=self.beta, **lengths)


def logprobs(module: nn.Module, targets: Sequence[Target]) -> Float[Tensor, " document"]:
    """Summed log-probability (nats) of what is learnt of each document."""
    place = next(module.parameters()).device
    width = max(len(target.tokens) for target in targets)
    ids = [nn.functional.pad(torch.from_numpy(t.tokens), (0, width - len(t.tokens))) for t in targets]
    tokens = torch.stack(ids).to(place)
    logits = module(input_ids=tokens, use_cache=False).logits
    found = surprisal(logits[:, :-1].flatten(0, 1), tokens[:, 1:].reshape(-1, 1)).view(len(targets), width - 1)
    return torch.stack([-found[row, torch.from_numpy(t.at).to(place)].sum() for row, t in enumerate(targets)])
