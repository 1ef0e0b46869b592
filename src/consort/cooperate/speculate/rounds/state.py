"""What the rounds of a speculating model need to know of it, and what they learn for the next call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from consort.cooperate.speculate.drafters.base import DraftSession
from consort.cooperate.speculate.rounds.controller import Controller
from consort.cooperate.speculate.rounds.costs import Costs
from consort.cooperate.speculate.rounds.verify import Lossy
from consort.models.token_model import TokenModel


@dataclass(slots=True)
class Work:
    """What a run needs to know of the model that speculates, and what is remembered from one run to the next.

    `open_drafter(trees)` gives a new draft session, `trees` being whether the target reads trees. With a `clock`
    (seconds) the draft length is chosen up to `gamma_max`, without one it is `gamma`. `costs` are by batch size.
    """

    target: TokenModel
    open_drafter: Callable[[bool], DraftSession]
    gamma: int = 5
    gamma_max: int = 16
    clock: Callable[[], float] | None = None
    lossy: Lossy | None = None
    weight: float = 0.5
    costs: dict[int, Costs] = field(default_factory=dict)
    learned: Controller | None = None

    def controller(self, batch: Callable[[], int]) -> Controller:
        """A controller for a row of a batch that `batch` tells the size of; it goes on from the last finished one."""

        def costs() -> Costs:
            return self.costs.setdefault(batch(), Costs())

        new = Controller(lambda: costs().c, lambda gamma: costs().v(gamma), gamma_max=self.gamma_max)
        if self.learned is not None:
            new.go_on_from(self.learned)
        return new
