"""RegMean++ (2508.03121): Gram matrices of what the layers of the merge see, in place of what each model's own see.

Block by block: with the merged blocks below, a model's own block and its own texts give the Gram matrices of that
block; RegMean of them gives the merged block. Embeddings and what is no linear layer are means. The result is a
statistics folder for each model, with which `regmean` makes the same merge; activations are computed anew for each
block, so that memory does not grow with the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadData, BadParameter, Unsupported, listing
from consort.core.files import write_json
from consort.core.journal import Journal, key_of
from consort.core.progress import Advance, track
from consort.core.results import write_results
from consort.data.rows import parse_object, read_lines
from consort.merge.collect.collectors import grams
from consort.merge.collect.run import MAX_TOKENS, at_work, check_apart, digest_of, linears_of
from consort.merge.engine.merged import Merged
from consort.merge.methods.regmean import regmean
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.folder_check import CONFIG, INDEX
from consort.weights.stats import Description, fingerprint, write_shard

Grams = dict[str, Tensor]


class _Reached(Exception):
    """The block that is looked at has been read."""


def collect_through_merge(
    models: Sequence[Checkpoint],
    texts: Mapping[str, Sequence[str]],
    out: str | Path,
    *,
    weight: Sequence[float] | None = None,
    off_diagonal: float = 0.9,
    max_tokens: int = MAX_TOKENS,
    force: bool = False,
) -> list[Path]:
    """Statistics of `models` on `texts` by model name, each in a folder of `out` of that name.

    `weight` (default: equal) and `off_diagonal` are those of the `regmean` that will be made of them.

    Block by block they are written; a killed run goes on with the next block. Called again with equal arguments it does
    nothing. Raises BadParameter for wrong settings, BadData without texts of a model and for texts of none,
    Unsupported, OutputExists.

    Of one block it gives what `collect` gives (kind "gram"), where the models' embeddings are the same.
    """
    out = Path(out)
    weights = _checked(models, texts, weight)
    _check_settings(out, models, off_diagonal, max_tokens)
    names = [model.name for model in models]
    stamps = [fingerprint(model) for model in models]
    told = [stamps, weights, off_diagonal, max_tokens, [digest_of(texts[name]) for name in names]]
    about = {"verb": "collect", "kind": "through_merge", "models": names, "seed": 0}
    journal = Journal(out, key_of(told), force=force, ordered=True, about=about)
    records = journal.open()
    run = _Run(models, texts, max_tokens, weights, off_diagonal)
    with track("collecting", len(run.blocks) * len(names)) as advance:
        for number, block in enumerate(run.blocks):
            files = [out / name / f"model-{number + 1:05d}-of-{len(run.blocks):05d}.safetensors" for name in names]
            if number < len(records):
                found = [_read(file) for file in files]
                advance(len(names))
            else:
                found = run.grams_of(block, advance)
                for file, part in zip(files, found, strict=True):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_shard(file, part)
                records.append({"block": number, "tensors": list(found[0])})
                journal.append(records[-1])
            run.merge_block(block, found)
    for place, (name, stamp) in enumerate(zip(names, stamps, strict=True)):
        _finish(out / name, records, len(run.blocks), run.told(place, stamp))
    write_results(out, "collect", {"seed": 0, "details": {"collected": {"kind": "through_merge", "models": names}}})
    return [out / name for name in names]


def _checked(
    models: Sequence[Checkpoint], texts: Mapping[str, Sequence[str]], weight: Sequence[float] | None
) -> list[float]:
    """The weights. Raises BadParameter, BadData."""
    names = [model.name for model in models]
    if len({name.lower() for name in names}) < len(names):
        what = "two models have one name, or names that differ in capitals only"
        raise BadParameter(what, field="models", hint="their folders are told apart by it")
    weights = [1.0] * len(models) if weight is None else [float(w) for w in weight]
    if len(weights) != len(models) or not all(isfinite(w) and w >= 0 for w in weights) or not any(weights):
        raise BadParameter(f"{weights} are no weights", field="weight", hint="one of at least 0 for each model")
    hint = f"give lines a group named like the model whose task they are: {listing(names)}"
    if unknown := [name for name in texts if name not in names]:
        raise BadData(f"texts of no model: {listing(unknown)}", field="texts", hint=hint)
    if lacking := [name for name in names if not texts.get(name)]:
        raise BadData(f"no texts for {listing(lacking)}", field="texts", hint=hint)
    return weights


def _check_settings(out: Path, models: Sequence[Checkpoint], off_diagonal: float, max_tokens: int) -> None:
    """Raises BadParameter, and OutputExists where a model would be overwritten by its statistics."""
    if not 0 <= off_diagonal <= 1:
        raise BadParameter(f"{off_diagonal} is no share", field="off_diagonal", hint="0 to 1")
    if max_tokens < 2:
        raise BadParameter(f"{max_tokens} tokens predict nothing", field="max_tokens", hint="2 or more")
    for model in models:
        check_apart(out, model)


def models_of(merge: Checkpoint) -> tuple[tuple[Checkpoint, ...], list[float]]:
    """The models of a `linear` merge and their weights. Raises BadParameter for another one, and for schedules."""
    hint = "give a plan with linear: {models: [...]}"
    if not isinstance(merge, Merged) or merge.method != "linear":
        raise BadParameter(f"{merge.name} is no linear merge", field="MODEL", hint=hint)
    weight = merge.params.get("weight", 1.0)
    weights = list(weight) if isinstance(weight, Sequence) else [weight] * len(merge.models)
    if not all(isinstance(value, int | float) for value in weights):
        raise BadParameter("blocks are merged by numbers, not by schedules", field="weight", hint="weight: 1")
    return tuple(merge.models), [float(w) for w in weights]


def texts_by_model(path: str | Path, limit: int | None = None) -> dict[str, list[str]]:
    """The texts of a JSONL file of {"text": ..., "group": MODEL} lines, at most `limit` a model. Raises BadData."""
    found: dict[str, list[str]] = {}
    for number, line in read_lines(Path(path)):
        row = parse_object(line, f"{path}:{number}")
        text, group = row.get("text"), row.get("group")
        if not isinstance(text, str) or not text or not isinstance(group, str):
            hint = 'one object {"text": "...", "group": "the model\'s name"} a line'
            raise BadData(f"{text!r} of {group!r} is no text of a model", field=f"{path}:{number}", hint=hint)
        if limit is None or len(found.get(group, ())) < limit:
            found.setdefault(group, []).append(text)
    return found


class _Run:
    """A module that becomes the merge block by block, the models' weights, and their texts."""

    def __init__(
        self,
        models: Sequence[Checkpoint],
        texts: Mapping[str, Sequence[str]],
        max_tokens: int,
        weight: Sequence[float],
        off_diagonal: float,
    ) -> None:
        self.models, self.off_diagonal = models, off_diagonal
        self.weight = tuple(weight)
        model = at_work(models[0], None)
        self.module = model.module
        self.module.requires_grad_(False)
        own = dict(self.module.state_dict(keep_vars=True))
        self.parameters = {n: own[n] for n in models[0].keys() if own[n].dtype.is_floating_point}
        self.linears = linears_of(self.module, self.parameters)
        if not self.linears:
            raise Unsupported("has no linear layer of its own", field=models[0].name, hint="use fisher")
        longest = min(max_tokens, model.window or max_tokens)
        self.rows = [_encoded(model, texts[one.name], longest) for one in models]
        self.blocks = blocks_of(self.module, list(self.linears))
        for name in self.parameters:
            if name not in self.linears:
                self._set(name, self._merged(name, None))

    def told(self, place: int, stamp: str) -> Description:
        """Where the statistics of a model come from."""
        rows = self.rows[place]
        tokens = sum(row.numel() for row in rows)
        return Description("gram", "", len(rows), tokens, 0, self.models[place].name, stamp)

    def grams_of(self, block: Sequence[str], advance: Advance) -> list[Grams]:
        """Of each model: its own block above merged ones, on its own texts."""
        found = []
        for model, rows in zip(self.models, self.rows, strict=True):
            for name in self._around(block):
                self._set(name, model[name])
            reading = _until(self.module, block_of(block[0]).rstrip("."))
            found.append(grams(reading, {name: self.linears[name] for name in block}, rows, lambda _: None))
            advance(1)
        return found

    def merge_block(self, block: Sequence[str], found: Sequence[Grams]) -> None:
        """The block as RegMean has it, and its other tensors as means."""
        for name in self._around(block):
            is_linear = name in self.linears
            self._set(name, self._merged(name, torch.stack([part[name] for part in found]) if is_linear else None))

    def _around(self, block: Sequence[str]) -> list[str]:
        """All tensors of the block's own part of the model; the block alone where it is no numbered part."""
        prefix = block_of(block[0])
        return [n for n in self.parameters if prefix and n.startswith(prefix)] or list(block)

    def _merged(self, name: str, statistics: Float[Tensor, "model input input"] | None) -> Tensor:
        weights = torch.stack([model[name].float() for model in self.models])
        return regmean(weights, statistics, weight=self.weight, off_diagonal=self.off_diagonal)

    def _set(self, name: str, value: Tensor) -> None:
        self.parameters[name].data.copy_(value)


def block_of(name: str) -> str:
    """The prefix up to the first number in a name, "" where there is none.

    >>> block_of("model.layers.10.mlp.experts.3.down_proj.weight")
    'model.layers.10.'
    """
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return "" if at is None else ".".join(parts[: at + 1]) + "."


def blocks_of(module: Any, names: Sequence[str]) -> list[list[str]]:
    """Names of linear layers, block by block as the module reads them; those of no block one by one after them."""
    found: dict[str, list[str]] = {}
    for name in names:
        prefix = block_of(name)
        found.setdefault(prefix or name, []).append(name)

    def place(prefix: str) -> tuple[int, int]:
        number = prefix.rstrip(".").rpartition(".")[2]
        return (0, int(number)) if number.isdigit() else (1, 0)

    return [found[prefix] for prefix in sorted(found, key=place)]


def _until(module: Any, block: str) -> Callable[..., None]:
    """A pass that goes no further than a block; the whole one for "" (what is no block)."""

    def stop(*_: Any) -> None:
        raise _Reached

    def read(**arguments: Any) -> None:
        handle = module.get_submodule(block).register_forward_hook(stop) if block else None
        try:
            module(**arguments)
        except _Reached:
            return
        finally:
            if handle is not None:
                handle.remove()

    return read


def _encoded(model: Any, texts: Sequence[str], longest: int) -> list[Tensor]:
    encoded = (model.tokenizer.encode(text)[:longest] for text in texts)
    rows = [torch.tensor([ids], device=model.device) for ids in encoded if len(ids) > 1]
    if not rows:
        raise BadData("no text has two tokens", field="texts", hint="give longer texts")
    return rows


def _read(file: Path) -> Grams:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as fault:
        hint = "delete the folder, or collect with force"
        raise BadData(f"cannot be read again: {type(fault).__name__}", field=str(file), hint=hint) from None


def _finish(folder: Path, records: Sequence[Mapping[str, Any]], count: int, told: Description) -> None:
    weight_map = {
        name: f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        for number, record in enumerate(records)
        for name in record["tensors"]
    }
    write_json(folder / INDEX, {"metadata": {}, "weight_map": weight_map})
    write_json(folder / CONFIG, told.config())
