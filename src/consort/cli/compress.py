"""`consort compress`: a text made shorter, and what was cut."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.options import Debug, Json, RemoteCode, Seed
from consort.cli.output import note, print_json
from consort.core.errors import BadData, BadParameter
from consort.core.visible import visible

if TYPE_CHECKING:
    from consort.cooperate.compress.parts import Budget, Compression, Part
    from consort.models.base import Tokenizer

STRUCK = "\x1b[9m", "\x1b[29m"
MARKED = "[-", "-]"


def compress(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A text in UTF-8, or '-' for standard input.")],
    compressor: Annotated[
        str,
        typer.Option(
            "--compressor", metavar="PLAN", help="A name, an expression such as '{selective: {scorer: MODEL}}', a file."
        ),
    ] = "auto",
    budget: Annotated[
        str | None, typer.Option("--budget", help="A share (0.5, 50%) or a whole number of tokens (200).")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="The share of the tokens that is kept.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="How many tokens are kept.")] = None,
    threshold: Annotated[float | None, typer.Option("--threshold", help="The least importance that is kept.")] = None,
    question: Annotated[str | None, typer.Option("--question", help="What the text shall answer.")] = None,
    prompt: Annotated[
        bool, typer.Option("--prompt", help="FILE is a whole prompt: its last paragraph is the question.")
    ] = False,
    reader: Annotated[
        str | None, typer.Option("--reader", metavar="MODEL", help="Whose tokens are counted; its tokenizer is read.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show what was cut, struck through.")] = False,
    seed: Seed = 0,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Shorten a text to a budget; the shortened text goes to standard output, byte for byte what was kept."""
    from consort.cooperate.compress.parts import Part
    from consort.cooperate.compress.roles import parts_of
    from consort.cooperate.compress.units import paragraphs

    limit = _budget(budget, rate, tokens, threshold)
    call, read_by = _expression(compressor)
    text = _text(file)
    made, counted_by = _made(call, read_by if reader is None else reader, seed, allow_remote_code)
    parts = parts_of(text).parts if prompt else [Part(text[a:b]) for a, b in paragraphs(text)]
    done = made.compress(parts, limit, question, reader=counted_by)
    if json:
        print_json(_document(made, parts, done))
        return
    _print_shortened(parts, done, show)
    before, after = sum(one.tokens_before for one in done), sum(one.tokens_after for one in done)
    unit = "words and marks" if (counted_by or made.own_reader) is None else "tokens"
    note(f"{made.name}: {after} of {before} {unit}")


def _print_shortened(parts: list[Part], done: list[Compression], show: bool) -> None:
    if show:
        print(shown(parts, done, STRUCK if sys.stdout.isatty() else MARKED))
    else:
        sys.stdout.write("".join(one.text for one in done))


def _budget(budget: str | None, rate: float | None, tokens: int | None, threshold: float | None) -> Budget | None:
    from consort.cooperate.compress.parts import Budget

    given = {"--budget": budget, "--rate": rate, "--tokens": tokens, "--threshold": threshold}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise BadParameter(f"{' and '.join(named)} were given", field=named[1], hint="give one of them")
    if budget is not None:
        return read_budget(budget)
    return Budget(rate=rate, tokens=tokens, threshold=threshold) if named else None


def read_budget(text: str) -> Budget:
    """A budget as it is written on a command line.

    >>> read_budget("50%").rate, read_budget("0.5").rate, read_budget("200").tokens
    (0.5, 0.5, 200)
    """
    from consort.cooperate.compress.parts import Budget

    try:
        if text.endswith("%"):
            return Budget(rate=float(text[:-1]) / 100)
        return Budget(tokens=int(text)) if text.lstrip("+-").isdecimal() else Budget(rate=float(text))
    except ValueError:
        hint = "a share such as 0.5 or 50%, or a whole number of tokens"
        raise BadParameter(f"{text!r} is no budget", field="--budget", hint=hint) from None


def _text(file: str) -> str:
    """The text of a file or of standard input, its line ends as they are."""
    if not file:
        raise BadParameter("is empty", field="FILE", hint="name a text file, or '-' for standard input")
    if file != "-" and not Path(file).is_file():
        what = "is a folder" if Path(file).is_dir() else "there is no such file"
        raise BadData(what, field=file, hint="name a text file, or '-' for standard input")
    try:
        return (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
    except UnicodeDecodeError:
        raise BadData("is not UTF-8 text", field=file, hint="save it as UTF-8") from None


def _expression(text: str) -> tuple[Any, str | None]:
    """The compressor's checked expression, and the reader where a plan of a `compressed` model names one."""
    from consort.cooperate.compress.compressors import COMPRESSORS
    from consort.data import load_yaml
    from consort.plan.expression import Reference, parse, parse_kind

    if text in COMPRESSORS:
        return parse_kind(text, "compressor", {}, "--compressor"), None
    found = load_yaml(Path(text) if Path(text).is_file() else text)
    names = found.get("models") or {} if isinstance(found, Mapping) and "plan" in found else {}
    value = found["plan"] if isinstance(found, Mapping) and "plan" in found else found
    if isinstance(value, Mapping) and list(value) == ["compressed"]:
        root: Any = parse(found).root
        model = root.arguments["model"]
        return root.arguments["compressor"], model.text if isinstance(model, Reference) else None
    if not isinstance(value, Mapping | str):
        hint = "a name (consort methods --kind compressor), or {name: {parameter: value}}"
        raise BadParameter(f"{text!r} is no compressor", field="--compressor", hint=hint)
    return parse_kind(value, "compressor", names, "--compressor"), None


def _made(call: Any, reader: str | None, seed: int, allow_remote_code: bool) -> tuple[Any, Tokenizer | None]:
    """The compressor, and the tokenizer that counts."""
    from consort.plan.build import Builder, load

    if reader == "":
        raise BadParameter("is empty", field="--reader", hint="name a model, or leave it out to count words and marks")
    made = Builder(seed, allow_remote_code).build(call, "compressor")
    if reader is None:
        return made, None
    from consort.models.hf.loading import own_tokenizer

    return made, own_tokenizer(load(reader), allow_remote_code=allow_remote_code)


def _document(made: Any, parts: list[Part], done: list[Compression]) -> dict[str, Any]:
    notes = {key: value for one in done for key, value in one.notes.items()}
    return {
        "compressor": made.name,
        "text": "".join(one.text for one in done),
        "tokens_before": sum(one.tokens_before for one in done),
        "tokens_after": sum(one.tokens_after for one in done),
        "parts": [
            {"part": one.part, "role": parts[one.part].role, "kept": [list(span) for span in one.kept]} for one in done
        ],
        "notes": notes,
    }


def shown(parts: list[Part], done: list[Compression], marks: tuple[str, str]) -> str:
    """All parts with what was cut between marks; text that was written anew stands behind what it replaces."""
    found = []
    for one in done:
        original, at = parts[one.part].text, 0
        rewritten = bool(one.text) and not one.kept
        for start, end in one.kept:
            found += [_struck(original[at:start], marks), visible(original[start:end])]
            at = end
        found.append(_struck(original[at:], marks))
        if rewritten:
            found.append(visible(one.text))
    return "".join(found)


def _struck(text: str, marks: tuple[str, str]) -> str:
    return f"{marks[0]}{visible(text)}{marks[1]}" if text else ""
