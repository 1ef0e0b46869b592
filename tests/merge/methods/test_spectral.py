"""Methods that look at singular directions: numbers computed in two ways, and what holds for all of them."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.merge import merge, methods
from consort.merge.methods.ace import far_apart
from consort.merge.spectral.polar import polar
from consort.weights.decomposition import KEPT, decompose, energy_rank

D1 = torch.tensor([[3.0, 1], [0, 1], [2, 0]])
D2 = torch.tensor([[1.0, -2], [2, 1], [0, 1]])
BOTH = torch.stack((D1, D2))
A = torch.tensor([[4.0, 1, 0, 1], [0, 3, 1, 0], [2, 0, 1, 0], [1, 0, 0, 2]])
B = torch.tensor([[1.0, 0, 2, 0], [1, 2, 0, 0], [0, 1, 3, 1], [0, 0, 1, -1]])
LORA = (torch.tensor([[1.0], [0], [2]]) @ torch.tensor([[1.0, 1, 0, 0]]),
        torch.tensor([[0.0, 1], [1, 0], [1, 1]]) @ torch.tensor([[0.0, 1, 0, 1], [1, 0, 0, -1]]))  # fmt: skip
SPECTRAL = [name for name in methods if methods.get(name).of_matrices and name != "tsv_c"]
ORTHOGONAL = ["actmerge", "iso_c", "iso_cts", "tsv_m", "wudi"]


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=tolerance)


NUMBERS = {
    "tsv_m": ({"rank": 1}, [[2.831892, -1.294708], [0.519740, 1.207989], [2.314056, 1.727680]]),
    "iso_c": ({}, [[3.098700, -1.852247], [1.338062, 2.859339], [1.422577, 1.345154]]),
    "wudi": ({}, [[62091 / 23327, -30583 / 23327], [16800 / 23327, 18377 / 23327], [26884 / 23327, 24570 / 23327]]),
    "actmerge": ({}, [[379 / 135, -53 / 45], [16 / 27, 7 / 9], [172 / 135, 46 / 45]]),
    "ace": ({"variant": "released"}, [[1.066951, -1.548909], [-0.868314, 0.938904], [-0.198637, 0.610005]]),
    "dc_merge": ({"rank": 1}, [[2.672963, -1.184044], [0.495004, 1.114432], [2.192730, 1.598689]]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name):
    params, expected = NUMBERS[name]
    close(methods.get(name)(BOTH, **params), expected)


def test_iso_cts():
    found = methods.get("iso_cts")(torch.stack((A, B)), common=0.5)
    close(found[0], [3.632464, -0.617128, 0.256504, -1.271343])
    alike = torch.stack(
        (torch.tensor([[4.0, 0, 0, 1], [0, 3, 0, 0], [0, 0, 1, 0], [1, 0, 0, 2]]),
         torch.tensor([[1.0, 0, 0, 0], [0, 2, 1, 0], [0, 1, 3, 0], [0, 0, 0, -1]]))
    )  # fmt: skip
    assert methods.get("iso_cts")(alike, common=0.5).isfinite().all()
    close(methods.get("iso_cts")(BOTH, common=0.0), methods.get("iso_cts")(BOTH.flip(0), common=0.0))


def test_knots():
    joint = decompose(torch.cat(LORA, 1))
    close(joint.s, [3.583893, 1.732051, 0.394603])
    found = methods.get("knots")(torch.stack(LORA), combine="largest")
    close(found, [[1.426078, 0.647746, 0, -1], [0.030776, 1.046788, 0, 1], [1.759827, 2.155129, 0, 0]])
    close(methods.get("knots")(BOTH, combine="sum", weight=[2.0, 0.5]), 2 * D1 + 0.5 * D2)


def test_iso_c_stays_on_the_directions_there_are():
    found = methods.get("iso_c")(torch.stack(LORA))
    expected = [
        [1.800095, 0.069180, 0, -1.730915],
        [-0.553912, 1.423186, 0, 1.977098],
        [1.869274, 2.238549, 0, 0.369274],
    ]
    close(found, expected)
    close(torch.linalg.svdvals(found)[:2], [3.249926, 3.249926])
    close(torch.linalg.svdvals(methods.get("iso_c")(torch.stack(LORA), mean="full"))[:2], [2.166617, 2.166617])


def test_what_is_stored_of_a_task():
    square = torch.randn(8, 64, 64, generator=torch.Generator().manual_seed(0))
    assert int(torch.linalg.matrix_rank(methods.get("tsv_c")(square, task=3), rtol=1e-4)) == 64 // 8
    one = methods.get("tsv_c")
    close(one(BOTH, task=1), decompose(D2, 1).matrix)
    close(one(BOTH, task=1, rank=2), D2)
    close(one(BOTH, task=0, energy=1.0), D1)
    with pytest.raises(BadParameter, match="there are 2 models"):
        one(BOTH, task=2)


@pytest.mark.parametrize("models", [49, 98])
def test_as_many_models_as_a_side_is_long_have_a_direction_each(models):
    """The released int(side * (1 / N)) is 0 there, and the merge is the base."""
    assert int(models * (1 / models)) == 0
    stack = torch.randn(models, models, 3 * models, generator=torch.Generator().manual_seed(0))
    assert methods.get("tsv_m")(stack).any()
    assert methods.get("tsv_m")(BOTH.repeat(4, 1, 1)).any()


def test_copies_of_a_task_are_its_first_part_and_not_what_the_released_programme_makes_of_them():
    expected = [[3.056269, 0.779330], [0.239426, 0.061052], [1.877896, 0.478852]]
    close(methods.get("tsv_m")(torch.stack((D1, D1)), rank=1), expected)
    one = decompose(D1, 1)
    u, v = torch.cat((one.u, one.u), 1), torch.cat((one.vt, one.vt)).mT
    (a, _, b), (c, _, d) = (torch.linalg.svd(m, full_matrices=False) for m in (u, v))
    released = (a @ b * torch.cat((one.s, one.s))) @ (c @ d).mT
    assert float((released - torch.tensor(expected)).abs().max()) > 0.1


def test_wudi_minimises_its_loss():
    def loss(found):
        return sum(float(((found - d) @ d.mT).square().sum() / d.square().sum()) for d in BOTH.double())

    losses = [loss(x) for x in (methods.get("wudi")(BOTH).double(), BOTH.double().sum(0), BOTH.double().mean(0))]
    assert losses == pytest.approx([4.820165, 12.133333, 6.060606], abs=1e-5)


def test_wudi_is_actmerge_with_weights_of_one_over_the_squared_length():
    weights = [1 / float(d.square().sum()) for d in BOTH]
    close(methods.get("actmerge")(BOTH, weight=weights), methods.get("wudi")(BOTH))


def test_common_and_own_directions_of_iso_cts():
    """Two of each: of the sum, and the first of each residual; the released stack of the second pair has rank three."""
    top = decompose((A + B).double(), 2)
    own = [decompose(d - top.u @ (top.u.mT @ d), 1).s for d in (A.double(), B.double())]
    close(torch.cat([*own, top.s]), [1.929784, 1.762765, 7.615770, 4.316149])
    one = torch.tensor([[4.0, 0, 0, 1], [0, 3, 0, 0], [0, 0, 1, 0], [1, 0, 0, 2]], dtype=torch.float64)
    other = torch.tensor([[1.0, 0, 0, 0], [0, 2, 1, 0], [0, 1, 3, 0], [0, 0, 0, -1]], dtype=torch.float64)
    top = decompose(one + other, 2)
    stacked = [decompose(d - top.u @ (top.u.mT @ d), 1).u for d in (one, other)] + [top.u]
    close(torch.linalg.svdvals(torch.cat(stacked, 1)), [2**0.5, 1, 1, 0])
    merged = methods.get("iso_cts")(torch.stack((one, other)).float(), common=0.5)
    assert int(torch.linalg.matrix_rank(merged, rtol=1e-4)) == 3


def test_the_core_of_dc_merge():
    found = [decompose(d, 1) for d in (D1, D2)]
    u, v = polar(torch.cat([one.u for one in found], 1)), polar(torch.cat([one.vt for one in found]).mT)
    core = u.mT @ methods.get("dc_merge")(BOTH, rank=1, mask=False).double() @ v
    close(core.abs(), [[3.508531, 0.117758], [0.562182, 2.255606]])
    assert core[0, 1] * core[1, 0] > 0


@pytest.mark.parametrize(("unit", "gamma"), [(1.0, 0.133531), (0.1, 1.958064), (0.01, 0.057622)])
def test_the_released_ace_measures_how_far_traces_lie_apart_in_the_unit_of_the_weights(unit, gamma):
    logs = torch.stack([(unit * c * d).square().sum() for c, d in ((1, D1), (3, D2))]).log()
    assert float(logs.var() / logs.mean().square()) == pytest.approx(gamma, rel=1e-4)
    assert far_apart(logs.exp(), released=True) == (gamma > 0.3)
    assert far_apart(logs.exp(), released=False)


def test_copies_count_once_where_directions_are_shared():
    first = decompose(D1, 1).matrix
    close(methods.get("tsv_m")(torch.stack((D1, D1)), rank=1), first)
    close(methods.get("wudi")(torch.stack((D1, D1, D1))), D1)
    for name in ("tsv_m", "dc_merge"):
        close(methods.get(name)(D1[None], rank=1), first)


def test_tasks_that_do_not_meet_are_added():
    one, other = torch.zeros(4, 5), torch.zeros(4, 5)
    one[:2, :2], other[2:, 2:4] = torch.tensor([[2.0, 1], [0, 1]]), torch.tensor([[1.0, 3], [1, -1]])
    for name in ("tsv_m", "wudi", "actmerge"):
        close(methods.get(name)(torch.stack((one, other))), one + other)


@pytest.mark.parametrize("name", ORTHOGONAL)
@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_turning_inputs_and_outputs_turns_the_result(name, shape):
    draw = torch.Generator().manual_seed(3)
    deltas = torch.randn(3, *shape, generator=draw, dtype=torch.float64)
    p, q = (torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64))[0] for n in shape)
    close(methods.get(name)(p @ deltas @ q), p @ methods.get(name)(deltas) @ q, 1e-4)


@pytest.mark.parametrize("name", [n for n in SPECTRAL if n != "ace"])
@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_scaling_the_deltas_scales_the_result(name, factor):
    deltas = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    close(methods.get(name)(deltas * factor) / factor, methods.get(name)(deltas), 1e-4)


def test_ace_by_the_released_programme_depends_on_the_unit_and_ours_does_not():
    deltas = torch.stack((D1, 3 * D2))
    ours, theirs = (
        [methods.get("ace")(c * deltas, variant=v) / c for c in (1.0, 0.1)] for v in ("scale_free", "released")
    )
    close(ours[0], ours[1], 1e-4)
    assert (theirs[0] - theirs[1]).abs().max() > 0.05


@pytest.mark.parametrize("name", SPECTRAL)
def test_other_tensors_are_averaged_and_unchanged_maps_stay(name, memory):
    base = {"model.layers.0.mlp.up_proj.weight": torch.randn(3, 2), "model.norm.weight": torch.ones(2),
            "model.embed_tokens.weight": torch.ones(5, 2)}  # fmt: skip
    models = [memory({k: v if v.ndim == 2 and len(v) == 3 else v + i for k, v in base.items()}) for i in (1, 2)]
    merged = merge(name, models, base=memory(base))
    assert torch.equal(merged["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])
    assert merged["model.norm.weight"].tolist() == [2.5, 2.5]
    assert merged["model.embed_tokens.weight"].tolist() == [[2.5, 2.5]] * 5
    assert merge(name, models, base=memory(base), vector="zero")["model.norm.weight"].tolist() == [1.0, 1.0]


def test_polar_factors_have_no_arbitrary_directions():
    u = decompose(D1, 1).u
    close(polar(torch.cat((u, u), 1)) @ torch.ones(2, 1, dtype=u.dtype) / 2**0.5, u)
    assert torch.linalg.matrix_rank(polar(torch.cat((u, u), 1))) == 1


def test_ways_of_decomposing_agree_and_results_are_kept():
    draw = torch.Generator().manual_seed(5)
    matrix = torch.randn(40, 6, generator=draw) @ torch.randn(6, 90, generator=draw)
    exact = decompose(matrix, way="exact", tolerance=1e-6)
    assert len(exact.s) == 6 and energy_rank(exact.s, 1.0) <= 6
    for way in ("gram", "random"):
        other = decompose(matrix, 6, way=way, tolerance=1e-6)
        close(other.s, exact.s, 1e-3)
        close(other.matrix, exact.matrix, 1e-3)
    hits = KEPT.hits
    assert decompose(matrix.clone(), way="exact", tolerance=1e-6) is exact and KEPT.hits == hits + 1


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (32, 32)])
@pytest.mark.parametrize("name", SPECTRAL)
def test_the_way_of_large_matrices_gives_what_that_of_small_ones_does(name, shape, monkeypatch):
    deltas = torch.randn(3, *shape, generator=torch.Generator().manual_seed(7))
    deltas[2] = deltas[0] + 0.1 * deltas[2]
    small = methods.get(name)(deltas)
    monkeypatch.setattr("consort.weights.decomposition.EXACT_SIDE", 4)
    monkeypatch.setattr("consort.merge.spectral.polar.EXACT_SIDE", 4)
    close(methods.get(name)(deltas), small, 2e-3 * float(small.abs().max()))


@pytest.mark.parametrize("small", [1e-1, 3e-3, 1e-5])
def test_a_gram_matrix_is_squared_in_single_precision_only_where_that_is_harmless(small):
    draw = torch.Generator().manual_seed(8)
    u, v = (torch.linalg.qr(torch.randn(30, 30, generator=draw, dtype=torch.float64))[0] for _ in range(2))
    matrix = (u * torch.logspace(0, float(torch.tensor(small).log10()), 30, dtype=torch.float64)) @ v.mT
    first, exact = (decompose(matrix.float(), 29, way=way, tolerance=1e-7) for way in ("gram", "exact"))
    assert float((first.s / exact.s - 1).abs().max()) < 1e-3
    assert float((first.u - exact.u).abs().max()) < 5e-3


@pytest.mark.parametrize("columns", [12, 60])
def test_large_polar_factors_are_orthonormal_and_truncated(columns, monkeypatch):
    draw = torch.Generator().manual_seed(9)
    matrix = torch.linalg.qr(torch.randn(60, 12, generator=draw, dtype=torch.float64))[0]
    matrix = torch.cat((matrix, torch.randn(60, columns - 12, generator=draw, dtype=torch.float64) * 0.1), 1)
    twice = torch.cat((matrix[:, :30], matrix[:, :30]), 1)
    exact = polar(matrix), polar(twice)
    monkeypatch.setattr("consort.merge.spectral.polar.EXACT_SIDE", 4)
    close(polar(matrix), exact[0], 1e-5)
    close(polar(twice), exact[1], 1e-5)
    assert int(torch.linalg.matrix_rank(polar(twice), rtol=1e-4)) == min(30, columns)
