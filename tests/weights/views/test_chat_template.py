"""Chat templates put beside a checkpoint."""

from __future__ import annotations

import json

import pytest
import torch
from jinja2 import Environment

from consort.core.errors import BadParameter
from consort.merge import merge
from consort.plan import build, parse, to_plan
from consort.weights import ChatTemplate, Memory
from consort.weights.views.chat_template import NAMED, template_of

CHAT = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]


def model(template=None, config=None):
    files = {} if template is None else {"chat_template.jinja": template.encode()}
    files |= {} if config is None else {"tokenizer_config.json": json.dumps(config).encode()}
    return Memory({"w": torch.ones(2)}, {}, files=files)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n",
        ),
        ("mistral", "<s>[INST] S\n\nU [/INST] A</s>"),
        ("alpaca", "S\n\n### Instruction:\nU\n\n### Response:\nA</s>\n\n"),
        ("exaone", "[|system|]S[|endofturn|]\n[|user|]U\n[|assistant|]A[|endofturn|]\n"),
    ],
)
def test_named_formats(name, text):
    template = Environment().from_string(NAMED[name])
    assert template.render(messages=CHAT, bos_token="<s>", eos_token="</s>") == text


def test_a_generation_prompt_opens_the_answer():
    template = Environment().from_string(NAMED["llama3"])
    shown = template.render(messages=CHAT[1:2], bos_token="<s>", add_generation_prompt=True)
    start = "<|start_header_id|>"
    assert shown == f"<s>{start}user<|end_header_id|>\n\nU<|eot_id|>{start}assistant<|end_header_id|>\n\n"


def test_the_weights_are_the_models_and_the_old_template_goes():
    view = ChatTemplate(model(config={"chat_template": "old", "eos_token": "x"}), "{{ messages }}")
    assert view["w"].tolist() == [1, 1] and template_of(view) == "{{ messages }}"
    assert json.loads(view.files()["tokenizer_config.json"]) == {"eos_token": "x"}


def test_auto_is_the_most_frequent_of_the_inputs():
    models = [model("{a}"), model(config={"chat_template": "{b}"}), model("{b}\n"), model()]
    assert template_of(ChatTemplate(merge("linear", models), "auto")) == "{b}"
    assert template_of(ChatTemplate(merge("linear", models[:2]), "auto")) == "{a}"
    assert template_of(ChatTemplate(model(), "auto")) is None


def test_other_words_are_refused():
    with pytest.raises(BadParameter, match="neither a format") as error:
        ChatTemplate(model(), "chatlm")
    assert error.value.hint == "did you mean 'chatml'?"


def test_plans_know_it():
    document = {"chat_template": {"model": "lab:mirror", "template": "chatml"}}
    assert to_plan(build(parse(document), "checkpoint")) == document
