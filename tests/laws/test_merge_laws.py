"""Every registered merge method keeps every law."""

from __future__ import annotations

import pytest
import torch

from consort.merge import methods
from consort.testing.merge_laws import LARGE, LAWS, Law, arguments, inputs, merge, near, same


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", list(methods))
def test_law(name: str, law: Law) -> None:
    law(name)


@pytest.mark.parametrize("name", list(methods))
def test_threads_of_torch_change_nothing(name: str) -> None:
    method = methods.get(name)
    models, base = inputs(method, LARGE)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = {key: merge(name, models, base=base, **arguments(method, {}))[key] for key in LARGE}
        torch.set_num_threads(4)
        same(merge(name, models, base=base, **arguments(method, {})), one)
    finally:
        torch.set_num_threads(before)


HOMOGENEOUS = ["karcher", "linear", "model_stock", "nuslerp", "sce", "slerp", "task_arithmetic", "ties"]


@pytest.mark.parametrize("factor", [1e-6, 1e-2, 1e3])
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_scaling_the_deltas_scales_the_result(name: str, factor: float) -> None:
    method = methods.get(name)
    models, base = inputs(method)
    if method.on == "deltas":  # exact differences: a base of zeros
        base = type(models[0])({key: models[0][key] * 0 for key in models[0].keys()}, {})

    def scaled(model):
        return model and type(model)({key: model[key] * factor for key in model.keys()}, {})

    one = merge(name, models, base=base, **arguments(method, {}))
    other = merge(name, [scaled(m) for m in models], base=scaled(base), **arguments(method, {}))
    for key in one.keys():
        near(other[key] / factor, one[key])


RANDOM = [name for name in methods if methods.get(name).random]


def test_four_methods_draw() -> None:
    assert RANDOM == ["dare_linear", "dare_ties", "della", "della_linear"]
