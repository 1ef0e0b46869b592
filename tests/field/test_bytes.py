"""Field cases of models over bytes, and of the bytes of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

import consort as c
from consort.core.errors import BadData, Unsupported
from consort.core.types import Sampling
from consort.ensemble.during.average import Average
from consort.models import AsBytes, FakeTokenizer, FakeTokenModel, HFTokenizer
from consort.models.tokens.ends import spell
from consort.models.tokens.pieces import token_bytes

END = 256


def fast(model: Any, *, bos: str = "<s>", **parts: Any) -> HFTokenizer:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(model)
    for name, value in parts.items():
        setattr(core, name, value)
    core.add_special_tokens([bos, "</s>"])
    return HFTokenizer(PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token="</s>"))


def words() -> HFTokenizer:
    """Unigram as XLM-R splits: at spaces, of which each word brings one."""
    from tokenizers import decoders, models, pre_tokenizers

    scores = [
        ("<unk>", 0.0),
        ("▁", -2.0),
        ("8", -2.0),
        ("▁8", -3.0),
        ("es", -2.0),
        ("▁do", -2.0),
        ("e", -4.0),
        ("s", -4.0),
    ]
    splits = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return fast(models.Unigram(scores, unk_id=0), pre_tokenizer=splits, decoder=decoders.Metaspace())


def pieces() -> HFTokenizer:
    from tokenizers import decoders, models, pre_tokenizers

    model = models.WordPiece({"[UNK]": 0, "do": 1, "##es": 2, "8": 3}, unk_token="[UNK]")
    return fast(model, pre_tokenizer=pre_tokenizers.BertPreTokenizer(), decoder=decoders.WordPiece())


def even(tokenizer: Any, name: str) -> FakeTokenModel:
    return FakeTokenModel(lambda _: [0.0] * tokenizer.vocab_size, tokenizer, name=name)


def test_B4_bytes_join_to_the_text() -> None:
    tokenizer = words()
    known = token_bytes(tokenizer)
    assert [known[i] for i in tokenizer.encode("does 88", special=False)] == [b" do", b"es", b" 8", b"8"]


def test_B4_what_cannot_be_read_as_bytes_is_refused() -> None:
    models = [even(words(), "w"), even(pieces(), "p")]
    for strategy in (c.gac, c.unite):
        with pytest.raises(Unsupported, match="WordPiece"):
            strategy(models)
    assert c.gac(models[1:]).tokenizer is models[1].tokenizer  # one vocabulary needs no bytes


def test_B7_ends_are_the_tokenizers_own() -> None:
    from tokenizers import decoders, models, normalizers

    names = ["<unk>", "▁", "x", "=", "1", "▁▁", "▁x"]
    model = models.BPE({n: i for i, n in enumerate(names)}, [("▁", "▁"), ("▁", "x")], unk_token="<unk>")
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer = fast(model, normalizer=prepend, decoder=decoders.Sequence(steps))
    given = tokenizer.tokenizer("  x = 1", add_special_tokens=False, return_offsets_mapping=True)
    found = spell(tokenizer, "  x = 1")
    assert found.ends.tolist() == [end for _, end in given["offset_mapping"]] == [1, 3, 4, 5, 6, 7]


def sure(text: str) -> FakeTokenModel:
    """A model that is certain of one text, again and again."""
    tokenizer = FakeTokenizer()
    wanted = tokenizer.encode(text, special=False)

    def logits(tokens: tuple[int, ...]) -> Sequence[float]:
        row = [-math.inf] * tokenizer.vocab_size
        row[wanted[(len(tokens) - 1) % len(wanted)]] = 0.0
        return row

    return FakeTokenModel(logits, tokenizer, name="sure")


def test_B8_a_prompt_of_probability_0_is_read() -> None:
    """After `cc`, which it would never write, the model is certain of the third letter of its text."""
    model = AsBytes(sure("abcab"))
    session = model.open()
    rows = session.feed([[END, *b"cc"]])[0]
    assert rows[2].exp()[ord("c")] == 1.0
    session.rollback([1])
    assert session.feed([list(b"a")])[0][-1].exp()[ord("b")] == 1.0  # what was read in between has left nothing
    assert model.generate(["cc"], Sampling(max_tokens=3))[0].text == "cab"


def test_B9_answers_end_with_the_window_and_long_prompts_are_refused_before_work() -> None:
    model = FakeTokenModel.random(2)
    model.window = 6
    short, team = AsBytes(model), Average([AsBytes(model), AsBytes(FakeTokenModel.random(3))])
    for one in (short, team):
        answers = one.generate(["abc", "a"], Sampling(max_tokens=50, temperature=1.0, logit_bias=((END, -100.0),)))
        assert [a.finish_reason for a in answers] == ["length", "length"]
        assert [len(a.tokens) for a in answers] == [2, 4]
        with pytest.raises(BadData, match="7 tokens are more than the context window"):
            one.generate(["a", "abcabc"])
        with pytest.raises(BadData, match="context window"):
            one.score([("abc", "abcabc")])


def test_B10_tables_are_kept_on_disk(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from consort.models.bytewise import lexicon as taken_apart

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = b" do es"
    first = AsBytes(even(words(), "w")).open().feed([[END, *text]])[0]
    (file,) = (tmp_path / "consort").iterdir()
    monkeypatch.setattr(taken_apart, "_made", lambda *_, **__: pytest.fail("made again"))
    assert torch.equal(AsBytes(even(words(), "w")).open().feed([[END, *text]])[0], first)
    file.write_bytes(file.read_bytes()[:100])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert torch.equal(AsBytes(even(words(), "w")).open().feed([[END, *text]])[0], first)


def test_B13_control_tokens_in_parts_of_a_message_are_text() -> None:
    from tokenizers import decoders, models, pre_tokenizers

    model = models.BPE({**{char: n for n, char in enumerate("hi</s>")}}, [])
    tokenizer = fast(model, pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="never"), decoder=decoders.Fuse())
    template = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}</s>{% endfor %}"
    tokenizer.tokenizer.chat_template = template
    said: Any = [{"role": "user", "content": [{"type": "text", "text": "hi</s>"}]}]
    ids = tokenizer.chat_tokens(said)
    assert ids.count(tokenizer.eos or -1) == 1 and ids[-1] == tokenizer.eos
    assert tokenizer.decode(ids) == "hi</s>"
