"""A federation about to run: its plan's sections as objects, the model, the clients; all faults are found first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from consort.core.errors import BadParameter, BadPlan, ConsortError, together
from consort.core.files import sha256_of
from consort.core.journal import key_of
from consort.core.kinds import made
from consort.core.params import bind, params_of
from consort.federate.choosing import aggregator_of
from consort.federate.clients.client import ClientMemory, LocalClient
from consort.federate.http.limits import Limits
from consort.federate.plan import FederatePlan, Serve
from consort.federate.privacy.client_level import ClientPrivacy
from consort.federate.rounds import Rounds
from consort.federate.secure.rounds import SecureSum
from consort.federate.splits.cutting import cut
from consort.federate.training.bench import Bench, BenchTrainer, Trainable
from consort.federate.training.options import LocalTraining
from consort.weights.checkpoint import Checkpoint
from consort.weights.stats import fingerprint

Options = TypeVar("Options")


class Setup:
    """The objects of a plan. Raises ConsortError, which names all faults, before the model is loaded."""

    def __init__(self, plan: FederatePlan) -> None:
        self.plan, self.seed = plan, plan.settings.seed
        self.faults: list[ConsortError] = []
        self.trainable = self._section("trainable", Trainable) or Trainable()
        self.train = self._section("train", LocalTraining) or LocalTraining()
        self.limits = self._section("limits", Limits) or Limits()
        self.serve = self._section("serve", Serve)
        self.privacy = self._section("privacy", ClientPrivacy)
        self.secure = self._section("secure", SecureSum)
        self.rounds = replace(self._section("rounds", Rounds) or Rounds(), seed=self.seed)
        self.rule = self._tried(lambda: aggregator_of(plan.aggregator, seed=self.seed), "aggregator")
        self.trainer = self._tried(lambda: made("trainer", plan.trainer, "trainer"), "trainer")
        self._tried(lambda: made("split", plan.split, "split"), "split")
        if self.rule is not None:
            self._check_space()
        if self.faults:
            raise together(self.faults)

    def _section(self, name: str, kind: type[Options]) -> Options | None:
        if name not in self.plan.sections:
            return None

        def build() -> Options:
            return kind(**bind(name, params_of(kind, positional=True), self.plan.sections[name]))

        found: Options | None = self._tried(build, name)
        return found

    def _tried(self, build: Any, name: str) -> Any:
        try:
            return build()
        except ConsortError as fault:
            self.faults.append(fault if fault.field and fault.field.startswith(name) else fault.within(name))
            return None

    @cached_property
    def label(self) -> str:
        """A hash of what the clients' work depends on beside the state: training, split, the data's content."""
        plan = self.plan.to_json()
        kept = {name: plan.get(name) for name in ("trainable", "train", "trainer", "split", "label")}
        files = [self.plan.settings.data, *self.plan.clients.values()]
        return key_of([kept, [sha256_of(Path(file)) for file in files if file]])

    @property
    def fixed(self) -> bool:
        """Whether the run needs coordinates that keep their meaning: then LoRA's A is frozen."""
        return self.rule.rule.space == "fixed" or self.privacy is not None or self.secure is not None

    def _check_space(self) -> None:
        factors = self.rule.rule.space == "factors"
        if factors and (self.trainable.what != "lora" or self.trainable.freeze_a):
            what = f"{self.rule.name} works on both LoRA factors"
            hint = "trainable: {what: lora}, and leave freeze_a out"
            self.faults.append(BadParameter(what, field="aggregator", hint=hint))
        if self.plan.settings.where == "http" and self.serve is None:
            self.faults.append(BadPlan("is missing", field="plan.serve", hint="serve: {tokens: FILE}"))

    def bench(self, base: Checkpoint) -> Bench:
        return Bench(base, self.trainable, seed=self.seed, fixed=self.fixed)

    def files(self, out: Path) -> dict[str, Path]:
        """Every client's own rows."""
        plan = self.plan
        if plan.settings.data is None:
            return {name: Path(str(file)) for name, file in plan.clients.items()}
        folder, label = out / "clients", plan.settings.label
        return cut(Path(plan.settings.data), list(plan.clients), plan.split, folder, label=label, seed=self.seed)

    def client(self, name: str, bench: Bench, file: Path, memory: Path | None) -> LocalClient:
        """A client with its own data on this bench."""
        items = self.trainer.read(file, bench.tokenizer)
        return LocalClient(name, BenchTrainer(bench, self.trainer, items, self.train), ClientMemory(memory))

    def offered(self, base: Checkpoint) -> Mapping[str, Any]:
        """What a client elsewhere must know; no paths, no data, no tokens."""
        plan = self.plan.to_json()
        kept = {name: plan[name] for name in ("model", "trainer", "trainable", "train", "aggregator") if name in plan}
        return kept | {"seed": self.seed, "fixed": self.fixed, "fingerprint": fingerprint(base)}
