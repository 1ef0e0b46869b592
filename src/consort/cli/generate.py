"""`consort generate`: text from any model-valued plan."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.options import Debug, Json, RemoteCode, Seed, System, Temperature, TopP
from consort.cli.output import print_json, result
from consort.core.errors import BadData, BadParameter
from consort.core.files import read_stdin
from consort.core.types import Completion, Sampling, Usage

log = logging.getLogger(__name__)


def generate(
    system: System,
    prompt: Annotated[str | None, typer.Argument(help="The prompt; none: standard input.")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help='JSON lines of {"prompt": …} or {"messages": …}.')
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 64,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Text from a model or from any plan of models."""
    from consort.plan import build, read_plan

    if prompt is not None and prompts is not None:
        raise BadParameter("a prompt and --prompts were given", field="--prompts", hint="give one of them")
    plan = read_plan(system)
    asked = _prompts(prompt, prompts, system)
    model = build(plan, "model", allow_remote_code=allow_remote_code)
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    if prompts is None and not json and sys.stdout.isatty() and hasattr(model, "stream"):
        for piece in model.stream(asked[0], sampling):
            result(piece, end="")
        result("")
        return
    for completion in model.generate(asked, sampling):
        print_json(document(completion)) if json else result(completion.text)
        for name, why in completion.details.get("failed", {}).items():
            log.warning("%s gave no answer: %s", name, why)


def _prompts(prompt: str | None, file: Path | None, system: str) -> list[Any]:
    if file is not None:
        from consort.data import load_prompts

        return load_prompts(file)
    if prompt is not None:
        return [_checked(prompt)]
    if system == "-":
        raise BadParameter(
            "the plan is read from standard input, so the prompt cannot be", field="PROMPT", hint="give it"
        )
    return [read_stdin("PROMPT").rstrip("\n")]


def _checked(prompt: str) -> str:
    """The prompt, which the system hands over with stand-ins for bytes that are not UTF-8."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise BadData("is not UTF-8 text", field="PROMPT", hint="write it in UTF-8") from None
    return prompt


def document(completion: Completion) -> dict[str, Any]:
    """A completion as plain values: text, token ids, logprob, finish_reason, usage and cost of every inner model."""
    return {
        "text": completion.text,
        "tokens": list(completion.tokens),
        "logprob": completion.logprob,
        "finish_reason": completion.finish_reason,
        "usage": usage_document(completion.usage),
        "cost": {name: usage_document(usage) for name, usage in completion.cost.items()},
        "details": _plain(completion.details),
    }


def usage_document(usage: Usage) -> dict[str, Any]:
    """Usage as plain values, for JSON."""
    return {**asdict(usage), "total_tokens": usage.total_tokens}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple | bytes) else value
