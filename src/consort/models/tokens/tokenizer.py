"""Tokenizers behind the protocol: fast ones of transformers, and bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from consort.core.errors import BadCheckpoint, MissingExtra
from consort.core.types import Chat, Message, Prompt, Tokens
from consort.models.hf.quiet import quiet
from consort.models.placement import NONE, OWN, current
from consort.models.tokens.chats import PlainChats
from consort.models.tokens.template import writing_by_template
from consort.weights.disk.paths import read_json


def vocabulary_key(ids: Mapping[str, int]) -> str:
    """A hash of a token -> id map; equal maps have equal keys."""
    return sha256(json.dumps(sorted(ids.items()), ensure_ascii=True).encode()).hexdigest()[:32]


class HFTokenizer:
    """A fast tokenizer of transformers. `bos` and `eos` are used where the tokenizer does not name its own.

    `template` says how chats are written: `own`, `required` or `none` (see `placement`).
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        bos: int | None = None,
        eos: int | None = None,
        name: str = "the tokenizer",
        template: str | None = None,
    ) -> None:
        self.tokenizer, self.name = tokenizer, name
        self.template = template or current().template or OWN
        self._lines = PlainChats(name, self.template)
        ids: dict[str, int] = tokenizer.get_vocab()
        self.vocabulary_key = vocabulary_key(ids)
        self.vocab_size = max(ids.values(), default=-1) + 1
        self.bos: int | None = bos if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        self.eos: int | None = eos if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        self.unk: int | None = _unknown(tokenizer)
        self._head = self._found_head()
        self.controls = {str(t): i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        """Texts that stand for control tokens, by which a chat's template separates what was said by whom."""

    def _found_head(self) -> list[int]:
        """What the tokenizer puts before a text; what some put after it, an end, has no place in a prompt."""
        plain, full = self._ids("a", special=False), self._ids("a", special=True)
        starts = (i for i in range(len(full)) if full[i : i + len(plain)] == plain)
        return full[: next(starts, 0)]

    def _ids(self, text: str, *, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        return [*(self._head if special else ()), *self._ids(text, special=False)]

    def literal(self, text: str) -> list[int]:
        """As `encode`, but the names of control tokens in `text` are letters like others."""
        return [*self._head, *self._letters(text)]

    def _letters(self, text: str) -> list[int]:
        if not any(name in text for name in self.controls):
            return self._ids(text, special=False)
        ids = list(
            self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        )
        if not set(ids) & set(self.controls.values()):
            return ids
        # a vocabulary that has the name as an ordinary piece too: it is read in two pieces
        return [i for part in _cut(text, self.controls) for i in self._ids(part, special=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens; bytes that are no character yet become U+FFFD."""
        known = [token for token in tokens if token < self.vocab_size]
        return str(self.tokenizer.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def chat(self, prompt: Prompt) -> str:
        if isinstance(prompt, str):
            return prompt
        if self.template == NONE or not self.tokenizer.chat_template:
            return self._lines.write(prompt)
        tools = [dict(tool) for tool in getattr(prompt, "tools", ())] or None
        with writing_by_template("the chat template", "messages"):
            render = self.tokenizer.apply_chat_template
            return str(render(list(prompt), tools=tools, tokenize=False, add_generation_prompt=True))

    def chat_tokens(self, messages: Sequence[Message]) -> list[int]:
        """What the model reads for a chat. What a message says is text: control tokens come from the template alone."""
        tools = getattr(messages, "tools", ())
        written = "\n".join((*_texts(messages), *_texts(tools)))
        if not any(name in written for name in self.controls):
            return self.encode(self.chat(messages))
        mark = next(chr(i) for i in range(0xE000, 0xF900) if chr(i) not in written)
        names = sorted(self.controls, key=len, reverse=True)
        marks = {n: f"{mark}{i}{mark}" for i, n in enumerate(names)}
        hidden = Chat(
            cast(
                "list[Message]",
                [{k: v if k == "role" else _replaced(v, marks) for k, v in m.items()} for m in messages],
            ),
            [_replaced(tool, marks) for tool in tools],
        )
        shown = {f"{mark}{i}{mark}": name for i, name in enumerate(names)}
        found = list(self._head)
        for section in re.split("(" + "|".join(map(re.escape, names)) + ")", self.chat(hidden)):
            own = self.controls.get(section)
            found += self._letters(_replaced(section, shown)) if own is None else [own]
        return found


def read_chat(tokenizer: Any, prompt: Prompt) -> list[int]:
    """What a model reads for a prompt: a string as it is, control tokens included, a chat by the model's template."""
    if isinstance(prompt, Tokens):
        return list(prompt.ids)
    own = getattr(tokenizer, "chat_tokens", None)
    return list(tokenizer.encode(tokenizer.chat(prompt)) if isinstance(prompt, str) or own is None else own(prompt))


def _replaced(text: Any, by: Mapping[str, str]) -> Any:
    """`text` with every key replaced, the first of several that begin at one place; what is no text stays.

    In a list of parts that is done to every text inside, at any depth.
    """
    if isinstance(text, Mapping):
        return {key: value if key == "type" else _replaced(value, by) for key, value in text.items()}
    if isinstance(text, list | tuple):
        return [_replaced(value, by) for value in text]
    if not isinstance(text, str):
        return text
    return re.sub("|".join(map(re.escape, by)), lambda found: by[found.group()], text)


def _texts(value: Any) -> Iterator[str]:
    """All texts of a chat, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _cut(text: str, names: Collection[str]) -> list[str]:
    """`text` in pieces, none of which has one of the names."""
    for name in names:
        text = text.replace(name, f"{name[:1]}\0{name[1:]}")
    return text.split("\0")


def _unknown(tokenizer: Any) -> int | None:
    """The id that the tokenizer gives for what it cannot write; its settings may name none, or another."""
    named: int | None = tokenizer.unk_token_id
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return named
    if type(core.model).__name__ == "Unigram":  # the only one that keeps a number, and does not show it
        number: int | None = json.loads(core.to_str())["model"].get("unk_id")
        return named if number is None else number
    token = getattr(core.model, "unk_token", None)
    return named if token is None else core.token_to_id(token)


class ByteTokenizer:
    """The bytes of UTF-8 are the tokens, id = value. `bos` and `eos` may be any ids; none is added to a text.

    There is no chat template of bytes; `name` and `template` say what that is told of, and whether it is refused.
    """

    def __init__(
        self,
        *,
        bos: int | None = None,
        eos: int | None = None,
        name: str = "a tokenizer of bytes",
        template: str | None = None,
    ) -> None:
        self.bos, self.eos = bos, eos
        self.template = template or current().template or OWN
        self._lines = PlainChats(name, self.template)
        self.unk: int | None = None
        self.vocab_size = max(256, *(t + 1 for t in (bos, eos) if t is not None), 0)
        self.vocabulary_key = vocabulary_key({f"<0x{i:02X}>": i for i in range(self.vocab_size)})

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token < 256).decode("utf-8", "replace")

    def chat(self, prompt: Prompt) -> str:
        return prompt if isinstance(prompt, str) else self._lines.write(prompt)


TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
"""A folder with none of these has no tokenizer; transformers would make up a useless one."""


def load_tokenizer(
    folder: Path,
    label: str,
    *,
    config: Mapping[str, Any],
    template: str | None = None,
    allow_remote_code: bool = False,
) -> HFTokenizer:
    """The tokenizer in `folder`. Raises BadCheckpoint, naming `label`, if there is none or it cannot be read."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        hint = "name a folder with one as tokenizer; a model whose tokens are bytes has tokenizer: bytes"
        raise BadCheckpoint("has no tokenizer", field=label, hint=hint)
    from huggingface_hub.errors import StrictDataclassError

    kinds = (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, ImportError)
    try:
        with quiet():
            tokenizer = _read_tokenizer(folder, allow_remote_code)
    except (*kinds, StrictDataclassError) as error:
        if missing := _missing_package(folder):
            hint = f"pip install {missing}, or add the tokenizer.json that the model's fast tokenizer is saved as"
            raise MissingExtra(f"its tokenizer.model is read by {missing}", field=label, hint=hint) from error
        raise BadCheckpoint(f"its tokenizer cannot be read: {one_line(error)}", field=label) from error
    bos, eos = first_id(config, "bos_token_id"), first_id(config, "eos_token_id")
    return HFTokenizer(tokenizer, bos=bos, eos=eos, name=label, template=template)


def _missing_package(folder: Path) -> str | None:
    """The package that reads a folder's tokenizer.model, if there is no other file and the package is not there."""
    file = folder / "tokenizer.model"
    if (folder / "tokenizer.json").is_file() or not file.is_file():
        return None
    # SentencePiece writes a protocol buffer, tiktoken lines of a base64 word and a number
    with file.open("rb") as opened:
        lines = re.fullmatch(rb"[A-Za-z0-9+/=]+ \d+\s*", opened.readline(200)) is not None
    needed = {"tiktoken": "tiktoken"} if lines else {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
    return " ".join(package for module, package in needed.items() if not _is_there(module)) or None


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package whose parent is missing
        return False


def _read_tokenizer(folder: Path, allow_remote_code: bool) -> Any:
    """The tokenizer of a file as it is; only without one is it built by the rules of the model's architecture.

    AutoTokenizer goes by the architecture also where there is a file, and then keeps the file's pieces but not how it
    splits text (a Unigram tokenizer beside a Qwen2 model loses all spaces).
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    settings = folder / "tokenizer_config.json"
    has_code = allow_remote_code and settings.is_file() and "auto_map" in read_json(settings)
    if (folder / "tokenizer.json").is_file() and not has_code:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return AutoTokenizer.from_pretrained(
        folder, use_fast=True, local_files_only=True, trust_remote_code=allow_remote_code
    )


def first_id(config: Mapping[str, Any], name: str) -> int | None:
    """A token id of a config, where it may be a number, a list of numbers, or missing."""
    value = config.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, int) else None


def one_line(error: Exception) -> str:
    """The first line of a message of another library, with the next where it only announces that."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
