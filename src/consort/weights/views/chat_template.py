"""A checkpoint with another chat template beside it: a named format, the one most inputs have, or Jinja text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from consort.core.errors import BadParameter, did_you_mean
from consort.weights.checkpoint import Checkpoint, leaves
from consort.weights.registry import view
from consort.weights.views.basic import View

TEMPLATE, TOKENIZER_CONFIG = "chat_template.jinja", "tokenizer_config.json"
AUTO = "auto"
NAMED = {
    "alpaca": (
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
        "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
        "{% elif message['role'] == 'assistant' %}"
        "{{ '### Response:\\n' + message['content'] + (eos_token or '') + '\\n\\n' }}"
        "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
    ),
    "chatml": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "exaone": (
        "{% for message in messages %}"
        "{% if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\\n' }}{% endif %}"
        "{{ '[|' + message['role'] + '|]' + message['content'] }}"
        "{{ '\\n' if message['role'] == 'user' else '[|endofturn|]\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
    ),
    "llama3": (
        "{{ bos_token or '' }}{% for message in messages %}"
        "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
        "{{ message['content'] | trim + '<|eot_id|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
    "mistral": (
        "{{ bos_token or '' }}{% set ns = namespace(system='') %}{% for message in messages %}"
        "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\\n\\n' %}"
        "{% elif message['role'] == 'user' %}"
        "{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}{% set ns.system = '' %}"
        "{% else %}{{ ' ' + message['content'] | trim + (eos_token or '') }}{% endif %}"
        "{% endfor %}"
    ),
}
"""Common formats, by the name they are known by."""


@view()
class ChatTemplate(View):
    """A model with another chat template beside it; its weights are untouched.

    `template`: alpaca, chatml, exaone, llama3, mistral, Jinja text, or "auto" for the one that most of the model's
    inputs have (of equally many the first).
    """

    def __init__(self, model: Checkpoint, template: str) -> None:
        super().__init__(model, model.name)
        self.model, self.template = model, template
        if template != AUTO and template not in NAMED and "{" not in template:
            hint = did_you_mean(template, [AUTO, *NAMED])
            raise BadParameter(f"{template!r:.80} is neither a format nor a Jinja text", field="template", hint=hint)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        self.source.read_into(name, start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        files = dict(self.source.files())
        text = _most_frequent(self.source) if self.template == AUTO else NAMED.get(self.template, self.template)
        if text is None:
            return files
        config = _config(files)
        if "chat_template" in config:
            del config["chat_template"]
            files[TOKENIZER_CONFIG] = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
        return files | {TEMPLATE: text.encode()}


def template_of(checkpoint: Checkpoint) -> str | None:
    """The chat template that lies beside a checkpoint, None if there is none."""
    files = checkpoint.files()
    if TEMPLATE in files:
        return _read(files[TEMPLATE]).decode(errors="replace")
    found = _config(files).get("chat_template")
    if isinstance(found, list):
        found = next((e.get("template") for e in found if isinstance(e, dict) and e.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _most_frequent(checkpoint: Checkpoint) -> str | None:
    found = [text.strip() for leaf in leaves(checkpoint) if (text := template_of(leaf))]
    return Counter(found).most_common(1)[0][0] if found else None


def _config(files: Mapping[str, Path | bytes]) -> dict[str, Any]:
    """tokenizer_config.json; empty where it is absent or no JSON object."""
    try:
        config = json.loads(_read(files.get(TOKENIZER_CONFIG, b"{}")))
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}


def _read(content: Path | bytes) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content
