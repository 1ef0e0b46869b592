"""Run the program in this process and look at what it prints."""

from __future__ import annotations

import json
from collections import namedtuple

import pytest

Shown = namedtuple("Shown", "code out err")


@pytest.fixture
def consort(capsys):
    from consort.cli.border import run

    def call(*arguments):
        code = run([str(a) for a in arguments])
        return Shown(code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(consort):
    """Call that must be refused: exit 2, exactly one error and one hint line, nothing on stdout."""

    def call(*arguments, code=2):
        shown = consort(*arguments)
        lines = shown.err.strip().splitlines()
        assert shown.code == code, shown
        assert shown.out == ""
        assert [line.split(":")[0] for line in lines] == ["error", "hint"], shown.err
        return shown.err

    return call


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])
