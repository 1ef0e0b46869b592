"""A tutorial as a Jupyter notebook (nbformat 4.5, without outputs), made without Jupyter."""

from __future__ import annotations

import json
import posixpath
import re
import shlex

from docs.making.blocks import Block, blocks, commands

HOSTED = re.compile(r"\]\((?!https?:|#)([^)]+)\)")
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook(page: str, *, folder: str) -> str:
    """The notebook of a tutorial in `folder` of docs/; links lead from docs/notebooks to where they led."""
    cells = [cell for block in blocks(page) for cell in cells_of(block, folder)]
    numbered = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]
    document = {"cells": numbered, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def cells_of(block: Block, folder: str) -> list[dict[str, object]]:
    if block.kind == "text":
        return [markdown(HOSTED.sub(lambda found: f"]({moved(found[1], folder)})", block.text))]
    if block.kind == "python":
        return [code(block.text)]
    if block.kind == "file":
        return [code(f"%%writefile {block.name}\n{block.text}")]
    if block.kind == "console":
        return [code(typed(command)) for command, _ in commands(block.text)]
    return [] if block.kind == "printed" else [markdown(f"```{block.language}\n{block.text}```\n")]


SERVE = """import subprocess

words = {words}
server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
print(server.stderr.readline())  # once it serves"""


def typed(command: str) -> str:
    """A command in a cell; a server in the background is a process of the notebook's."""
    if command.endswith("&"):
        return SERVE.format(words=json.dumps(shlex.split(command.rstrip("& "))))
    return "server.terminate()" if command == "kill %1" else f"!{command}"


def moved(target: str, folder: str) -> str:
    return posixpath.relpath(posixpath.join(folder, target), "notebooks")


def markdown(text: str) -> dict[str, object]:
    return {"cell_type": "markdown", "metadata": {}, "source": lines(text)}


def code(text: str) -> dict[str, object]:
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines(text)}


def lines(text: str) -> list[str]:
    return text.strip("\n").splitlines(keepends=True)
