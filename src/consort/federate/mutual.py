"""Parties of different architecture and tokenizer teach each other on public texts (FedMKT, arXiv 2406.02224).

A round: clients train on their own data; every party reads the public texts and keeps its likeliest tokens; each is
aligned with whoever reads it; of each text the party with the lowest loss teaches, oneself included (DualMinCE); all
learn .9 of the text's own loss and .1 of that teacher's rows. The server teaches clients and learns from all of them.
No weights leave a party. Losses are compared per byte, since vocabularies differ; the paper's are per token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import Tensor, nn

from consort.core.binding import bound
from consort.core.errors import BadData, BadParameter
from consort.core.journal import Journal, key_of
from consort.core.params import Range
from consort.distil.batches import loss_of, parts
from consort.distil.corpus import Document, corpus_key
from consort.distil.options import Alignment, Function
from consort.distil.pairing import align
from consort.distil.rows import Online, Source
from consort.distil.targets import Fusion, Target, Texts
from consort.federate.aggregators import AGGREGATORS
from consort.federate.local import LocalRule
from consort.federate.low_rank import modules_of
from consort.federate.sampling import seed_of
from consort.federate.state import State, Update, hash_of, read_state, write_state
from consort.federate.training.bench import Bench
from consort.federate.training.local_steps import LocalSteps
from consort.federate.training.options import LocalTraining
from consort.models.hf.loading import load_model
from consort.weights.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Mutual:
    """`rounds` of mutual transfer. `k` rows' tokens are kept; `lam` is the weight of the text's own loss.

    `teacher`: `greater` takes the party of the lowest loss, `weighted` mixes all by their rewards exp(-loss).
    `positions`: alignment by the end of the same bytes, or by the authors' edit distance. `post_fedavg` averages the
    adapters of clients with the same base at the end of a round. The server makes no steps of its own before.
    """

    rounds: Annotated[int, Range(1, 10000)] = 5
    k: Annotated[int, Range(1, 65536)] = 128
    lam: Annotated[float, Range(0, 1)] = 0.9
    temperature: Annotated[float, Range(0.01, 100)] = 1.0
    teacher: Literal["greater", "weighted"] = "greater"
    ce_unit: Literal["byte", "token"] = "byte"
    positions: Literal["end_offset", "official"] = "end_offset"
    tail: Literal["renormalise", "bucket"] = "renormalise"
    post_fedavg: bool = False
    seed: Annotated[int, Range(0, 4294967295)] = 0


bound(Mutual, "mutual")
PUBLIC = LocalTraining(steps=10, batch=16, lr=3e-5, betas=(0.9, 0.95), weight_decay=0.1)
"""How parties learn from public texts by default: the paper's rate and optimiser."""


@dataclass(frozen=True, slots=True)
class Party:
    """One model with its adapter, its own texts (none for the server), and how it trains on both kinds."""

    name: str
    bench: Bench
    own: Sequence[Document] = ()
    private: LocalTraining = PUBLIC
    public: LocalTraining = PUBLIC

    def model(self, state: State) -> Checkpoint:
        return self.bench.trained(state)


@dataclass(frozen=True, slots=True)
class Taught:
    """The adapters' states by party, and for each round and reader how many texts each teacher had."""

    states: Mapping[str, State]
    chosen: Sequence[Mapping[str, Mapping[str, int]]]


def mutual(
    server: Party,
    clients: Sequence[Party],
    public: Sequence[Document],
    folder: Path,
    options: Mutual = Mutual(),
    *,
    told: Callable[[str], None] = lambda text: None,
) -> Taught:
    """Run the rounds in a folder; killed and called again it goes on with the next round.

    Raises BadData where nothing of the public texts is learnt, BadParameter for two parties of one name.
    """
    everybody = [server, *clients]
    names = [party.name for party in everybody]
    if len(set(names)) < len(names):
        raise BadParameter("two parties have one name", field="clients", hint="name each once")
    if not any(document.spans for document in public):
        raise BadData(
            "nothing of the public texts is learnt", field="public", hint="give texts, or prompts and targets"
        )
    key = key_of([names, str(options), corpus_key(public), [hash_of(party.bench.first) for party in everybody]])
    journal = Journal(folder, key, sound=lambda line: "round" in line, ordered=True)
    done = journal.open()
    states = {party.name: dict(party.bench.first) for party in everybody}
    if done:
        states = {name: read_state(_file(folder, name, done[-1]["round"])) for name in names}
    chosen = [line["chosen"] for line in done]
    for number in range(len(done), options.rounds):
        told(f"round {number + 1} of {options.rounds}")
        states, counts = _round(server, clients, public, states, folder, options, number)
        for name, state in states.items():
            write_state(_file(folder, name, number), state)
        journal.append({"round": number, "chosen": counts})
        chosen.append(counts)
    return Taught(states, chosen)


def _file(folder: Path, name: str, number: int) -> Path:
    return folder / "states" / f"{name}-{number:04}.safetensors"


def _round(
    server: Party,
    clients: Sequence[Party],
    public: Sequence[Document],
    states: Mapping[str, State],
    folder: Path,
    options: Mutual,
    number: int,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, int]]]:
    trained = {party.name: _trained_alone(party, states[party.name], options, number) for party in clients}
    trained[server.name] = dict(states[server.name])
    rows = {p.name: Online(load_model(p.model(trained[p.name])), options.k) for p in (server, *clients)}
    after, counts = {}, {}
    for reader in (server, *clients):
        teachers = clients if reader is server else [server]
        fusion = fusion_of(reader, teachers, rows, public, folder, options)
        targets = [fusion.target(document) for document in public]
        counts[reader.name] = count_of(targets, [reader.name, *(t.name for t in teachers)])
        seed = seed_of(options.seed, "public", number, reader.name)
        after[reader.name] = taught(reader, trained[reader.name], targets, options.lam, seed)
    return (_averaged(clients, after) if options.post_fedavg else after), counts


def _trained_alone(party: Party, state: State, options: Mutual, number: int) -> dict[str, Tensor]:
    """A client after its steps on its own texts."""
    texts = Texts(party.bench.tokenizer)
    items = [texts.target(document) for document in party.own]
    seed = seed_of(options.seed, "private", number, party.name)
    return taught(party, state, items, 1.0, seed, party.private) if items else dict(state)


def fusion_of(
    reader: Party,
    teachers: Sequence[Party],
    rows: Mapping[str, Source],
    public: Sequence[Document],
    folder: Path,
    options: Mutual,
) -> Fusion:
    """What the reader learns of each public text: DualMinCE among itself and the teachers."""
    alignment = Alignment(positions=options.positions, unaligned="one_hot")
    function = Function(
        function="min_ce" if options.teacher == "greater" else "avg_ce",
        unit="sample",
        ce_unit=options.ce_unit,
        tail=options.tail,
        temperature=options.temperature,
    )
    sources: list[tuple[Source, Any]] = []
    for teacher in teachers:
        place = folder / "pairs" / f"{teacher.name}-for-{reader.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        pair = align(reader.bench.tokenizer, teacher.bench.tokenizer, public, place, alignment)
        sources.append((rows[teacher.name], pair))
    return Fusion(reader.bench.tokenizer, rows[reader.name], sources, function, alignment, documents=public)


def count_of(targets: Sequence[Target], names: Sequence[str]) -> dict[str, int]:
    """How many texts each candidate teaches."""
    counts = Counter(int(choice) for target in targets for choice in target.chosen)
    return {name: counts[place] for place, name in enumerate(names) if counts[place]}


def taught(
    party: Party, state: State, targets: Sequence[Target], lam: float, seed: int, options: LocalTraining | None = None
) -> dict[str, Tensor]:
    """The party's state after steps on targets: `lam` of the texts' loss, the rest of the teachers'."""

    def loss(module: nn.Module, items: Sequence[Target]) -> Tensor:
        (batch,) = parts(items, lam, len(items))
        return loss_of(module, batch).sum()

    learnt = [target for target in targets if len(target.at)]
    if not learnt:
        return dict(state)
    steps = LocalSteps(party.bench.weights, learnt, loss, options or party.public)
    return dict(steps.run(state, LocalRule(), {}, {}, seed=seed).trained.end)


def _averaged(clients: Sequence[Party], states: Mapping[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Clients of one base and one form of adapter get the mean of their products, or of all their weights."""
    groups: dict[str, list[Party]] = {}
    for party in clients:
        groups.setdefault(hash_of(party.bench.first) + party.bench.base.name, []).append(party)
    found = dict(states)
    for group in groups.values():
        if len(group) > 1:
            updates = [Update(party.name, states[party.name], max(1, len(party.own))) for party in group]
            rule = AGGREGATORS.get("svd_lora" if modules_of(group[0].bench.first) else "fedavg")()
            mean, _ = rule(group[0].bench.first, updates)
            found |= {party.name: dict(mean) for party in group}
    return found
