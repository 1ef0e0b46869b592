"""Collects per-weight statistics of a causal model on texts: the Fisher diagonal, the Gram matrices of linear layers.

The result is a statistics folder (see `weights.stats`). Tensors are done in groups of bounded size, one pass over the
texts for each, so memory holds the model and one group; a group is a file of the folder and a line of its journal, so
a killed run goes on with the next group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from consort.core.errors import BadData, BadParameter, OutputExists, Unsupported, did_you_mean, listing
from consort.core.files import write_json
from consort.core.journal import Journal, key_of
from consort.core.progress import Advance, track
from consort.core.results import write_results
from consort.data.rows import parse_object, read_lines
from consort.merge.arithmetic.randomness import stream_key, uniform
from consort.merge.collect.collectors import fisher, grams
from consort.weights.checkpoint import Checkpoint, leaves
from consort.weights.disk.card import OnDisk
from consort.weights.disk.folder_check import CONFIG, INDEX, SINGLE
from consort.weights.stats import KINDS, Description, fingerprint, write_shard

if TYPE_CHECKING:
    from consort.models.hf.model import HFModel

Labels = Literal["sampled", "empirical"]
GROUP_BYTES = 2 << 30
MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` did. `resumed` counts the groups of tensors found finished among `groups`."""

    path: Path
    description: Description
    tensors: int
    groups: int
    resumed: int


def collect(
    kind: str,
    model: Checkpoint,
    texts: Sequence[str],
    out: str | Path,
    *,
    labels: Labels = "sampled",
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
    max_bytes: int = GROUP_BYTES,
    device: str | torch.device | None = None,
    force: bool = False,
) -> Collected:
    """Statistics of `model` (an architecture of transformers, loaded in float32) on `texts`, in the folder `out`.

    `kind` "gram" takes the inputs of every linear layer whose weight is not shared; "fisher" the gradients of the
    log-probability of one token at every position of a text but the last: drawn from the model's own prediction
    (`labels` "sampled", decided by `seed`) or the text's next one ("empirical"). Texts are cut after `max_tokens`.
    Called again with equal arguments it continues, or does nothing. Raises BadParameter, BadData, OutputExists,
    Unsupported, and what loading a model raises.
    """
    out = Path(out)
    _check(kind, labels, texts, max_tokens, max_bytes)
    check_apart(out, model)
    labels_of_kind = labels if kind == "fisher" else ""
    stamp = fingerprint(model)
    key = key_of([kind, labels_of_kind, seed, max_tokens, max_bytes, stamp, digest_of(texts), str(device)])
    about = {"verb": "collect", "kind": kind, "model": model.name, "texts": len(texts), "seed": seed}
    journal = Journal(out, key, force=force, ordered=True, about=about)
    records = journal.open()
    resumed = sum("file" in record for record in records)
    if not records:
        _clear(out)
    if not (records and "description" in records[-1]):
        run = _Run(kind, labels, seed, model, at_work(model, device), texts, max_tokens)
        _collect_groups(run, journal, records, max_bytes)
        told = Description(kind, labels_of_kind, len(run.rows), run.tokens, seed, model.name, stamp)
        _finish(journal, records, told)
    *groups, last = records
    told = Description(**last["description"])
    details = {"collected": {"tensors": sum(len(group["tensors"]) for group in groups), **asdict(told)}}
    write_results(out, "collect", {"seed": seed, "details": details})
    return Collected(out, told, sum(len(group["tensors"]) for group in groups), len(groups), resumed)


def read_texts(path: str | Path, limit: int | None = None) -> list[str]:
    """The texts of a JSONL file of `{"text": ...}` lines, the first `limit` of them. Raises BadData."""
    found = []
    for number, line in read_lines(Path(path)):
        text = parse_object(line, f"{path}:{number}").get("text")
        if not isinstance(text, str) or not text:
            hint = 'one object {"text": "..."} a line'
            raise BadData(f"{text!r} is not a text", field=f"{path}:{number}: text", hint=hint)
        found.append(text)
        if len(found) == limit:
            break
    if not found:
        raise BadData("holds no texts", field=str(path), hint='one object {"text": "..."} a line')
    return found


def _check(kind: str, labels: str, texts: Sequence[str], max_tokens: int, max_bytes: int) -> None:
    if kind not in KINDS:
        raise BadParameter(f"there is no statistic {kind!r}", field="kind", hint=did_you_mean(kind, KINDS))
    if labels not in ("sampled", "empirical"):
        raise BadParameter(f"{labels!r} are no labels", field="labels", hint="sampled or empirical")
    if max_tokens < 2:
        raise BadParameter(f"{max_tokens} tokens predict nothing", field="max_tokens", hint="2 or more")
    if max_bytes < 1:
        raise BadParameter(f"{max_bytes} is not positive", field="max_bytes", hint="give a number of bytes")
    if isinstance(texts, str) or not texts:
        raise BadData("there are no texts", field="texts", hint="give a list of strings")


def check_apart(out: Path, model: Checkpoint) -> None:
    """`force` clears the folder of weights, so it may not be one that is read."""
    for source in (leaf.path.resolve() for leaf in leaves(model) if isinstance(leaf, OnDisk)):
        if out.resolve() == source or out.resolve() in source.parents:
            raise OutputExists("holds the model itself", field=str(out), hint="name another folder")


def digest_of(texts: Sequence[str]) -> str:
    """A hash of texts in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()


def at_work(model: Checkpoint, device: str | torch.device | None) -> HFModel:
    """The model loaded in float32, without a cache. Raises Unsupported where its tensors get other names."""
    from consort.models.hf.loading import load_model

    loaded = load_model(model, dtype="float32", device=device)
    _checked_names(model, loaded.module.state_dict())
    loaded.module.config.use_cache = False
    return loaded


def _checked_names(model: Checkpoint, own: Mapping[str, Tensor]) -> None:
    names = model.keys()
    strange = [name for name in names if name not in own]
    if strange:
        hint = "statistics can be collected where transformers keeps the names of the folder"
        raise Unsupported(f"{listing(strange, 3)} has another name at work", field=model.name, hint=hint)


class _Run:
    """A loaded model and its tokenised texts; `rows` are those of at least two tokens."""

    def __init__(
        self,
        kind: str,
        labels: str,
        seed: int,
        checkpoint: Checkpoint,
        model: HFModel,
        texts: Sequence[str],
        max_tokens: int,
    ) -> None:
        self.kind, self.labels, self.seed, self.module = kind, labels, seed, model.module
        longest = min(max_tokens, model.window or max_tokens)
        encoded = (model.tokenizer.encode(text)[:longest] for text in texts)
        self.rows = [torch.tensor([ids], device=model.device) for ids in encoded if len(ids) > 1]
        if not self.rows:
            raise BadData("no text has two tokens", field="texts", hint="give longer texts")
        self.tokens = sum(row.shape[1] - (kind == "fisher") for row in self.rows)
        own, names = dict(self.module.state_dict(keep_vars=True)), checkpoint.keys()
        self.parameters = {name: own[name] for name in names if own[name].dtype.is_floating_point}
        self.module.requires_grad_(False)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what is to be collected, in the order of the checkpoint."""
        names = list(self.parameters) if self.kind == "fisher" else list(linears_of(self.module, self.parameters))
        if not names:
            raise Unsupported("has no linear layer of its own", field=self.module.config.model_type, hint="use fisher")
        return {name: KINDS[self.kind](tuple(self.parameters[name].shape)) for name in names}

    def collect(self, names: Sequence[str], advance: Advance) -> dict[str, Tensor]:
        """The statistics of some tensors: one pass over the texts."""
        if self.kind == "gram":
            linears = linears_of(self.module, self.parameters)
            return grams(self.module, {name: linears[name] for name in names}, self.rows, advance)
        drawing = None if self.labels == "empirical" else lambda row, n: uniform(_key(self.seed, row), 0, n)
        return fisher(self.module, {name: self.parameters[name] for name in names}, self.rows, drawing, advance)


def _key(seed: int, row: int) -> tuple[int, int]:
    return stream_key(seed, "fisher", "text", row)


def linears_of(module: Any, parameters: dict[str, Tensor]) -> dict[str, nn.Linear]:
    """The linear layers by the name of their weight; a weight that is also an embedding is not one."""
    embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    parts = {f"{name}.weight": part for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    return {name: parts[name] for name in parameters if name in parts and id(parts[name].weight) not in embeddings}


def grouped(shapes: dict[str, tuple[int, ...]], max_bytes: int) -> Iterator[list[str]]:
    """Names in order, cut into groups whose float32 tensors have at most `max_bytes`, at least one in each."""
    group: list[str] = []
    size = 0
    for name, shape in shapes.items():
        if group and size + 4 * prod(shape) > max_bytes:
            yield group
            group, size = [], 0
        group.append(name)
        size += 4 * prod(shape)
    yield group


def _collect_groups(run: _Run, journal: Journal, records: list[dict[str, Any]], max_bytes: int) -> None:
    groups = list(grouped(run.shapes(), max_bytes))
    with track("collecting", len(groups) * len(run.rows)) as advance:
        advance(len(records) * len(run.rows))
        for number, names in enumerate(groups[len(records) :], len(records) + 1):
            several = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
            file = SINGLE if len(groups) == 1 else several
            write_shard(journal.folder / file, run.collect(names, advance))
            records.append({"file": file, "tensors": names})
            journal.append(records[-1])


def _finish(journal: Journal, records: list[dict[str, Any]], told: Description) -> None:
    if len(records) > 1:
        weight_map = {name: record["file"] for record in records for name in record["tensors"]}
        write_json(journal.folder / INDEX, {"metadata": {}, "weight_map": weight_map})
    write_json(journal.folder / CONFIG, told.config())
    records.append({"description": told.config()["statistics"]})
    journal.append(records[-1])


def _clear(folder: Path) -> None:
    """Away with the weights of another run: those of this one may have other names."""
    for file in (*folder.glob("*.safetensors"), folder / INDEX, folder / CONFIG):
        file.unlink(missing_ok=True)
