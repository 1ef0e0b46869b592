"""Laws that every merge method keeps. Authors of a method call each of `LAWS` with its name; a broken law raises.

A law that says nothing about a kind of method (random, without a base, ...) raises DoesNotApply. `params` are values
for parameters whose defaults are not meant; required ones are the decorator's `example`, or 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.params import REQUIRED, Param, params_of
from consort.merge import methods
from consort.merge.arithmetic.randomness import stream_key, uniform
from consort.merge.arithmetic.votes import added
from consort.merge.engine import merged as engine
from consort.merge.engine.blocks import BLOCK
from consort.merge.engine.merged import Merged
from consort.merge.method import Method
from consort.testing.law import applies
from consort.weights.checkpoint import Checkpoint, Memory, ranges
from consort.weights.disk.stream import one_torch_thread

KINDS = ("merge",)
Law = Callable[..., None]
SHAPES: Mapping[str, tuple[int, ...]] = {
    "model.layers.0.mlp.up_proj.weight": (13, 37),
    "model.layers.0.mlp.experts.weight": (2, 3, 11),
    "model.norm.weight": (29,),
    "scale": (),
    "empty": (0, 4),
}
LARGE: Mapping[str, tuple[int, ...]] = {"wide": (5, BLOCK // 4 + 5), "long": (BLOCK + 3,), "tall": (BLOCK // 3, 4)}
TOLERANCE = 1e-6
FACTORS = (1e-6, 1e-2, 1e3)


def tensors(shapes: Mapping[str, Sequence[int]], seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Normal random numbers, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tuple(shape), generator=generator) * scale for name, shape in shapes.items()}


def checkpoint(values: Mapping[str, Tensor], name: str, dtype: torch.dtype = torch.float32) -> Memory:
    """Tensors in memory, rounded to a dtype, as a checkpoint."""
    return Memory({key: value.to(dtype) for key, value in values.items()}, {}, name=name)


def inputs(
    method: Method, shapes: Mapping[str, Sequence[int]] = SHAPES, dtype: torch.dtype = torch.float32
) -> tuple[list[Memory], Memory | None]:
    """As many models as the method takes, up to three, near a base, which is None for a method that ignores it."""
    base = tensors(shapes, 0)
    count = min(max(3, method.inputs[0]), method.inputs[1] or 3)
    changes = [tensors(shapes, 1 + i, 0.1) for i in range(count)]
    models = [checkpoint({k: base[k] + d[k] for k in base}, f"m{i}", dtype) for i, d in enumerate(changes)]
    return models, None if method.base == "ignored" else checkpoint(base, "base", dtype)


def arguments(method: Method, params: Mapping[str, Any]) -> dict[str, Any]:
    """`params`, the decorator's `example`, and 0.5 for each other number that is required."""
    halves = {p.name: 0.5 for p in method.params if p.default is REQUIRED and p.type == "float"}
    return {**halves, **methods.entry(method.name).options.get("example", {}), **params}


def merge(name: str, models: Sequence[Checkpoint], **given: Any) -> Merged:
    """The merge, with statistics made up from the models' own entries for a method that wants some."""
    kind = methods.get(name).statistics
    measured: dict[str, Any] = {"statistics": [statistics(kind, model) for model in models]} if kind else {}
    return engine.merge(name, models, **measured, **given)


def statistics(kind: str, model: Checkpoint) -> Memory:
    """Statistics that are a function of the weights: equal for equal models, permuted with their entries."""
    names = [n for n in model.keys() if kind != "gram" or _is_narrow(model.spec(n).shape)]
    with one_torch_thread():  # a covariance's last bits differ with their number on some processors
        found = {name: _statistic(kind, _whole(model, name)) for name in names}
    return Memory(found, {}, name=f"{model.name} {kind}")


def _is_narrow(shape: Sequence[int]) -> bool:
    return len(shape) == 2 and 0 < shape[1] < 100 and shape[0] > 0


def _statistic(kind: str, weights: Tensor) -> Tensor:
    weights = weights.nan_to_num(0, 1, -1)
    if kind == "fisher":
        return weights.square() + 0.1
    return torch.cov(weights.T).reshape(weights.shape[1], -1) + torch.eye(weights.shape[1])


def same(one: Merged, other: Mapping[str, Tensor]) -> None:
    """Raises unless both hold the same tensors, bit for bit."""
    for name in one.keys():
        assert bits(one[name]).equal(bits(other[name])), f"{one.name}: {name} differs"


def bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, which tell NaN and minus zero apart."""
    return tensor.contiguous().view(-1).view(torch.uint8)


def near(one: Tensor, other: Tensor, scale: float = 1.0) -> None:
    """Raises unless two tensors are equal up to rounding."""
    torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE * scale)


def equal_models_are_kept(name: str, params: Mapping[str, Any] = {}) -> None:
    """Copies of one model, with itself as base or none, merge to it."""
    method = methods.get(name)
    models, base = inputs(method)
    given = arguments(method, params) | ({"weight": 1 / len(models)} if _has(method, "weight") else {})
    bases: dict[str, list[Memory | None]] = {"required": [models[0]], "optional": [models[0], None], "ignored": [None]}
    for b in bases[method.base]:
        merged = merge(name, [models[0]] * len(models), base=b, **given)
        if method.name != "passthrough":
            for key in merged.keys():
                near(merged[key], models[0][key], float(models[0][key].abs().max()) if models[0][key].numel() else 1.0)


def zero_deltas_give_the_base(name: str, params: Mapping[str, Any] = {}) -> None:
    """Models equal to the base merge to it, bit for bit: minus zero and subnormal numbers too."""
    method = methods.get(name)
    applies(method.on == "deltas", "it is of weights, not of differences from a base")
    base = tensors(SHAPES, 0)
    base["model.norm.weight"][:3] = torch.tensor([-0.0, 1e-42, -1e-42])
    model = checkpoint(base, "base")
    count = len(inputs(method)[0])
    same(merge(name, [model] * count, base=model, **arguments(method, params)), base)


def order_does_not_matter(name: str, params: Mapping[str, Any] = {}) -> None:
    """A symmetric method gives the same for its models, with their parameters, in reverse."""
    method = methods.get(name)
    applies(method.symmetric, "it says that the order of the models matters")
    models, base = inputs(method)
    given: dict[str, Any] = arguments(method, params)
    middles = {p.name: middle for p in method.params if (middle := _middle(p)) is not None}
    given |= {key: [middle + 0.1 * i for i in range(len(models))] for key, middle in middles.items()}
    backward: dict[str, Any] = {k: value[::-1] if isinstance(value, list) else value for k, value in given.items()}
    one = merge(name, models, base=base, **given)
    other = merge(name, models[::-1], base=base, **backward)
    for key in one.keys():
        near(one[key], other[key])


def entries_may_be_permuted(name: str, params: Mapping[str, Any] = {}) -> None:
    """A deterministic method treats entries, or rows, alike wherever they lie."""
    method = methods.get(name)
    applies(not method.random, "it draws for each place")
    models, base = inputs(method)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(5))

    def moved(model: Memory, by: Tensor) -> Memory:
        rows = {key: model[key][by] for key in model.keys() if model.spec(key).shape[:1] == (13,)}
        return checkpoint(rows, model.name)

    given = arguments(method, params)
    kept, other = (
        merge(name, [moved(m, by) for m in models], base=moved(base, by) if base else None, **given)
        for by in (torch.arange(13), order)
    )
    for key in other.keys():
        near(kept[key][order], other[key])


def chunks_change_nothing(name: str, params: Mapping[str, Any] = {}) -> None:
    """Read as a whole, in chunks of any size and place, or computed by the bare function: the same bits."""
    method = methods.get(name)
    given = arguments(method, params)
    for key, shape in LARGE.items():
        models, base = inputs(method, {key: shape})
        merged = merge(name, models, base=base, **given)
        whole = merged[key].view(-1)
        assert bits(bare(method, models, base, key, given)).equal(bits(whole)), (
            f"{name}: the bare function gives others"
        )
        for size in (BLOCK, 4 * BLOCK, 99_991):
            parts = torch.empty_like(whole)
            for start, stop in reversed(list(ranges(parts.numel(), size))):
                merged.read_into(key, start, stop, parts[start:stop])
            assert bits(parts).equal(bits(whole)), f"{name}: chunks of {size} change {key} of shape {list(shape)}"


def bare(
    method: Method, models: Sequence[Memory], base: Memory | None, key: str, params: Mapping[str, Any], seed: int = 0
) -> Tensor:
    """The merge of one tensor without the engine."""
    stack = torch.stack([model[key] for model in models])
    keys = [stream_key(seed, method.name, key, i) for i in range(len(models))]
    drawn = torch.stack([uniform(k, 0, stack[0].numel()) for k in keys]).view(stack.shape) if method.random else None
    extra = {"uniform": drawn, "statistics": _stacked(method.statistics, models, key)}
    if base is None:
        return method(stack, **extra, **params)
    if method.on == "weights":
        return method(torch.cat((base[key][None], stack)), **extra, **params)
    return added(base[key], method(stack - base[key], **extra, **params))


def _stacked(kind: str, models: Sequence[Memory], key: str) -> Tensor | None:
    found = [statistics(kind, model) for model in models] if kind else []
    return torch.stack([f[key] for f in found]) if found and key in found[0].keys() else None


def threads_change_nothing(name: str, params: Mapping[str, Any] = {}) -> None:
    """Chunks read by 1, 2 or 7 threads have the same bits."""
    method = methods.get(name)
    models, base = inputs(method, LARGE)
    results = []
    for threads in (1, 2, 7):
        merged = merge(name, models, base=base, **arguments(method, params))
        outs = {key: torch.empty(merged.spec(key).numel) for key in merged.keys()}
        with ThreadPoolExecutor(threads) as pool:
            tasks = [
                pool.submit(merged.read_into, key, start, stop, out[start:stop])
                for key, out in outs.items()
                for start, stop in ranges(out.numel(), BLOCK)
            ]
            for task in tasks:
                task.result()
        results.append(outs)
    for key in LARGE:
        assert all(bits(r[key]).equal(bits(results[0][key])) for r in results), f"{name}: threads change {key}"


def threads_of_torch_change_nothing(name: str, params: Mapping[str, Any] = {}) -> None:
    """However many threads torch has, the bits are the same."""
    method = methods.get(name)
    models, base = inputs(method, LARGE)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = {key: merge(name, models, base=base, **arguments(method, params))[key] for key in LARGE}
        torch.set_num_threads(4)
        same(merge(name, models, base=base, **arguments(method, params)), one)
    finally:
        torch.set_num_threads(before)


def scaling_the_deltas_scales_the_result(name: str, params: Mapping[str, Any] = {}) -> None:
    """Models and base times a number merge to the merge times that number."""
    method = methods.get(name)
    models, base = inputs(method)
    if method.on == "deltas" and base is not None:  # exact differences: a base of zeros
        base = Memory({key: base[key] * 0 for key in base.keys()}, {})

    def scaled(model: Memory | None, factor: float) -> Memory | None:
        return model and Memory({key: model[key] * factor for key in model.keys()}, {}, name=model.name)

    given = arguments(method, params)
    one = merge(name, models, base=base, **given)
    for factor in FACTORS:
        other = merge(name, [scaled(m, factor) for m in models], base=scaled(base, factor), **given)  # type: ignore[misc]
        for key in one.keys():
            near(other[key] / factor, one[key], scale=4)


def merges_nest(name: str, params: Mapping[str, Any] = {}) -> None:
    """A merge of merges is the merge of their saved float32 form."""
    method = methods.get(name)
    models, base = inputs(method, dtype=torch.bfloat16)
    given = arguments(method, params)
    inner = merge(name, models, base=base, **given)
    saved = Memory({key: _whole(inner, key) for key in inner.keys()}, {}, name="saved")
    one = merge(name, [inner, *models[1:]], base=base, **given)
    other = merge(name, [saved, *models[1:]], base=base, **given)
    for key in one.keys():
        assert bits(_whole(one, key)).equal(bits(_whole(other, key))), f"{name}: nesting changes {key}"


def rounds_once(name: str, params: Mapping[str, Any] = {}) -> None:
    """16-bit inputs give 16-bit outputs: the float32 result, rounded; an asked dtype is given."""
    method = methods.get(name)
    models, base = inputs(method, dtype=torch.bfloat16)
    given = arguments(method, params)
    merged = merge(name, models, base=base, **given)
    asked = merge(name, models, base=base, dtype="float32", out_dtype=torch.float16, **given)
    for key in merged.keys():
        assert merged[key].dtype == merged.spec(key).dtype == torch.bfloat16
        assert bits(merged[key]).equal(bits(_whole(merged, key).bfloat16())), f"{name}: {key} is rounded twice"
        assert asked[key].dtype == asked.spec(key).dtype == torch.float16


def seeds_decide(name: str, params: Mapping[str, Any] = {}) -> None:
    """The same seed gives the same bits; another one others, for methods that draw."""
    method = methods.get(name)
    models, base = inputs(method)
    given = arguments(method, params)
    one, again, other = (merge(name, models, base=base, seed=seed, **given) for seed in (3, 3, 4))
    same(one, {key: again[key] for key in again.keys()})
    key = "model.layers.0.mlp.up_proj.weight"
    assert one[key].equal(other[key]) != method.random, f"{name}: seeds"


def inputs_stay_as_they_are(name: str, params: Mapping[str, Any] = {}) -> None:
    """Merging writes into no input, and neither does the bare function."""
    method = methods.get(name)
    models, base = inputs(method)
    before = [{key: m[key].clone() for key in m.keys()} for m in (*models, *([base] if base else []))]
    merged = merge(name, models, base=base, **arguments(method, params))
    for key in merged.keys():
        merged[key]
    for model, old in zip((*models, *([base] if base else [])), before, strict=True):
        assert all(model[key].equal(old[key]) for key in old), f"{name} writes into {model.name}"


def nonfinite_entries_show(name: str, params: Mapping[str, Any] = {}) -> None:
    """An entry that is NaN in a model is NaN in the merge: neither threshold nor vote hides it."""
    method = methods.get(name)
    models, base = inputs(method)
    key = "model.layers.0.mlp.up_proj.weight"
    for value in (torch.nan, torch.inf):
        broken = {k: models[-1][k].clone() for k in models[-1].keys()}
        broken[key][3, 5] = value
        merged = merge(name, [*models[:-1], checkpoint(broken, "broken")], base=base, **arguments(method, params))
        assert merged[key][3, 5].isnan(), f"{name} hides {value}"
        assert merged["model.norm.weight"].isfinite().all()


def wrong_arguments_are_named(name: str, params: Mapping[str, Any] = {}) -> None:
    """An unknown parameter, a base that is missing and a wrong number of models are refused by name."""
    method = methods.get(name)
    models, base = inputs(method)
    given = arguments(method, params)
    _refused("nonsense", lambda: merge(name, models, base=base, **given, nonsense=1))
    if method.base == "required":
        _refused("base", lambda: merge(name, models, **given))
    most = method.inputs[1]
    _refused("models", lambda: merge(name, models[: method.inputs[0] - 1], base=base, **given))
    if most is not None:
        _refused("models", lambda: merge(name, models[:1] * (most + 1), base=base, **given))


def source_and_options_agree(name: str, params: Mapping[str, Any] = {}) -> None:
    """What is listed without importing the method is what its function takes and its decorator says."""
    method, entry = methods.get(name), methods.entry(name)
    assert entry.params == method.params == params_of(method.function)
    assert entry.paper == method.paper and entry.summary and method.name == name
    given = {"paper", "on", "grain", "symmetric", "inputs", "base", "statistics"} & set(entry.options)
    assert all(entry.options[option] == getattr(method, option) for option in given)


LAWS: tuple[Law, ...] = (
    chunks_change_nothing,
    entries_may_be_permuted,
    equal_models_are_kept,
    inputs_stay_as_they_are,
    merges_nest,
    nonfinite_entries_show,
    order_does_not_matter,
    rounds_once,
    scaling_the_deltas_scales_the_result,
    seeds_decide,
    source_and_options_agree,
    threads_change_nothing,
    threads_of_torch_change_nothing,
    wrong_arguments_are_named,
    zero_deltas_give_the_base,
)


def _has(method: Method, param: str) -> bool:
    return any(p.name == param for p in method.params)


def _middle(p: Param) -> float | None:
    """A value well inside the range of a number that may differ by model."""
    if not p.per_model or p.type != "float":
        return None
    return 0.3 if p.default is REQUIRED or p.default >= 0.3 else 0.5 * p.default


def _whole(model: Checkpoint, name: str) -> Tensor:
    """In float32, as it is computed."""
    out = torch.empty(model.spec(name).numel)
    model.read_into(name, 0, out.numel(), out)
    return out.view(model.spec(name).shape)


def _refused(field: str, attempt: Callable[[], Any]) -> None:
    try:
        attempt()
    except BadParameter as error:
        assert error.field == field, f"the error is about {error.field}, not {field}"
    else:
        raise AssertionError(f"wrong {field} is not refused")
