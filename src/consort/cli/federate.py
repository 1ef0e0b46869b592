"""`consort federate`: train together without pooling data; a simulation, a server, or (`join`) a client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from consort.cli.options import Debug, Force, Json, RemoteCode, named, named_path
from consort.cli.output import note, print_json, print_table
from consort.core.errors import BadParameter

if TYPE_CHECKING:
    from consort.federate.running import Outcome

RUN = "run"


class RunByDefault(TyperGroup):
    """A group whose command `run` may be left out: `consort federate PLAN OUT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` in front of what is no command and no option of the group."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=RunByDefault,
    help="Train together without pooling data: `consort federate PLAN OUT`, and `join` for a client elsewhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(RUN)
def run(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", parser=named, help="A federation plan, or '-' for standard input.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", parser=named_path("OUT"), help="The run folder.")],
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the plan's seed.")] = None,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a federation by a plan: a simulation or a server; killed and run again it resumes. `run` may be left out."""
    from consort.core.errors import BadPlan
    from consort.core.files import read_stdin
    from consort.data.yaml import load_yaml
    from consort.federate.plan import parse_federate

    text: Any = load_yaml(read_stdin("plan", BadPlan) if plan == "-" else Path(plan))
    if seed is not None and isinstance(text, Mapping):
        text = {**text, "seed": seed}
    checked = parse_federate(text)
    from consort.federate.running import federate  # torch only for a plan that is sound
    from consort.plan.build import Builder
    from consort.plan.expression import parse
    from consort.plan.references import open_task
    from consort.report import write_report

    builder = Builder(checked.settings.seed, allow_remote_code)
    outcome = federate(
        checked,
        out,
        open_model=lambda model: builder.build(parse({"plan": model}).root, "checkpoint"),
        open_task=open_task,
        force=force,
        told=_told,
        said=note,
    )
    write_report(out, out / "report.html")
    if json:
        from consort.cli.output import print_results

        print_results(out)
        return
    _print(outcome)


@app.command()
def join(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server: http://HOST:PORT or https://…")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE", parser=named_path("--data"), help="Your own rows.")],
    model: Annotated[str | None, typer.Option("--model", help="Where the base model is here, if elsewhere.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", parser=named_path("--folder"), help="What is remembered of rounds."),
    ] = None,
    token_env: Annotated[str, typer.Option("--token-env", help="The variable that has your token.")] = "CONSORT_TOKEN",
    authority: Annotated[
        Path | None,
        typer.Option("--ca", metavar="FILE", parser=named_path("--ca"), help="The certificate authority to trust."),
    ] = None,
    patience: Annotated[float, typer.Option("--patience", min=0, help="Seconds to wait for the server.")] = 60.0,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take part in a federation with your own rows, which stay here: only trained tensors and numbers are sent."""
    token = os.environ.get(token_env, "")
    if not token:
        hint = f"export {token_env}=… with the token that the server's owner gave you"
        raise BadParameter("no token", field=f"--token-env {token_env}", hint=hint)
    if not data.is_file():
        raise BadParameter("no such file", field=f"--data {data}", hint="a JSONL file of your own rows")
    from consort.federate.http.joining import Joined
    from consort.federate.member import member_of
    from consort.plan.build import Builder
    from consort.plan.expression import parse

    with Joined(url, token, authority=authority, patience_s=patience) as joined:
        name, plan = joined.plan()
        builder = Builder(int(plan.get("seed", 0)), allow_remote_code)
        base = builder.build(parse({"plan": model or plan.get("model")}).root, "checkpoint")
        client = member_of(name, plan, base, data, folder)
        note(f"joined as {name} with {client.trainer.samples} rows")
        count = joined.work(client, told=note)
    if json:
        print_json({"client": name, "tasks": count})
        return
    print(f"done: {count} tasks")


def _told(line: Mapping[str, Any]) -> None:
    left = ", ".join(f"{name} ({why})" for name, why in line["excluded"].items())
    spent = f", epsilon {line['epsilon']:.3g}" if line.get("epsilon") is not None else ""
    loss = f", loss {line['metrics']['loss']:.4f}" if "loss" in line.get("metrics", {}) else ""
    note(f"round {line['round'] + 1}: {len(line['clients'])} clients{loss}{spent}{'; without ' + left if left else ''}")


def _print(outcome: Outcome) -> None:
    if outcome.comparison is not None:
        from consort.evaluate import comparison_table

        columns, rows = comparison_table(outcome.comparison)
        print_table(columns, rows)
    note(outcome.headline)
    print(outcome.folder / "model")
