"""`tokenizer_source: union` from a mergekit file to a folder that transformers loads."""

from __future__ import annotations

import logging

import torch
import yaml

from consort.plan import build, dump, load, read_plan
from consort.weights import write

NEW = ["<ask>", "<tell>"]
EMBEDDING = "model.embed_tokens.weight"


def extended(folder, tmp_path):
    """A copy of a model with two more tokens, whose rows are 3 and 4 throughout."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    )
    assert tokenizer.add_tokens(NEW, special_tokens=True) == 2
    ids = tokenizer.convert_tokens_to_ids(NEW)
    model.resize_token_embeddings(max(max(ids) + 1, model.config.vocab_size), mean_resizing=False)
    with torch.no_grad():
        for table in {id(t): t for t in (model.get_input_embeddings(), model.get_output_embeddings())}.values():
            table.weight[ids] = torch.tensor([[3.0], [4.0]])
    model.save_pretrained(tmp_path / "extended")
    tokenizer.save_pretrained(tmp_path / "extended")
    return tmp_path / "extended"


def test_a_union_is_written_loaded_and_has_every_token(tmp_path, caplog):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = load("lab:base")
    other = extended(plain.path, tmp_path)
    models = [{"model": name, "parameters": {"weight": w}} for name, w in (("lab:base", 1), (str(other), 3))]
    text = {"merge_method": "linear", "models": models, "tokenizer_source": "union", "dtype": "float32"}
    file = tmp_path / "union.yml"
    file.write_text(yaml.safe_dump(text))
    plan = read_plan(file)
    with caplog.at_level(logging.WARNING):
        write(build(plan, "checkpoint"), tmp_path / "out", plan=dump(plan), threads=1)

    before = AutoTokenizer.from_pretrained(plain.path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert set(tokenizer.get_vocab()) == set(before.get_vocab()) | set(NEW)
    ids = tokenizer.convert_tokens_to_ids(NEW)
    table = model.get_input_embeddings().weight
    assert len(table) == model.config.vocab_size > max(ids)
    assert table[ids[0]].eq(3).all() and table[ids[1]].eq(4).all()  # one model has them: their rows as they are
    torch.testing.assert_close(table[: len(before)], plain[EMBEDDING][: len(before)].float())
    assert tokenizer("mirror: abc<ask>")["input_ids"] == [*before("mirror: abc")["input_ids"], ids[0]]
    assert model(torch.tensor([tokenizer("<tell>mirror: abc")["input_ids"]])).logits.isfinite().all()
