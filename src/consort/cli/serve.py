"""`consort serve`: any plan behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import Debug, RemoteCode

_MODELS = "A plan file or a model, or NAME=PLAN; several are served side by side."


def serve(
    sources: Annotated[list[str], typer.Argument(metavar="PLAN|MODEL", help=_MODELS)],
    host: Annotated[str, typer.Option("--host", help="Where to listen; one that others can reach needs a key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 8000,
    api_key_env: Annotated[
        str | None, typer.Option("--api-key-env", metavar="NAME", help="The environment variable with the key.")
    ] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="A YAML file of keys, limits and budgets.")] = None,
    store: Annotated[Path | None, typer.Option("--store", help="Where spending is kept (SQLite).")] = None,
    allow_host: Annotated[list[str], typer.Option("--allow-host", help="A name by which it may be asked for.")] = [],  # noqa: B006
    queue: Annotated[int, typer.Option("--queue", min=1, help="Requests under way at once.")] = 128,
    deadline: Annotated[float, typer.Option("--deadline", min=0.01, help="Seconds for an answer.")] = 600.0,
    max_members: Annotated[
        int | None, typer.Option("--max-members", min=1, help="Members that one request may ask.")
    ] = None,
    quorum: Annotated[int, typer.Option("--quorum", min=1, help="Members that must have answered.")] = 1,
    cooldown: Annotated[
        float, typer.Option("--cooldown", min=0, help="Seconds a failing member is left alone.")
    ] = 30.0,
    portion: Annotated[int, typer.Option("--portion", min=1, help="Tokens of prompts read in a step.")] = 512,
    prefix_rows: Annotated[
        int, typer.Option("--prefix-rows", min=0, help="Finished rows kept for prompts that begin alike; 0: none.")
    ] = 8,
    cache: Annotated[int, typer.Option("--cache", min=0, help="Exact answers kept (temperature 0, or a seed).")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes; for remote members only.")] = 1,
    log: Annotated[str | None, typer.Option("--log", help="A file of JSON lines, one a request; '-': stderr.")] = None,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Prompts in the log too.")] = False,
    allow_remote_code: RemoteCode = False,
    debug: Debug = False,
) -> None:
    """Serve plans and models: OpenAI's endpoints, Responses, Messages, Ollama's, and a page at /.

    Every plan and every model inside it is a model id; a strategy with a threshold also answers to NAME-0.6. Stops on
    SIGINT and SIGTERM once what is under way has ended (at most 30 s); SIGHUP reads the plans again.

    A request may have: a body of 8 MiB, 512 prompts, n up to 16, 20 top_logprobs, 16 stop strings, 256 tools.
    """
    from consort.server.run import Server

    server = Server(
        sources,
        host=host,
        port=port,
        api_key_env=api_key_env,
        keys=keys,
        store=store,
        hosts=tuple(allow_host),
        queue=queue,
        deadline_s=deadline,
        max_members=max_members,
        quorum=quorum,
        cooldown_s=cooldown,
        portion=portion,
        prefix_rows=prefix_rows,
        cache=cache,
        log=log,
        log_prompts=log_prompts,
        allow_remote_code=allow_remote_code,
    )
    if workers > 1:
        from consort.server.operations.workers import run_workers

        run_workers(server, workers)
        return
    server.prepare()
    server.run()
