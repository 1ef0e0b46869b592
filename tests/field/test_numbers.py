"""Cases from the field: numbers of statistics and of zoos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consort import lab
from consort.cli.border import run
from consort.merge.collect.collectors import fisher
from consort.merge.collect.run import at_work, collect
from consort.weights import open_folder
from consort.zoo import Similarities, find_harmful

TEXTS = ["mirror a b c = c b a <eos>", "order d b a = a b d <eos>"]
NORM = "model.norm.weight"


def by_position(model, rows, labels) -> torch.Tensor:
    """The mean of squares, position by position, over labels (position) or all labels by their probability (None)."""
    weight, squares, positions = model.module.get_parameter(NORM), torch.zeros(128), 0
    weight.requires_grad_(True)
    for number, row in enumerate(rows):
        logs = model.module(input_ids=row).logits[0, :-1].log_softmax(-1)
        positions += len(logs)
        for t, log in enumerate(logs):
            for label in range(len(log)) if labels is None else [int(labels[number][t])]:
                share = float(log[label].detach().exp()) if labels is None else 1.0
                [slope] = torch.autograd.grad(log[label], [weight], retain_graph=True)
                squares += share * slope.square()
    weight.requires_grad_(False)
    return squares / positions


def test_G2_empirical_fisher_is_the_mean_of_each_positions_square(tmp_path: Path) -> None:
    base = open_folder(lab.path("base"))
    collect("fisher", base, TEXTS, tmp_path / "f", labels="empirical")
    model = at_work(base, None)
    rows = [torch.tensor([model.tokenizer.encode(text)]) for text in TEXTS]
    wanted = by_position(model, rows, [row[0, 1:] for row in rows])
    torch.testing.assert_close(open_folder(tmp_path / "f")[NORM], wanted, rtol=1e-4, atol=1e-9)


def test_G2_sampled_fisher_has_the_mean_of_each_positions_square() -> None:
    model = at_work(open_folder(lab.path("base")), None)
    rows = [torch.tensor([model.tokenizer.encode(TEXTS[0])])]
    generator = torch.Generator().manual_seed(0)
    parameters = {NORM: model.module.get_parameter(NORM)}

    def drawing(row: int, count: int) -> torch.Tensor:
        return torch.rand(count, generator=generator)

    drawn = torch.stack([fisher(model.module, parameters, rows, drawing, lambda _: None)[NORM] for _ in range(300)])
    wanted = by_position(model, rows, None)
    error = drawn.sum(1).std() / 300**0.5
    assert float(drawn.sum(1).mean()) == pytest.approx(float(wanted.sum()), abs=4 * float(error))
    assert torch.corrcoef(torch.stack([drawn.mean(0), wanted]))[0, 1] > 0.9


def zoo(norms: list[float], cosine: float = 0.1) -> Similarities:
    count = len(norms)
    table = tuple(tuple(1.0 if i == j else cosine for j in range(count)) for i in range(count))
    return Similarities(tuple("abcdefg"[:count]), (tuple(range(count)),), table, table, tuple(norms), "a")


def test_G3_a_base_that_scores_nothing_hides_no_harm() -> None:
    norms = [0.0, 1.0, 1.1, 0.9, 1.0, 5.0]
    even, uneven = [0.0, 0.5, 0.55, 0.45, 0.5, 0.0], [0.0, 0.9, 0.1, 0.5, 0.3, 0.0]
    for scores in (even, uneven):  # below the median; too spread for that, but it went far for nothing
        [found] = find_harmful(zoo(norms), scores, base=0)
        assert found.model == 5 and "5.0 times as long as usual" in found.reason
    assert not find_harmful(zoo(norms), [0.0, 0.9, 0.1, 0.5, 0.3, 0.4], base=0)
    assert not find_harmful(zoo([0.0, 1.0, 1.1, 0.9, 1.0, 1.2]), even, base=0)


def test_G6_the_base_has_no_cosine_of_differences(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zoo", "similarity", "lab:base", "lab:mirror", "--base", "lab:base"]) == 0
    [*_, base, mirror] = capsys.readouterr().out.strip().splitlines()
    assert base.split() == ["base", "–", "–"] and mirror.split() == ["mirror", "–", "1.0000"]
