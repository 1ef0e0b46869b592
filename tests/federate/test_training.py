"""What clients train, on a real model: factors, all weights, prompts; texts and pairs; private gradients."""

from __future__ import annotations

import json
import logging

import pytest
import torch

from consort.core.errors import BadData, Incompatible
from consort.distil.corpus import answered
from consort.federate import Federation, Update, aggregator_of
from consort.federate.clients.client import LocalClient, RoundTask
from consort.federate.local import LocalRule
from consort.federate.low_rank import factors_of, modules_of
from consort.federate.prompted import PromptedModel, open_prompt
from consort.federate.rounds import Rounds
from consort.federate.state import RESIDUAL, hash_of, packed
from consort.federate.training.bench import Bench, BenchTrainer, Trainable
from consort.federate.training.dpo import Dpo
from consort.federate.training.options import LocalTraining
from consort.federate.training.sft import Sft
from consort.lab import path
from consort.models.hf.loading import load_model
from consort.weights import open_checkpoint

DOCUMENTS = [answered(f"mirror a b {c} =", f" {c} b a") for c in "cdefgh"]
QUICK = LocalTraining(steps=2, batch=4, lr=1e-3)


@pytest.fixture(scope="module")
def base():
    return open_checkpoint(path("base"))


def bench(base, **chosen) -> Bench:
    return Bench(base, Trainable(rank=2, alpha=4, **chosen))


def trainer(own: Bench, options: LocalTraining = QUICK) -> BenchTrainer:
    return BenchTrainer(own, Sft(), Sft().targets(DOCUMENTS, own.tokenizer), options)


def fit(own: Bench, state=None, options: LocalTraining = QUICK, rule: LocalRule | None = None, seed: int = 1):
    return trainer(own, options).train(own.first if state is None else state, rule or LocalRule(), {}, {}, seed=seed)


@pytest.mark.parametrize("what", ["lora", "full", "prompt"])
def test_training_lowers_the_loss_repeats_itself_and_leaves_the_rest(what, base) -> None:
    own = bench(base) if what == "lora" else Bench(base, Trainable(what=what, length=3))
    frozen = {n: p.clone() for n, p in own.model.module.named_parameters() if not p.requires_grad}
    long = LocalTraining(steps=8, batch=6, lr=3e-3)
    one, other = fit(own, options=long), fit(own, options=long)
    assert hash_of(one.trained.end) == hash_of(other.trained.end) != hash_of(own.first)
    assert one.metrics["last_loss"] < one.metrics["loss"]
    assert all(torch.equal(frozen[n], dict(own.model.module.named_parameters())[n]) for n in frozen)


def test_a_saved_adapter_is_the_trained_model(base, tmp_path) -> None:
    own = bench(base)
    state = fit(own, options=LocalTraining(steps=4, batch=6, lr=1e-2)).trained.end
    assert own.save(state, tmp_path / "model") == "adapter"
    wanted = own.trained(state)
    laid = open_checkpoint(tmp_path / "model", base=base)
    changed = [name for name in wanted.keys() if not torch.equal(wanted[name].float(), base[name].float())]
    assert len(changed) == 28
    for name in changed[:4]:
        assert (laid[name].float() - wanted[name].float()).abs().max() < 1e-4  # the base is in 16 bits


@pytest.mark.parametrize("rule", ["svd_lora", "fedex_lora", "flora_stack", "ties"])
def test_products_stay_exact_over_rounds(rule, base, tmp_path) -> None:
    """What clients start from is what the server has: the model of a state is that of its products and residuals."""
    own = bench(base)
    state = own.first
    memory = {}
    rule = aggregator_of(rule)
    for round in range(2):
        updates = []
        for name in "ab":
            task = RoundTask(round, seed=round * 2 + (name == "b"))
            updates.append(LocalClient(name, trainer(own)).fit(state, task))
        state, memory = rule(state, updates, memory, round=round)
    module = modules_of(state)[0]
    whole = factors_of(state, module).product()
    whole = whole + state[module + RESIDUAL].double() if module + RESIDUAL in state else whole
    name = module.removeprefix("base_model.model.") + ".weight"
    assert (own.trained(state)[name].double() - base[name].double() - whole).abs().max() < 1e-6
    assert own.save(state, tmp_path / "m") == ("adapter" if rule.name == "svd_lora" else "model")


def test_frozen_a_sends_half_and_averages_exactly(base) -> None:
    own, both = Bench(base, Trainable(rank=2), fixed=True), bench(base)
    assert not any("lora_A" in name for name in own.first)
    assert len(packed(own.first)) < 0.6 * len(packed(both.first)) or len(own.first) * 2 == len(both.first)
    states = [fit(own, seed=s).trained.end for s in (1, 2)]
    mean = aggregator_of("fedavg")(own.first, [Update(str(i), s) for i, s in enumerate(states)])[0]
    dense = [own.trained(s) for s in (*states, mean)]
    name = "model.layers.0.mlp.up_proj.weight"
    assert ((dense[0][name].double() + dense[1][name].double()) / 2 - dense[2][name].double()).abs().max() < 1e-6


def test_clients_of_other_ranks_and_scales(base) -> None:
    small, large = Bench(base, Trainable(rank=2, alpha=2)), Bench(base, Trainable(rank=4, alpha=16))
    states = [fit(b, small.first).trained.end for b in (small, large)]
    ups = [Update(n, s) for n, s in zip("ab", states, strict=True)]
    found = aggregator_of("svd_lora")(small.first, ups)[0]
    assert found["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"].shape[0] == 2
    name = "model.layers.0.mlp.up_proj.weight"
    own = [b.trained(s)[name] - base[name].float() for b, s in zip((small, large), states, strict=True)]
    products = [factors_of(s, "base_model.model.model.layers.0.mlp.up_proj").product() for s in states]
    assert all((o - p).abs().max() < 1e-6 for o, p in zip(own, products, strict=True))


def test_the_penalty_of_fedprox_holds_near(base) -> None:
    own = bench(base)
    free = fit(own, options=LocalTraining(steps=6, batch=6, lr=1e-2)).trained
    rule = aggregator_of({"fedprox": {"mu": 100.0}}).local()
    held = fit(own, options=LocalTraining(steps=6, batch=6, lr=1e-2), rule=rule).trained
    apart = [sum(float((t.end[n] - t.start[n]).square().sum()) for n in t.end) for t in (free, held)]
    assert apart[1] < 0.8 * apart[0]


def test_scaffold_is_plain_descent_unless_told_otherwise(base, caplog) -> None:
    own = Bench(base, Trainable(rank=2, alpha=2), fixed=True)
    rule = aggregator_of("scaffold").local()
    done = fit(own, options=LocalTraining(steps=3, batch=6, lr=0.1), rule=rule).trained
    assert done.plain and done.steps == 3 and done.rates == pytest.approx(0.3)
    with caplog.at_level(logging.WARNING):
        adam = fit(own, options=LocalTraining(steps=2, batch=6, lr=1e-3, optimizer="adamw"), rule=rule).trained
    assert not adam.plain and "control variates" in caplog.text
    # the mean gradient is what the formula for plain descent gives, within rounding
    sgd = fit(own, options=LocalTraining(steps=3, batch=6, lr=0.1, clip=999999.0), rule=rule).trained
    for name in list(done.end)[:3]:
        exact = (done.start[name].double() - done.end[name].double()) / done.rates
        assert (exact - sgd.gradient[name].double()).abs().max() < 1e-4


def test_clipped_examples_move_less(base) -> None:
    own = bench(base)
    free = LocalTraining(steps=1, batch=6, lr=1.0, optimizer="sgd")
    tight = LocalTraining(steps=1, batch=6, lr=1.0, optimizer="sgd", clip_sample=1e-3)
    moved = []
    for options in (free, tight):
        done = fit(own, options=options).trained
        b = [n for n in done.end if "lora_B" in n]
        moved.append(sum(float(((done.end[n] - done.start[n]) / 2).square().sum()) for n in b) ** 0.5)
    assert moved[1] <= 1.001e-3 < moved[0]
    noised = LocalTraining(steps=2, batch=2, lr=1e-3, clip_sample=1.0, noise_sample=1.0)
    assert fit(own, options=noised).metrics["epsilon_of_round"] > 0


def test_pairs_teach_what_is_better(base, tmp_path) -> None:
    rows = [{"prompt": f"mirror a b {c} =", "chosen": f"{c} b a", "rejected": f"a b {c}"} for c in "cdef"]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own, dpo = bench(base), Dpo(beta=1.0)
    pairs = dpo.read(tmp_path / "pairs.jsonl", own.tokenizer)
    made = BenchTrainer(own, dpo, pairs, LocalTraining(steps=6, batch=4, lr=3e-3))
    done = made.train(own.first, LocalRule(), {}, {}, seed=0)
    assert done.metrics["loss"] == pytest.approx(0.6931, abs=1e-3) and done.metrics["last_loss"] < 0.6
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "chosen": "b"}')
    with pytest.raises(BadData, match="rejected"):
        dpo.read(tmp_path / "bad.jsonl", own.tokenizer)


def test_prompts_are_averaged_and_the_base_stays(base, tmp_path) -> None:
    own = Bench(base, Trainable(what="prompt", length=3))
    before = {n: p.clone() for n, p in own.model.module.state_dict().items()}
    clients = [LocalClient(n, trainer(own, LocalTraining(steps=2, batch=4, lr=0.05))) for n in "ab"]
    clients[1].trainer.items = clients[1].trainer.items[:2]
    states = [c.fit(own.first, RoundTask(0, seed=5)) for c in clients]
    found = Federation(own.first, clients, rounds=Rounds(seed=0)).run()
    mean = aggregator_of("fedavg")(own.first, states)[0]["prompt"]
    exact = sum(u.samples * u.state["prompt"].double() for u in states) / sum(u.samples for u in states)
    assert (mean - exact).abs().max() < 1e-6
    assert all(torch.equal(before[n], own.model.module.state_dict()[n]) for n in before)
    assert own.save(found.state, tmp_path) == "prompt"
    model, direct = open_prompt(base, tmp_path), own.weights
    direct.load(found.state)
    ids = own.tokenizer.encode("mirror a b c =")
    wanted = direct.module(input_ids=torch.tensor([ids])).logits[0]
    session = model.open(2)
    rows = session.feed([ids[:2], ids])
    assert (torch.cat([rows[0], session.feed([ids[2:], []])[0]]) - wanted).abs().max() < 1e-3
    session.rollback([1, 2])
    assert (session.feed([ids[1:], ids[2:]], last=True)[1] - wanted[-1:]).abs().max() < 1e-3
    assert model.generate(["mirror a b c ="])[0].text
    with pytest.raises(Incompatible):
        PromptedModel(base, torch.zeros(3, 7))


def test_a_prompt_of_sixteen_vectors_is_128_kibibytes_in_sixteen_bit() -> None:
    prompt = torch.zeros(16, 4096, dtype=torch.float16)
    assert prompt.numel() * prompt.element_size() == 131_072
    assert 131_072 <= len(packed({"prompt": prompt})) < 131_072 + 200


def test_residuals_are_taken_back(base) -> None:
    """A bench that has read a state with residuals reads one without as it was."""
    own = bench(base)
    first = fit(own).trained.end
    module = modules_of(own.first)[0]
    name = module.removeprefix("base_model.model.") + ".weight"
    own.weights.load({**own.first, module + RESIDUAL: torch.ones_like(base[name].float())})
    assert hash_of(fit(own).trained.end) == hash_of(first)
    assert load_model(base) is not None
