"""Vocabularies brought to one: rows by hand, the policies, the files beside, and real tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from consort.core.errors import BadCheckpoint, BadParameter, ConsortError, Incompatible, Unsupported
from consort.merge import merge
from consort.plan import build, dump, parse, to_plan
from consort.weights import Memory, open_folder, write
from consort.weights.vocabulary.align import align_vocabularies
from consort.weights.vocabulary.read import read_vocabulary

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def tokenizer(tokens: dict[str, int], added: dict[str, int] | None = None, **model: Any) -> bytes:
    entries = [{"id": i, "content": t, "special": True, "normalized": False} for t, i in (added or {}).items()]
    return json.dumps({"model": {"type": "WordLevel", "vocab": tokens, **model}, "added_tokens": entries}).encode()


def model(
    name: str,
    tokens: dict[str, int],
    rows: list[float],
    *,
    added: dict[str, int] | None = None,
    config: dict[str, Any] | None = None,
    files: dict[str, bytes] | None = None,
) -> Memory:
    """A tied model whose embedding has the given numbers as rows."""
    beside = {"tokenizer.json": tokenizer(tokens, added), **(files or {})}
    settings = {"vocab_size": len(rows), "tie_word_embeddings": True, **(config or {})}
    return Memory({EMBEDDING: torch.tensor(rows).view(-1, 1)}, settings, name=name, files=beside)


def rows(found: Any) -> list[float]:
    return found[EMBEDDING].view(-1).tolist()


AB, BC = {"a": 0, "b": 1}, {"b": 0, "c": 1}


def test_the_union_of_the_specification() -> None:
    other, base = model("x", BC, [20.0, 30.0]), model("base", AB, [1.0, 2.0])
    aligned, under = align_vocabularies([other], base, "union")
    assert rows(under) == [1, 2, 30] and rows(aligned) == [1, 20, 30]
    assert read_vocabulary(under).ids == {"a": 0, "b": 1, "c": 2}  # type: ignore[union-attr]
    assert under.config["vocab_size"] == 3


def test_a_row_that_several_have_is_the_bases_or_their_mean() -> None:
    one, two, three = model("1", {"a": 0}, [1.0]), model("2", AB, [2.0, 4.0]), model("3", AB, [3.0, 8.0])
    assert rows(align_vocabularies([one, two, three], None, "union")[0]) == [1, 6]
    assert rows(align_vocabularies([one, three], two, "union")[0]) == [1, 4]


def test_a_models_own_vocabulary_by_name_number_or_object() -> None:
    one, two = model("one", AB, [1.0, 2.0]), model("two", BC, [20.0, 30.0])
    for source in ("two", 1, two, "some/where/two"):
        first, second = align_vocabularies([one, two], None, source)
        assert rows(first) == [2, 30] and rows(second) == [20, 30]


def test_sources_of_tokens() -> None:
    one, two = model("one", AB, [1.0, 2.0]), model("two", BC, [20.0, 30.0])

    def with_source(source: Any, force: bool = False, token: str = "c") -> list[list[float]]:
        policy = {"source": "union", "tokens": {token: {"source": source, "force": force}}}
        return [rows(ckpt) for ckpt in align_vocabularies([one, two], None, policy)]

    assert with_source({"kind": "zero"}) == [[1, 2, 0], [1, 20, 30]]
    assert with_source({"kind": "zero"}, force=True) == [[1, 2, 0], [1, 20, 0]]
    assert with_source({"kind": "model_token", "model": "one", "token": "a"}) == [[1, 2, 1], [1, 20, 30]]
    assert with_source({"kind": "model_token", "model": 0, "token_id": 1}, True) == [[1, 2, 2], [1, 20, 2]]
    assert with_source("two", force=True, token="b") == [[1, 20, 30], [1, 20, 30]]


def test_padding_rows_stay_and_new_ones_are_the_mean_of_the_tokens() -> None:
    padded, bare = model("padded", AB, [1.0, 3.0, 9.0, 9.5]), model("bare", AB, [5.0, 7.0])
    assert [rows(c) for c in align_vocabularies([padded, bare], None, "union")] == [[1, 3, 9, 9.5], [5, 7, 6, 6]]
    trim = {"source": "union", "trim": True}
    assert [rows(c) for c in align_vocabularies([padded, bare], None, trim)] == [[1, 3], [5, 7]]
    three = {"source": "base", "pad_to_multiple_of": 3}
    assert [rows(c) for c in align_vocabularies([padded, bare], None, three)] == [[1, 3, 9], [5, 7, 6]]


def test_rows_are_never_cut_without_being_asked() -> None:
    """Case 9 of the specification: 300 rows, 259 tokens, the base's tokenizer."""
    tokens = {f"t{i}": i for i in range(259)}
    models = [model(name, tokens, [float(i)] * 300) for i, name in enumerate("ab")]
    merged = merge("linear", models[:1], base=models[1], tokenizer="base")
    assert merged.spec(EMBEDDING).shape == (300, 1) and merged.config["vocab_size"] == 300


def test_a_token_without_a_row_is_named() -> None:
    """Case 10: an added token of id 305 in a model of 300 rows."""
    tokens = {f"t{i}": i for i in range(300)}
    broken = model("broken", tokens, [0.0] * 300, added={"<tool>": 305})
    with pytest.raises(BadCheckpoint, match="broken: '<tool>' has id 305, but model.embed_tokens.weight has 300 rows"):
        merge("linear", [broken, model("sound", tokens, [0.0] * 300)], tokenizer="union")


def test_tied_and_untied_models_give_an_untied_one(tmp_path: Path) -> None:
    """Case 7: the head of the fine-tune is its own, that of the tied base its embedding, also for borrowed rows."""
    base = model("base", BC, [20.0, 30.0])
    head = {EMBEDDING: torch.tensor([[1.0], [2.0]]), HEAD: torch.tensor([[5.0], [6.0]])}
    tuned = Memory(head, {"tie_word_embeddings": False}, name="tuned", files={"tokenizer.json": tokenizer(AB)})
    write(merge("linear", [tuned, base], tokenizer="union"), tmp_path / "out")
    with open_folder(tmp_path / "out") as out:
        assert out.config["tie_word_embeddings"] is False and out.config["vocab_size"] == 3
        assert rows(out) == [1, 11, 30] and out[HEAD].view(-1).tolist() == [5, 13, 30]


def test_by_default_vocabularies_must_be_one() -> None:
    one = model("one", AB, [1.0, 2.0])
    with pytest.raises(Incompatible, match="'a' is 0 in one, absent in two; 'b' is 1 in one, 0 in two") as caught:
        merge("linear", [one, model("two", BC, [20.0, 30.0])])
    assert "tokenizer: union" in str(caught.value.hint)
    with pytest.raises(Incompatible, match="has 2 in one, 3 in more"):
        merge("linear", [one, model("more", AB, [1.0, 2.0, 3.0])])
    written_otherwise = Memory(
        {EMBEDDING: one[EMBEDDING]}, one.config, files={"tokenizer.json": tokenizer({"b": 1, "a": 0}) + b"\n"}
    )
    assert rows(merge("linear", [one, written_otherwise])) == [1, 2]
    assert rows(merge("linear", [one, Memory({EMBEDDING: one[EMBEDDING]}, {})])) == [1, 2]


def test_five_differences_are_named() -> None:
    many = model("many", {f"t{i}": i for i in range(9)}, [0.0] * 9)
    with pytest.raises(Incompatible) as caught:
        merge("linear", [many, model("few", {"t0": 0}, [0.0])])
    assert str(caught.value).count("absent in few") == 5


def test_special_ids_follow_their_tokens() -> None:
    generation = {"generation_config.json": b'{"eos_token_id": [1, 0], "top_p": 0.5}'}
    special = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
    one = model("one", AB, [1.0, 2.0], config=special, files=generation)
    two = model("two", BC, [20.0, 30.0], config={"eos_token_id": 0, "pad_token_id": 1})
    aligned = align_vocabularies([one, two], None, "two")[0]
    assert aligned.config["eos_token_id"] == 0 and aligned.config["pad_token_id"] == 1
    assert aligned.config["bos_token_id"] is None
    assert json.loads(aligned.files()["generation_config.json"]) == {"eos_token_id": [0], "top_p": 0.5}  # type: ignore[arg-type]


def test_the_united_tokenizer_lists_what_was_added() -> None:
    listed = json.dumps({"added_tokens_decoder": {}}).encode()
    one = model("one", AB, [1.0, 2.0], files={"tokenizer_config.json": listed, "tokenizer.model": b"old"})
    two = model("two", BC, [20.0, 30.0, 40.0], added={"<x>": 2})
    files = align_vocabularies([one, two], None, "union")[1].files()
    united = json.loads(files["tokenizer.json"])  # type: ignore[arg-type]
    assert united["model"]["vocab"] == {"a": 0, "b": 1, "c": 2, "<x>": 3}
    assert [(e["content"], e["id"], e["special"]) for e in united["added_tokens"]] == [("<x>", 3, True)]
    assert json.loads(files["tokenizer_config.json"])["added_tokens_decoder"]["3"]["content"] == "<x>"  # type: ignore[arg-type]
    assert "tokenizer.model" not in files


POLICIES: dict[str, tuple[Any, type[ConsortError], str]] = {
    "name": ("three", BadParameter, "no input is called 'three'"),
    "key": ({"sourc": "union"}, BadParameter, "tokenizer.sourc: unknown key"),
    "multiple": ({"pad_to_multiple_of": 0}, BadParameter, "pad_to_multiple_of"),
    "trim": ({"trim": 1}, BadParameter, "trim"),
    "token": ({"tokens": {"z": {"source": "one"}}}, BadParameter, "the output has no token 'z'"),
    "no source": ({"tokens": {"a": {}}}, BadParameter, "names no source"),
    "kind": ({"tokens": {"a": {"source": {"kind": "mean"}}}}, BadParameter, "'mean' is no kind"),
    "half": ({"tokens": {"a": {"source": {"kind": "model_token", "model": "one"}}}}, BadParameter, "needs a model and"),
    "absent": ({"tokens": {"a": {"source": "two", "force": True}}}, BadParameter, "the model has no token 'a'"),
    "none": ({"source": "none", "trim": True}, BadParameter, "none changes nothing"),
}


@pytest.mark.parametrize("case", POLICIES)
def test_a_policy_that_makes_no_sense_is_refused(case: str) -> None:
    policy, kind, said = POLICIES[case]
    with pytest.raises(kind, match=said):
        align_vocabularies([model("one", AB, [1.0, 2.0]), model("two", BC, [20.0, 30.0])], None, policy)


def test_models_without_what_a_policy_needs_are_refused() -> None:
    one, wide = model("one", AB, [1.0, 2.0]), Memory({EMBEDDING: torch.ones(2, 3)}, {}, name="wide")
    with pytest.raises(BadCheckpoint, match="wide: has no tokenizer"):
        align_vocabularies([one, wide], None, "union")
    wide = Memory({EMBEDDING: torch.ones(2, 3)}, {}, name="wide", files={"tokenizer.json": tokenizer(BC)})
    with pytest.raises(Incompatible, match=r"rows of \[1\] in one, of \[3\] in wide"):
        align_vocabularies([one, wide], None, "union")
    old = Memory({EMBEDDING: torch.ones(2, 1)}, {}, name="old", files={"vocab.json": json.dumps(BC).encode()})
    with pytest.raises(Unsupported, match="old has no tokenizer.json"):
        align_vocabularies([old, one], None, "union")[0].files()


def test_entries_have_the_same_bits_however_they_are_read() -> None:
    size = 5000
    rng = torch.Generator().manual_seed(0)
    order = torch.randperm(size, generator=rng).tolist()
    tokens, shuffled = {f"t{i}": i for i in range(size)}, {f"t{t}": i for i, t in enumerate(order)}
    tensors = [torch.randn(size, 60, generator=rng).to(torch.bfloat16) for _ in range(2)]
    models = [
        Memory({EMBEDDING: t}, {"vocab_size": size}, name=n, files={"tokenizer.json": tokenizer(ids)})
        for t, n, ids in zip(tensors, "ab", (tokens, shuffled), strict=True)
    ]
    aligned = align_vocabularies(models, None, "a")[1]
    inverse = torch.empty(size, dtype=torch.int64)
    inverse[torch.tensor(order)] = torch.arange(size)
    assert torch.equal(aligned[EMBEDDING], tensors[1][inverse])
    for start, stop in ((0, 1), (59, 61), (123, 290_001), (299_999, 300_000)):
        out = torch.empty(stop - start)
        aligned.read_into(EMBEDDING, start, stop, out)
        assert torch.equal(out, tensors[1][inverse].view(-1)[start:stop].float())


def test_plans_say_how_vocabularies_meet(tmp_path: Path) -> None:
    for name, tokens, numbers in (("one", AB, [1.0, 2.0]), ("two", BC, [20.0, 30.0])):
        write(model(name, tokens, numbers), tmp_path / name)
    models = [str(tmp_path / "one"), str(tmp_path / "two")]
    for policy in ("union", {"source": "two", "pad_to_multiple_of": 4}):
        plan = parse({"linear": {"models": models, "tokenizer": policy}})
        merged = build(plan, "checkpoint")
        assert parse(dump(plan)) == plan == parse(to_plan(merged))
        write(merged, tmp_path / "out", force=True)
        with open_folder(tmp_path / "out") as out:
            assert out.spec(EMBEDDING).shape == ((3, 1) if policy == "union" else (4, 1))


def test_real_tokenizers_are_united(shared: Path, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    models = []
    for i, name in enumerate(("gpt2", "gpt-neox-20b")):
        file = shared / "tokenizers" / name / "tokenizer.json"
        size = read_vocabulary(Memory({}, {}, files={"tokenizer.json": file})).size  # type: ignore[union-attr]
        table = torch.arange(size, dtype=torch.float32).view(-1, 1) + i / 2
        models.append(Memory({EMBEDDING: table}, {"vocab_size": size}, name=name, files={"tokenizer.json": file}))
    merged = align_vocabularies(models, None, "union")
    (tmp_path / "tokenizer.json").write_bytes(merged[0].files()["tokenizer.json"])  # type: ignore[arg-type]
    united = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids, first, second = united.get_vocab(), *(read_vocabulary(m) for m in models)
    assert first and second and set(ids) == set(first.ids) | set(second.ids)
    assert all(ids[token] == i for token, i in first.ids.items())
    assert united.decode(united.encode("a text of several words, 123").ids) == "a text of several words, 123"
    there = merged[1][EMBEDDING].view(-1).tolist()
    assert all(there[ids[token]] == i + 0.5 for token, i in second.ids.items())


def test_sentencepiece_is_read(shared: Path) -> None:
    file = shared / "tokenizers" / "tok512" / "tok512.model"
    found = read_vocabulary(Memory({}, {}, files={"tokenizer.model": file}))
    assert found and found.size == 512 and [found.tokens[i] for i in range(4)] == ["<unk>", "<s>", "</s>", "<0x00>"]
