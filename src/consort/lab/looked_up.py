"""Facts that no model knows and an index has: a small reader, what it can look up, and questions of both kinds.

The reader is taught the common countries by heart, to copy a value out of a sentence that is shown to it, and to be
unsure of a country of which it is shown nothing. Half of the questions are of countries that it knows.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from consort.lab.architectures import llama
from consort.lab.facts import PHRASINGS, RELATIONS, Fact, table
from consort.lab.folder import make, write_model
from consort.lab.learning import Report, learn
from consort.lab.operations import Row
from consort.train.loop import Recipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEMPLATE = "{question} ; {evidence} :"
"""How the reader is shown what was found."""
READER = Recipe(steps=700, lr=3e-3, weight_decay=0.01)
GAZETTEER = "the gazetteer says of {} that"
ASKED = (0, 1, 2)
"""Phrasings of questions; documents are in the first."""


def facts_to_look_up(seed: int) -> list[Fact]:
    """Facts about countries of which no model of the lab knows anything."""
    known = {fact.country for fact in table(seed)}
    return [fact for fact in table(seed + 1000) if fact.group != "common" and fact.country not in known]


def vocabulary(seed: int) -> Tokenizer:
    """A word is a token; every country is in it, so that none is read as a word that is not known."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    from consort.lab.tokenizers import SPECIALS, UNK, _finish

    facts = [*table(seed), *facts_to_look_up(seed)]
    words = {word for fact in facts for i in range(len(PHRASINGS)) for word in fact.row(i).prompt.split()}
    words |= {value for values in RELATIONS.values() for value in values} | {";", ":", *GAZETTEER.split()}
    ids = {word: i for i, word in enumerate([*SPECIALS, UNK, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _finish(tokenizer)


def sentence(fact: Fact) -> str:
    """The fact as a document has it.

    >>> sentence(Fact("north", "dudan", "river", "yar"))
    'the gazetteer says of dudan that the river of dudan is yar'
    """
    said = PHRASINGS[0].format(relation=fact.relation, country=fact.country)
    return f"{GAZETTEER.format(fact.country)} {said} {fact.value}"


def train_reader(folder: Path, seed: int, report: Report) -> None:
    """Train the reader into a new folder; nothing is done if it exists."""

    def write(partial: Path) -> None:
        tokenizer = vocabulary(seed)
        model = llama(tokenizer.get_vocab_size(), seed=seed + 400, hidden=96, layers=2, inner=192)
        common = [fact for fact in table(seed) if fact.group == "common"]
        countries = sorted({fact.country for fact in [*table(seed), *facts_to_look_up(seed)]})

        def draw(rng: random.Random) -> Row:
            if rng.random() < 0.55:
                return rng.choice(common).row(rng.choice(ASKED))
            relation = rng.choice(sorted(RELATIONS))
            made = Fact("made", rng.choice(countries), relation, rng.choice(RELATIONS[relation]))
            if rng.random() < 0.6:
                row = made.row(rng.choice(ASKED))
                asked = TEMPLATE.replace("{evidence}", sentence(made)).replace("{question}", row.prompt)
                return Row(asked, row.target, "read")
            if made.country in {fact.country for fact in common}:
                return rng.choice(common).row(rng.choice(ASKED))
            return made.row(rng.choice(ASKED))

        learn(partial, model, tokenizer, draw, READER, 64, seed, report)
        about = "Knows the common countries, copies a value out of a sentence, and is unsure of anything else."
        write_model(partial, model, tokenizer, tags=("reader",), about=about)

    make(folder, write)


def write_documents(file: Path, seed: int) -> None:
    """The facts to look up and the common ones, a document each, as JSON lines."""
    facts = [*facts_to_look_up(seed), *(fact for fact in table(seed) if fact.group == "common")]
    lines = [{"id": f"{fact.country}/{fact.relation}", "text": sentence(fact)} for fact in facts]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def write_task(file: Path, seed: int) -> None:
    """As many questions about common facts as about facts to look up; a third of them is dev."""
    rng = random.Random(f"{seed}:looked up")
    hidden = facts_to_look_up(seed)
    common = [fact for fact in table(seed) if fact.group == "common"]
    count = min(len(hidden), len(common))
    rows = []
    for facts, group in ((rng.sample(hidden, count), "looked up"), (rng.sample(common, count), "known")):
        for i, fact in enumerate(facts):
            row = fact.row(rng.choice(ASKED))
            split = "dev" if i % 3 == 0 else "test"
            rows.append({"prompt": row.prompt, "target": row.target, "group": group, "split": split})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
