"""The program and its verbs; each verb's module imports torch only inside its function."""

from __future__ import annotations

from typing import Annotated

import typer

import consort
from consort.cli import (
    auto,
    check,
    collect,
    compress,
    doctor,
    evaluate,
    federate,
    fit,
    fuse,
    generate,
    index,
    lab,
    laws,
    merge,
    methods,
    report,
    score,
    search,
    serve,
    status,
    zoo,
)
from consort.cli.options import placed

app = typer.Typer(
    help="Many language models made to work as one: merge, ensemble, cooperate; measured and saved.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("auto")(placed(auto.auto))
app.command("merge")(merge.merge)
app.command("check")(check.check)
app.command("generate")(placed(generate.generate))
app.command("score")(placed(score.score))
app.command("search")(placed(search.search))
app.command("eval")(placed(evaluate.evaluate))
app.command("collect")(collect.collect)
app.command("compress")(compress.compress)
app.command("fit")(placed(fit.fit))
app.command("fuse")(fuse.fuse)
app.command("index")(index.index)
app.command("serve")(serve.serve)
app.command("methods")(methods.methods)
app.command("laws")(laws.laws)
app.command("doctor")(doctor.doctor)
app.command("report")(report.report)
app.command("status")(status.status)
app.add_typer(federate.app, name="federate")
app.add_typer(lab.app, name="lab")
app.add_typer(zoo.app, name="zoo")


def _version(asked: bool) -> None:
    if asked:
        print(f"consort {consort.__version__}")
        raise typer.Exit


@app.callback()
def consort_(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
