"""Cases from the field: models at work."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from consort.core.errors import BadData, BadParameter, ConsortError, MissingExtra, Unsupported
from consort.core.types import Sampling
from consort.models import ByteTokenizer, FakeModel, FakeTokenModel, HFModel, load_model
from consort.models.hf.choose import find_opener
from consort.models.tokens.tokenizer import HFTokenizer
from consort.weights.checkpoint import Memory
from tests.compatibility.architectures import configuration, tiny


def saved(name: str, folder: Path, **options: Any) -> Path:
    tiny(name).to(options.get("dtype", torch.float32)).save_pretrained(folder)
    return folder


def test_B1_a_session_without_cache_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    model = HFModel("old", tiny("openai-gpt"), ByteTokenizer())
    with caplog.at_level(logging.WARNING, "consort"):
        model.generate(["a", "bc"], Sampling(max_tokens=3))
        model.generate(["d"], Sampling(max_tokens=3))
    told, *more = [record.getMessage() for record in caplog.records if record.name.startswith("consort")]
    assert not more
    assert told.startswith("old (OpenAIGPTLMHeadModel): no session keeps what it has read")
    assert told.endswith("the module takes no cache")


def test_B11_a_string_is_no_list_of_prompts() -> None:
    for model in (FakeModel({}), FakeTokenModel.random(0)):
        with pytest.raises(BadData, match="prompts: is a single text, where a list is wanted"):
            model.generate("dog")
    with pytest.raises(BadData, match="pairs: is a single text"):
        FakeTokenModel.random(0).score("dog")  # type: ignore[arg-type]


def test_B12_a_missing_chat_template_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer = HFTokenizer(PreTrainedTokenizerFast(tokenizer_object=core), name="mine")
    with caplog.at_level(logging.WARNING, "consort"):
        assert tokenizer.chat([{"role": "user", "content": "a"}]) == "user: a\nassistant:"
        tokenizer.chat([{"role": "user", "content": "b"}])
    assert [r.getMessage() for r in caplog.records] == [
        "mine has no chat template: its chats are written as lines `role: content`"
    ]


def without_template(folder: Path) -> dict[str, str]:
    """A reference to a model of bytes."""
    return {"hf": str(saved("llama", folder)), "tokenizer": "bytes"}


def test_B12_a_missing_chat_template_is_refused_where_one_is_required(tmp_path: Path) -> None:
    import consort
    from consort.plan import build, dump, parse, to_plan

    written = without_template(tmp_path) | {"template": "required"}
    assert dump(parse(written)) == written and to_plan(build(parse(written))) == written
    chat: Any = [[{"role": "user", "content": "a"}]]
    for model in (build(parse(written)), load_model(tmp_path, tokenizer="bytes", template="required")):
        with pytest.raises(Unsupported, match="has no chat template, and one is required"):
            model.generate(chat, Sampling(max_tokens=1))
        assert model.generate(["a"], Sampling(max_tokens=1))
        with pytest.raises(Unsupported, match="as_bytes"):
            consort.as_bytes(model, covers="all").generate(chat, Sampling(max_tokens=1))
    with consort.held(template="required"), pytest.raises(Unsupported, match="no chat template"):
        consort.model("lab:mirror").generate(chat)
    with pytest.raises(BadParameter, match="plan.template: 'maybe' is no way to write chats"):
        parse(written | {"template": "maybe"})


def test_B12_a_template_that_there_is_can_be_left_out(caplog: pytest.LogCaptureFixture) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))
    core.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    chat: Any = [{"role": "user", "content": "b"}]
    for template, text in (("own", "<b>"), ("required", "<b>"), ("none", "user: b\nassistant:")):
        assert HFTokenizer(core, template=template).chat(chat) == text
    assert not caplog.records


def test_B12_bytes_have_no_template_and_that_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = ByteTokenizer(name="mine")
    with caplog.at_level(logging.WARNING, "consort"):
        assert [tokenizer.chat([{"role": "user", "content": c}]) for c in "ab"] == [
            "user: a\nassistant:",
            "user: b\nassistant:",
        ]
    assert [record.getMessage()[:26] for record in caplog.records] == ["mine has no chat template:"]


def test_B12_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from consort.cli.border import run

    task = tmp_path / "t.jsonl"
    task.write_text('{"messages": [{"role": "user", "content": "mirror a b ="}], "target": "b a", "split": "test"}\n')
    asked = ["eval", "lab:mirror", "--task", str(task)]
    assert run([*asked, "--template", "required"]) == 2
    assert "error: mirror: has no chat template, and one is required\nhint: " in capsys.readouterr().err
    assert run([*asked, "--no-template"]) == 0
    assert "chat template" not in capsys.readouterr().err
    assert run([*asked, "--no-template", "--template", "own"]) == 2
    assert capsys.readouterr().err.startswith("error: --template: none, says --no-template\nhint: ")


@pytest.mark.parametrize(
    ("content", "package"), [(b"\n\x0e\n\x05<unk>\x15\0\0\0\0", "sentencepiece"), (b"IQ== 0\nIg== 1\n", "tiktoken")]
)
def test_B14_what_reads_a_tokenizer_is_named(
    content: bytes, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consort.models.tokens import tokenizer

    monkeypatch.setattr(tokenizer, "_is_there", lambda module: module == "google.protobuf")

    def fails(*_: Any) -> Any:
        raise ValueError("install tiktoken")

    monkeypatch.setattr(tokenizer, "_read_tokenizer", fails)
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(MissingExtra, match=f"mine: its tokenizer.model is read by {package}"):
        tokenizer.load_tokenizer(tmp_path, "mine", config={})


def test_B1_a_model_that_counts_its_places_itself_keeps_what_it_has_read(caplog: pytest.LogCaptureFixture) -> None:
    model = HFModel("places", tiny("roberta"), ByteTokenizer())
    text = list(b"once upon")
    with torch.no_grad():
        wanted = model.module(torch.tensor([text])).logits[0]
    session = model.open()
    found = torch.cat([session.feed([text[:4]])[0], session.feed([text[4:]])[0]])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert not caplog.records


def test_B1_logits_that_no_session_gives_are_refused() -> None:
    module = tiny("openai-gpt")
    plain = module.forward

    def forward(input_ids: Any = None, **given: Any) -> Any:
        out = plain(input_ids=input_ids, **given)
        out.logits = out.logits * (1 + input_ids.shape[1] % 3)
        return out

    module.forward = forward
    with pytest.raises(Unsupported, match="other logits"):
        find_opener(HFModel("odd", module, ByteTokenizer()))


def test_E15_a_switch_of_rotary_angles_is_decided_by_row() -> None:
    model = HFModel("long", tiny("phi3+longrope"), ByteTokenizer())  # switches after 8 tokens
    prompts, sampling = ["abcdefghijkl", "abc", "abcdefgh"], Sampling(max_tokens=8)
    together = [answer.tokens for answer in model.generate(prompts, sampling)]
    assert together == [model.generate([prompt], sampling)[0].tokens for prompt in prompts]
    text = list(b"abcdefghijkl")
    at_once, session = model.open().feed([text])[0], model.open()
    one_by_one = torch.cat([session.feed([[token]])[0] for token in text])
    torch.testing.assert_close(at_once, one_by_one, atol=1e-4, rtol=0)
    for length in (3, 8, 9, 12):
        with torch.no_grad():
            wanted = model.module(torch.tensor([text[:length]])).logits[0, -1]
        torch.testing.assert_close(at_once[length - 1], wanted, atol=1e-4, rtol=0)


def test_E17_an_encoder_is_no_causal_model() -> None:
    import transformers

    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 256}
    config = transformers.BertConfig(**sizes, intermediate_size=32, pad_token_id=0)
    with torch.random.fork_rng(devices=[]):
        module = transformers.BertLMHeadModel(config)
    with pytest.raises(Unsupported, match="its logits depend on the tokens that follow"):
        find_opener(HFModel("bert", module, ByteTokenizer()))
    weights = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    with pytest.raises(Unsupported, match="bert is an encoder"):
        load_model(Memory(weights, {**config.to_dict(), "dtype": None}), tokenizer="bytes")


def test_D2_a_dtype_is_the_files_own_or_the_one_asked_for(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path, dtype=torch.bfloat16)
    assert load_model(folder, tokenizer="bytes", device="cpu").module.dtype == torch.float32
    for dtype, held in (("auto", torch.bfloat16), ("float16", torch.float16), (torch.float64, torch.float64)):
        model = load_model(folder, tokenizer="bytes", dtype=dtype, device="cpu")  # type: ignore[arg-type]
        assert model.module.dtype == held
        assert len(model.generate(["once"], Sampling(max_tokens=4))[0].tokens) > 0


def test_D2_devices_are_named_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from consort.models import placement

    folder = saved("llama", tmp_path)
    with pytest.raises(BadParameter, match="'gpu7' is no device"):
        load_model(folder, tokenizer="bytes", device="gpu7")
    with pytest.raises(BadParameter, match="there is no cuda:99 here"):
        load_model(folder, tokenizer="bytes", device="cuda:99")
    with pytest.raises(BadParameter, match="says where the model goes"):
        load_model(folder, tokenizer="bytes", device="cpu", device_map="auto")
    monkeypatch.setattr(placement, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="device_map: a model is spread over devices by accelerate"):
        load_model(folder, tokenizer="bytes", device_map="auto")


def test_D2_a_model_spread_by_a_map_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    folder, prompts = saved("llama", tmp_path), ["once", "upon a time"]
    wanted = [a.tokens for a in load_model(folder, tokenizer="bytes", device="cpu").generate(prompts)]
    names = ["model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"]
    places = {**dict.fromkeys(names, "cpu"), "model.layers.1": "disk"}
    spread = load_model(folder, tokenizer="bytes", device_map=places)
    assert [answer.tokens for answer in spread.generate(prompts)] == wanted


def test_D2_quantised_weights_are_left_to_transformers(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    config = {**configuration("llama").to_dict(), "quantization_config": {"quant_method": "awq", "bits": 4}}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    with pytest.raises(ConsortError, match=f"{folder.name}: cannot be loaded"):
        load_model(folder, tokenizer="bytes", device="cpu")


def test_B17_a_cache_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from consort.core.cache import cache_folder
    from consort.models.bytewise.tables import kept
    from consort.models.hf import products

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder() == tmp_path / "file" / "consort"
    products._TABLES.clear()
    forms = products.forms_of([torch.ones(512, 512)])
    assert forms[(512, 512)]
    assert list(kept("tables", lambda: {})) == []
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the fastest forms of products cannot be kept, and are measured each time",
        "tables of the tokenizer cannot be kept, and are made again each time",
    ]
    products._TABLES.clear()
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder() == Path.home() / ".cache" / "consort"
