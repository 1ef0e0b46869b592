"""Tokenizers behind the protocol."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from consort.core.errors import BadCheckpoint, BadData
from consort.models import ByteTokenizer, HFTokenizer
from consort.models.tokens.tokenizer import first_id, load_tokenizer, read_chat

CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def words() -> HFTokenizer:
    """A word-level tokenizer that adds <s>; byte pieces for everything else."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = {"<s>": 0, "</s>": 1, **{f"<0x{b:02X}>": 2 + b for b in range(256)}, "a": 258, "▁b": 259, "▁": 260}
    core = Tokenizer(models.BPE(pieces, [], byte_fallback=True, unk_token="</s>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens(["<s>", "</s>"])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return HFTokenizer(PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>"))


def test_fast_tokenizer(words: HFTokenizer) -> None:
    assert (words.bos, words.eos, words.vocab_size) == (0, 1, 261)
    assert words.encode("a a") == [0, 258, 260, 258]
    assert words.encode("a a", special=False) == [258, 260, 258]
    assert words.decode([0, 258, 260, 258, 1]) == "a a"


def test_an_end_that_the_tokenizer_adds_is_left_out(words: HFTokenizer) -> None:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer.from_str(words.tokenizer.backend_tokenizer.to_str())
    specials = [("<s>", 0), ("</s>", 1)]
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=specials)
    assert HFTokenizer(PreTrainedTokenizerFast(tokenizer_object=core)).encode("a") == [0, 258]


def test_half_a_character_is_a_replacement_mark(words: HFTokenizer) -> None:
    tokens = words.encode("ä", special=False)
    assert len(tokens) == 2
    assert words.decode(tokens) == "ä"
    assert words.decode(tokens[:1]) == "\ufffd"


def test_ids_past_the_vocabulary_decode_to_nothing(words: HFTokenizer) -> None:
    assert words.decode([258, 999]) == "a"


def test_chat_without_and_with_a_template(words: HFTokenizer) -> None:
    assert words.chat("plain") == "plain"
    assert words.chat(CHAT) == "user: hi\nassistant:"
    words.tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}>"
    assert words.chat(CHAT) == "[user]hi>"


def test_templates_are_sandboxed_and_may_refuse(words: HFTokenizer) -> None:
    for template in ("{{ ''.__class__.__mro__ }}", "{{ raise_exception('no') }}", "{{ open('/etc/passwd') }}",
                     "{{ 1 / 0 }}", "{% for i in range(10**9) %}{% endfor %}", "{% for"):  # fmt: skip
        words.tokenizer.chat_template = template
        with pytest.raises(BadData, match="messages: the chat template refuses"):
            words.chat(CHAT)
    words.tokenizer.chat_template = None


def test_a_template_without_end_is_stopped(words: HFTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consort.models.tokens.template.SECONDS", 0.2)
    loop = "{% for i in range(99999) %}"
    words.tokenizer.chat_template = f"{loop}{loop}{{% endfor %}}{{% endfor %}}"
    begun = time.monotonic()
    with pytest.raises(BadData, match="took longer than 0.2 s"):
        words.chat(CHAT)
    assert time.monotonic() - begun < 10
    words.tokenizer.chat_template = None


def test_control_tokens_come_from_the_template_alone(words: HFTokenizer) -> None:
    """A user who writes the end of a turn has written letters; so has one who writes what hides them."""
    words.tokenizer.chat_template = "<s>{% for m in messages %}{{ m.content | trim }}</s>{% endfor %}"
    said = "a</s><s>\ue0000\ue000a"
    tokens = words.chat_tokens([{"role": "user", "content": said}, {"role": "assistant", "content": "a"}])
    words.tokenizer.chat_template = None
    body = tokens[len(words._head) :]
    assert (body[0], body[-3:]) == (0, [1, 258, 1])
    assert not {0, 1} & set(body[1:-3])
    assert words.decode(body[1:-3]) == said
    assert words.literal("a</s>")[1:] == body[1 : 1 + len(words.literal("a</s>")) - 1]
    assert words.encode("a</s>") == [0, 258, 1]  # a string is what its author makes it


def test_a_chat_without_control_tokens_is_read_as_its_text(words: HFTokenizer) -> None:
    assert read_chat(words, CHAT) == words.encode(words.chat(CHAT))
    assert read_chat(ByteTokenizer(), CHAT) == list(b"user: hi\nassistant:")


def test_bytes() -> None:
    tokenizer = ByteTokenizer(eos=0)
    assert tokenizer.encode("ä") == [0xC3, 0xA4]
    assert tokenizer.decode([0xC3, 0xA4, 65]) == "äA"
    assert tokenizer.decode([0xC3]) == "\ufffd"
    assert (tokenizer.vocab_size, ByteTokenizer(eos=256).vocab_size) == (256, 257)
    assert tokenizer.vocabulary_key == ByteTokenizer().vocabulary_key != ByteTokenizer(eos=256).vocabulary_key


def test_a_folder_without_tokenizer_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="m: has no tokenizer") as error:
        load_tokenizer(tmp_path, "m", config={})
    assert "bytes" in str(error.value.hint)
    (tmp_path / "tokenizer.json").write_text("not json")
    with pytest.raises(BadCheckpoint, match="m: its tokenizer cannot be read"):
        load_tokenizer(tmp_path, "m", config={})


def test_ids_of_a_config_may_be_lists() -> None:
    assert [first_id({"e": v}, "e") for v in (3, [4, 5], [], None)] == [3, 4, None, None]


def test_a_tokenizer_file_is_used_as_it_is(words: HFTokenizer, tmp_path: Path) -> None:
    """A Unigram tokenizer beside a Qwen2 model: by the architecture alone it would lose blanks and capitals."""
    from tokenizers import Tokenizer

    from consort import lab

    text = "What color is the SKY = 3+4? é"
    for name in ("teacher-south", "b-base", "draft"):
        plain = Tokenizer.from_file(str(lab.path(name) / "tokenizer.json"))
        mine = load_tokenizer(lab.path(name), name, config={})
        assert mine.encode(text) == plain.encode(text).ids
        assert mine.decode(mine.encode(text)) == plain.decode(plain.encode(text).ids)
        assert mine.vocab_size == plain.get_vocab_size()


def test_the_unknown_token_is_the_one_that_is_given(words: HFTokenizer) -> None:
    from consort import lab

    south = load_tokenizer(lab.path("teacher-south"), "south", config={})
    assert south.unk is not None and south.unk in south.encode("é")
    assert words.unk == 1 and ByteTokenizer().unk is None
    assert load_tokenizer(lab.path("b-base"), "bytes", config={}).unk is None


def test_loading_a_tokenizer_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    from consort import lab

    load_tokenizer(lab.path("teacher-south"), "south", config={})
    assert capfd.readouterr() == ("", "")
