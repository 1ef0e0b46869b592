"""Writing: the same bytes always, the folder that transformers loads, and the inputs that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from consort.core.errors import BadCheckpoint, BadParameter, ConsortError, OutputExists
from consort.weights.checkpoint import CHUNK, Checkpoint, Memory
from consort.weights.disk.folder import open_folder
from consort.weights.disk.stream import count_nonfinite
from consort.weights.disk.writer import write
from consort.weights.views.basic import Cast, Delta, Selected

MakeFolder = Callable[..., Path]


def content(path: Path) -> dict[str, bytes]:
    """The weight files of a folder."""
    return {file.name: file.read_bytes() for file in sorted(path.glob("*.safetensors"))}


def reread(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in path.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_a_real_model_is_copied_to_the_byte_and_loads(shared: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    source = shared / "models" / "stories260K"
    with open_folder(source) as folder:
        done = write(folder, tmp_path / "out")
    assert content(tmp_path / "out") == content(source)
    assert (done.tensors, done.bytes, done.resumed, done.nonfinite) == (47, 1_040_128, 0, {})
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(done.files)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = torch.tensor([[1, 5, 9]])
    original = transformers.AutoModelForCausalLM.from_pretrained(source)
    assert torch.equal(model(tokens).logits, original(tokens).logits)


def test_shards_and_another_dtype_load_too(shared: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    with open_folder(shared / "models" / "stories260K") as folder:
        done = write(folder, tmp_path / "out", out_dtype=torch.bfloat16, shard_bytes=200_000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == done.bytes == 520_064
    assert "model-00001-of-00003.safetensors" in set(index["weight_map"].values())
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16 and open_folder(tmp_path / "out").config["dtype"] == "bfloat16"


def large() -> Memory:
    """More than one chunk, several dtypes, a scalar, an empty and an odd-sized tensor."""
    rng = torch.Generator().manual_seed(3)
    tensors = {
        "odd": torch.randint(0, 9, (3,), generator=rng, dtype=torch.uint8),
        "large": torch.randn(1500, 1501, generator=rng),
        "half": torch.randn(7, 5, generator=rng).half(),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.empty(0, 4),
        "ids": torch.arange(10),
        "mask": torch.tensor([True, False]),
    }
    return Memory(tensors, {"model_type": "x"})


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("shard_bytes", [1, 1_000, 5_000_000_000])
def test_tensors_have_the_same_bytes_for_any_threads_and_shards(threads: int, shard_bytes: int, tmp_path: Path) -> None:
    source = large()
    write(source, tmp_path / "out", threads=threads, shard_bytes=shard_bytes)
    found = reread(tmp_path / "out")
    assert set(found) == set(source.keys())
    for name, tensor in found.items():
        assert tensor.dtype == source[name].dtype and torch.equal(tensor, source[name])
    again = open_folder(tmp_path / "out")
    assert all(extent.start % extent.spec.dtype.itemsize == 0 for h in again.shards.headers.values()
               for extent in h.tensors.values())  # fmt: skip


def test_the_folder_is_the_same_for_any_threads(tmp_path: Path) -> None:
    for threads in (1, 4):
        write(large(), tmp_path / str(threads) / "out", threads=threads)
    one, four = ({f.name: f.read_bytes() for f in (tmp_path / n / "out").iterdir()} for n in "14")
    assert one == four


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=6), st.integers(1, 100), st.integers(1, 3))
def test_what_is_written_reads_back(shapes: list[list[int]], shard_bytes: int, threads: int) -> None:
    import tempfile

    tensors = {f"t{i}": torch.full(shape, float(i)) for i, shape in enumerate(shapes)}
    with tempfile.TemporaryDirectory() as parent:
        out = Path(parent) / "out"
        write(Memory(tensors, {}), out, shard_bytes=shard_bytes, threads=threads)
        folder = open_folder(out)
        assert folder.keys() == list(tensors) and all(torch.equal(folder[n], t) for n, t in tensors.items())
        folder.close()


def test_one_rounding_to_the_output(tmp_path: Path) -> None:
    source = Memory({"w": torch.tensor([1 + 2**-8 + 2**-40], dtype=torch.float64)}, {})
    write(source, tmp_path / "out", out_dtype=torch.bfloat16)
    assert reread(tmp_path / "out")["w"].item() == 1 + 2**-7


def bad(name: str, value: float, count: int = 1, size: int = 8) -> Memory:
    tensor = torch.zeros(size)
    tensor[:count] = value
    return Memory({"fine": torch.ones(3 * size), name: tensor, "tail": torch.ones(2)}, {}, name="donor")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("threads", [1, 3])
def test_nan_and_infinity_are_refused_by_tensor_input_and_count(value: float, threads: int, tmp_path: Path) -> None:
    source = Cast(bad("w", value, 5), torch.float16)
    with pytest.raises(BadCheckpoint, match="5 NaN or infinite entries in the input donor") as caught:
        write(source, tmp_path / "new" / "out", threads=threads)
    assert caught.value.field == "w" and "--allow-nonfinite" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_faulty_tensor_is_named_whatever_the_threads(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((i,), float("nan")) for i in range(1, 40)}
    for threads in (1, 2, 8):
        with pytest.raises(BadCheckpoint) as caught:
            write(Memory(tensors, {}), tmp_path / "out", threads=threads)
        assert caught.value.field == "t39" and "39 NaN" in caught.value.message


def test_nonfinite_entries_can_be_allowed_and_are_counted(tmp_path: Path) -> None:
    done = write(bad("w", float("nan"), 3, CHUNK + 9), tmp_path / "out", allow_nonfinite=True)
    assert done.nonfinite == {"w": 3}
    made = json.loads((tmp_path / "out" / "merge_manifest.json").read_text())
    assert made["output"]["nonfinite"] == {"w": 3} and made["options"] == {"allow_nonfinite": True}


def test_counts_add_up_over_chunks(tmp_path: Path) -> None:
    values = torch.zeros(2 * CHUNK + 5)
    values[[0, CHUNK, CHUNK + 1, 2 * CHUNK + 4]] = float("inf")
    assert write(Memory({"w": values}, {}), tmp_path / "out", allow_nonfinite=True).nonfinite == {"w": 4}


def test_overflow_of_the_rounding_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="2 entries are too large for float16") as caught:
        write(bad("w", 1e5, 2), tmp_path / "out", out_dtype=torch.float16)
    assert "bfloat16" in str(caught.value.hint)


def test_a_computed_infinity_is_told_from_the_others(tmp_path: Path) -> None:
    high, low = (Memory({"w": torch.full((2,), value)}, {}, name=str(value)) for value in (3e38, -3e38))
    with pytest.raises(BadCheckpoint, match="2 computed entries are NaN or infinite"):
        write(Delta(high, low), tmp_path / "out")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_one_bad_entry_among_many_is_counted(dtype: torch.dtype) -> None:
    for value in (float("nan"), float("inf"), float("-inf")):
        for place in (0, 517, 1022):
            values = torch.zeros(1023, dtype=dtype)
            values[place] = value
            assert count_nonfinite(values) == 1
    assert count_nonfinite(torch.zeros(9, dtype=dtype)) == count_nonfinite(torch.empty(0, dtype=dtype)) == 0
    assert count_nonfinite(torch.ones(3, dtype=torch.bool)) == 0


def test_an_output_with_content_is_refused_or_replaced_whole(memory: Memory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(memory, out)  # empty: fine
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputExists, match="not empty") as caught:
        write(memory, out)
    assert "--force" in str(caught.value.hint) and (out / "mine.txt").exists()
    write(Selected(memory, ["model.norm.weight"]), out, force=True)
    assert not (out / "mine.txt").exists() and list(reread(out)) == ["model.norm.weight"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_input_is_never_overwritten(make_folder: MakeFolder) -> None:
    folder = open_folder(make_folder())
    before = content(folder.path)
    for out in (folder.path, folder.path / "inner", folder.path.parent, folder.path / "../model"):
        with pytest.raises(OutputExists, match="overlaps the input model"):
            write(Cast(folder, torch.float16), out, force=True)
    assert content(folder.path) == before


def test_a_link_or_file_in_the_place_of_the_output_is_refused(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(OutputExists, match="is no folder"):
            write(memory, tmp_path / name, force=True)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"out_dtype": torch.int8},
        {"shard_bytes": 0},
        {"threads": -1},
        {"extra": {"../x": b""}},
        {"extra": {"config.json": b""}},
        {"extra": {"y.safetensors": b""}},
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(options: Any, memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(BadParameter):
        write(memory, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


class Broken(Memory):
    """Fails at one tensor, with whatever error a method may raise."""

    def read_into(self, name: str, start: int, stop: int, out: torch.Tensor) -> None:
        if name == "w":
            raise ZeroDivisionError("in a method")
        super().read_into(name, start, stop, out)


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_while_computing_leaves_nothing(threads: int, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError):
            write(Broken({"a": torch.ones(9), "w": torch.ones(5)}, {}), tmp_path / "a" / "b" / "out", threads=threads)
        assert list(tmp_path.iterdir()) == [] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 4])
def test_no_chunk_is_lost_to_an_exit_in_a_thread(threads: int, tmp_path: Path) -> None:
    class Exiting(Memory):
        def read_into(self, name: str, start: int, stop: int, out: torch.Tensor) -> None:
            raise SystemExit(5)

    with pytest.raises(SystemExit):
        write(Exiting({f"t{i}": torch.ones(3) for i in range(9)}, {}), tmp_path / "out", threads=threads)
    assert not (tmp_path / "out").exists()


def test_a_rival_writer_is_refused_while_the_first_is_at_work(memory: Memory, tmp_path: Path) -> None:
    refused: list[str] = []

    class Slow(Memory):
        def read_into(self, name: str, start: int, stop: int, out: torch.Tensor) -> None:
            with pytest.raises(OutputExists, match="another run is writing it"):
                write(memory, tmp_path / "out", force=True)
            refused.append(name)
            super().read_into(name, start, stop, out)

    write(Slow({"a": torch.ones(2), "b": torch.ones(1)}, {}), tmp_path / "out")
    assert sorted(refused) == ["a", "b"] and set(reread(tmp_path / "out")) == {"a", "b"}


def config_of(tensors: Mapping[str, torch.Tensor], config: dict[str, Any], out: Path) -> dict[str, Any]:
    write(Memory(tensors, config), out)
    return dict(open_folder(out).config)


def test_the_configuration_fits_the_tensors(tmp_path: Path) -> None:
    tensors = {"model.embed_tokens.weight": torch.ones(9, 2, dtype=torch.bfloat16)}
    config = {"vocab_size": 7, "torch_dtype": "float32", "tie_word_embeddings": True, "x": float("inf")}
    found = config_of(tensors, config, tmp_path / "a")
    assert found == {"vocab_size": 9, "dtype": "bfloat16", "tie_word_embeddings": True, "x": float("inf")}
    nested = config_of(tensors, {"text_config": {"vocab_size": 7, "dtype": "float32"}}, tmp_path / "b")
    assert nested == {"text_config": {"vocab_size": 9, "dtype": "bfloat16"}, "dtype": "bfloat16"}


@pytest.mark.parametrize(("head", "tied"), [(1.0, True), (2.0, False)])
def test_a_head_that_differs_from_the_embedding_is_not_tied(head: float, tied: bool, tmp_path: Path) -> None:
    tensors = {"model.embed_tokens.weight": torch.ones(9, 2), "lm_head.weight": torch.full((9, 2), head)}
    assert config_of(tensors, {"tie_word_embeddings": True}, tmp_path / "out")["tie_word_embeddings"] is tied


def test_files_beside_the_weights_and_extra_ones_are_there(memory: Memory, tmp_path: Path) -> None:
    write(memory, tmp_path / "out", extra={"mergekit_config.yml": b"x: 1", "README.md": b"mine"})
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == b"{}"
    assert (tmp_path / "out" / "mergekit_config.yml").read_bytes() == b"x: 1"
    assert (tmp_path / "out" / "README.md").read_bytes() == b"mine"


def test_the_manifest_lists_every_file_and_no_path(make_folder: MakeFolder, tmp_path: Path) -> None:
    import hashlib

    with open_folder(make_folder()) as folder:
        plan = {"cast": {"model": str(folder.path)}}
        write(Cast(folder, torch.float16), tmp_path / "out", plan=plan, seed=5, hash_content=True)
    out = tmp_path / "out"
    made = json.loads((out / "merge_manifest.json").read_text())
    assert sorted(made["files"]) == sorted(file.name for file in out.iterdir())
    assert made["plan"] == {"cast": {"model": "model"}} and made["seed"] == 5 and made["schema_version"] == 1
    weights = made["files"]["model.safetensors"]
    assert weights["sha256"] == hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert made["inputs"][0]["sha256"]["model.safetensors"] and made["output"]["dtype"] == ["float16"]
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in out.iterdir())


def test_an_output_is_a_checkpoint_to_read_and_write_again(memory: Memory, tmp_path: Path) -> None:
    write(memory, tmp_path / "a")
    once: Checkpoint = open_folder(tmp_path / "a")
    write(once, tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_name_that_is_too_long_is_the_users_mistake(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(ConsortError) as caught:
        write(memory, tmp_path / ("n" * 300))
    assert caught.value.exit_code == 2 and list(tmp_path.iterdir()) == []
