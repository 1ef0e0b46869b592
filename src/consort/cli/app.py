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
    init,
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
from consort.cli.early import early
from consort.cli.options import placed, pushed

app = typer.Typer(
    help="Many language models made to work as one: merge, ensemble, cooperate; measured and saved.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("auto")(pushed(placed(early(auto.auto))))
app.command("merge")(pushed(early(merge.merge)))
app.command("check")(check.check)
app.command("generate")(placed(early(generate.generate)))
app.command("score")(placed(early(score.score)))
app.command("search")(pushed(placed(early(search.search))))
app.command("eval")(placed(early(evaluate.evaluate)))
app.command("collect")(early(collect.collect))
app.command("compress")(compress.compress)
app.command("fit")(placed(early(fit.fit)))
app.command("fuse")(pushed(fuse.fuse))
app.command("index")(index.index)
app.command("init")(init.init)
app.command("serve")(placed(serve.serve))
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
