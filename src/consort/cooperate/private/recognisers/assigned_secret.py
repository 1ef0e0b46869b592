"""Passwords, tokens and keys that a text gives a name to: in code, settings, JSON, headers, commands, or in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span

NAME = (
    r"(?:passw(?:or)?d|passphrase|passcode|passwort|kennwort|contraseña|mot[ _]de[ _]passe|senha|пароль|密码|口令|"
    r"パスワード|pwd|secret|token|credentials?|"
    r"(?:api|access|private|secret|auth|account|encryption|license|signing)[ _-]?key|"
    r"(?<![A-Za-z0-9])pin)"
)
SIGN = r"[\"'`\])\\]{0,4}\s{0,4}(?::=|=>|[:=>])\s{0,4}\\?"
SAID = r"[ ](?:is|was|ist|war|es|est)[ ]|[ ]?[是为は][ ]?"
PLAIN = r"[^\s\"'`<>,;()\[\]{}]{1,1024}"
QUOTED = re.compile(rf"{NAME}{SIGN}([\"'`])((?:(?!\1|\\\1)[^\n]){{4,1024}})", re.IGNORECASE)
BARE = re.compile(rf"{NAME}(?:{SIGN}|{SAID})({PLAIN})", re.IGNORECASE)
HEADER = re.compile(rf"(?<![A-Za-z0-9_])(?:bearer|basic|digest)[ ]({PLAIN})", re.IGNORECASE)
SETTING = re.compile(rf"{NAME}=({PLAIN})", re.IGNORECASE)
OPTION = re.compile(rf"(?<![A-Za-z0-9_-])--?[\w-]{{0,64}}{NAME}[ ]({PLAIN})", re.IGNORECASE)
COMMAND = re.compile(rf"(?<![A-Za-z0-9_])(?:mysql|mysqldump|mariadb)[ ][^\n]{{0,200}}?-p({PLAIN})")
SHORTEST = 4
"""Characters of a value without quotes that counts."""
WORDS = re.compile(r"[^\W\d_]+(?:[._][^\W\d]*)*[.!?:]?")
"""A word of a sentence, or of code, that is no secret."""


@recogniser(paper="names of secrets in code and settings")
class AssignedSecret:
    """What follows a name such as `password` and a sign that assigns it. Without quotes it counts if there is a digit
    or a sign in it, or no space about a `=`, so that words of a sentence or of a program are left alone.
    """

    def find(self, text: str) -> Iterator[Span]:
        for match in QUOTED.finditer(text):
            yield Span(match.start(2), match.end(2), "SECRET", 65)
        for pattern in (BARE, HEADER):
            for match in pattern.finditer(text):
                if len(match.group(1)) >= SHORTEST and not WORDS.fullmatch(match.group(1)):
                    yield Span(match.start(1), match.end(1), "SECRET", 65)
        for pattern in (SETTING, OPTION, COMMAND):
            for match in pattern.finditer(text):
                yield Span(match.start(1), match.end(1), "SECRET", 65)
