"""Laws that every retriever keeps; for authors of plug-ins as for consort's own tests.

`check(NAME)` runs every law over a registered retriever. What it searches follows from its signature: an `index` of
passages, a `graph` of facts, a `database` of rows, a `retriever`, a `model`; other arguments that it needs are what its
decorator gives as `example`, "law" for what the laws have. A law is a function of what makes a retriever of documents,
which raises AssertionError where it is broken; documents are three words each, a fact as well as a passage.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from consort.cooperate.retrieve.retrievers import retrievers
from consort.core.errors import BadData, BadParameter
from consort.core.params import Param
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.knowledge.evidence import Evidence, Retriever
from consort.knowledge.order import id_key
from consort.testing.built import run
from consort.testing.law import law_of

DOCUMENTS = (
    ("d1", "fox likes hare"), ("d2", "hare likes clover"), ("d10", "owl eats mouse"), ("d4", "mouse likes corn"),
    ("d5", "fox eats hare"), ("d6", "猫 eats 魚"), ("d7", "bear eats honey"), ("d8", "bee makes honey"),
)  # fmt: skip
TWINS = (*DOCUMENTS, ("d30", "wolf eats hare"), ("d9", "wolf eats hare"))
QUERIES = ("what does the fox eat", "who likes corn", "bear honey", "猫 eats", "hare")
Documents = Sequence[tuple[str, str]]
Make = Callable[[Documents], Retriever]
"""Makes a retriever of documents (id, text)."""


@dataclass(frozen=True, slots=True)
class Built:
    """How a registered retriever is made: of documents in memory, or of the folder where they were written."""

    name: str
    stored: bool = False

    def __call__(self, documents: Documents) -> Retriever:
        entry = retrievers.entry(self.name)
        example = dict(entry.options.get("example", {}))
        needed = [p for p in entry.params if p.required or p.name in example or p.name in ("index", "graph", "state")]
        given = {p.name: self._argument(p, example, documents) for p in needed}
        made: Retriever = retrievers.get(self.name)(**{k: v for k, v in given.items() if v is not None})
        return made

    def _argument(self, p: Param, example: dict[str, Any], documents: Documents) -> Any:
        if p.name in example and example[p.name] != "law":
            return example[p.name]
        if p.type == "index":
            return _index(tuple(documents), self.stored)
        if p.type == "graph_index":
            return _graph(tuple(documents), self.stored)
        if p.type == "retriever":
            return Built("bm25", self.stored)(documents) if p.required else None
        if p.type == "model":
            return Writes()
        return {"database": _database, "state": _state}[p.name](tuple(documents))

    @property
    def is_of_passages(self) -> bool:
        """Whether it finds passages of an index, so that ids are those of the documents."""
        return any(p.type in ("index", "retriever") for p in retrievers.entry(self.name).params)


class Writes:
    """Stands for a model: it writes SQL for the last word that it knows, and likes continuations that are asked for."""

    name = "writes"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        return [Completion(_sql(str(p)), usage=Usage(1, 1, 1), cost={self.name: Usage(1, 1, 1)}) for p in prompts]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [-1.0 - 5 * float(not set(a.lower().split()) & set(b.lower().split())) for a, b in pairs]


def _sql(prompt: str) -> str:
    words = prompt.rpartition("Question:")[2].replace("SQL:", "").split()
    known = [w for w in words if any(w in text.split() for _, text in TWINS)]
    word = (known or ["nothing"])[-1]
    return f"SELECT id, text FROM documents WHERE text LIKE '%{word}%' ORDER BY id"


@cache
def tiny_encoder() -> str:
    """The folder of a small random encoder whose tokens are words and letters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tempfile.mkdtemp(prefix="consort-law-encoder-")
    words = sorted({word for _, text in TWINS for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **size)).save_pretrained(folder)
    return folder


@cache
def _index(documents: tuple[tuple[str, str], ...], stored: bool) -> Any:
    from consort.cooperate.retrieve.encoding import described
    from consort.knowledge.passages import Passage
    from consort.knowledge.text_index import TextIndex
    from consort.models.hf.sentence_encoder import SentenceEncoder

    encoder = tiny_encoder()
    passages = [Passage(id, text) for id, text in documents]
    made = TextIndex.of(passages, embed=SentenceEncoder(encoder).embed, encoder=described(encoder))
    if not stored:
        return made
    folder = tempfile.mkdtemp(prefix="consort-law-index-")
    made.save(folder)
    return folder


@cache
def _graph(documents: tuple[tuple[str, str], ...], stored: bool) -> Any:
    from consort.knowledge.graph import Graph, build_graph

    facts = [tuple(text.split()) for _, text in documents]
    if not stored or not facts:
        return Graph.of(facts)  # type: ignore[arg-type]
    folder = Path(tempfile.mkdtemp(prefix="consort-law-graph-"))
    (folder / "facts.tsv").write_text("".join("\t".join(fact) + "\n" for fact in facts), "utf-8")
    return str(build_graph([folder / "facts.tsv"], folder / "graph"))


@cache
def _database(documents: tuple[tuple[str, str], ...]) -> str:
    file = Path(tempfile.mkdtemp(prefix="consort-law-database-")) / "d.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE documents (id TEXT, text TEXT)")
        connection.executemany("INSERT INTO documents VALUES (?, ?)", documents)
        connection.commit()
    return str(file)


@cache
def _state(documents: tuple[tuple[str, str], ...]) -> str:
    from consort.cooperate.retrieve.relations import Relations

    file = Path(tempfile.mkdtemp(prefix="consort-law-state-")) / "relations.json"
    ways = [("what does x eat", ["eats"]), ("who likes x", ["likes"]), ("x likes what eats", ["likes", "eats"])]
    Relations.fit(ways).save(file)
    return str(file)


def _near(one: Sequence[Evidence], other: Sequence[Evidence], what: str) -> None:
    """The same ids and texts in the same order, scores equal up to rounding."""
    assert [hit.id for hit in one] == [hit.id for hit in other], what
    assert [hit.text for hit in one] == [hit.text for hit in other], what
    for a, b in zip(one, other, strict=True):
        assert abs(a.score - b.score) <= 1e-5 * max(1.0, abs(a.score)), what


def the_best_come_first(make: Make) -> None:
    """At most k, the best first, no id twice, of equal scores the lower id; fewer are the first of more."""
    retriever = make(DOCUMENTS)
    found = retriever.search(QUERIES, 8)
    assert len(found) == len(QUERIES)
    assert any(found), "nothing is found for any query"
    for query, hits in zip(QUERIES, found, strict=True):
        assert len(hits) <= 8
        assert len({hit.id for hit in hits}) == len(hits)
        assert all(hit.query == query for hit in hits)
        assert all(a.score >= b.score for a, b in zip(hits, hits[1:], strict=False)), "worse before better"
    for k in (1, 3):
        for few, hits in zip(retriever.search(QUERIES, k), found, strict=True):
            _near(few, hits[:k], f"the {k} best are not the first {k} of 8")


def a_batch_is_its_queries(make: Make) -> None:
    """What else is asked changes nothing, nor does asking again."""
    retriever = make(DOCUMENTS)
    for query, hits in zip(QUERIES, retriever.search(QUERIES, 4), strict=True):
        _near(retriever.search([query], 4)[0], hits, f"{query!r} alone finds other things")
    assert retriever.search([], 4) == []


def order_of_documents_is_free(make: Make) -> None:
    """Documents may come in any order."""
    rng, wanted = random.Random(0), make(TWINS).search(QUERIES, 6)
    for _ in range(3):
        mixed = list(TWINS)
        rng.shuffle(mixed)
        for hits, whole in zip(make(mixed).search(QUERIES, 6), wanted, strict=True):
            _near(hits, whole, "the order of documents decides")


def without_documents_nothing_is_found(make: Make) -> None:
    """An empty store answers every query with nothing; sources of rows have no rows to show."""
    assert make(()).search(QUERIES, 3) == [[] for _ in QUERIES]


def odd_queries_are_answered(make: Make) -> None:
    """Empty queries find nothing; unknown words, signs, other scripts and very long queries are no failure."""
    retriever = make(DOCUMENTS)
    assert retriever.search(["", "  \n"], 3) == [[], []]
    odd = ["qwxyz", "?!", "🦊", "ﬁ e\u0301", "\ud83e", "a" * 5000, "fox " * 3000, "'; DROP TABLE documents; --", "\x00"]
    assert len(retriever.search([q.encode("utf-8", "replace").decode() for q in odd], 3)) == len(odd)


def bad_requests_are_named(make: Make) -> None:
    """A text in place of a list, and a k below 1, are the user's mistakes."""
    retriever = make(DOCUMENTS)
    for queries, k, wanted in (("fox", 3, BadData), (["fox"], 0, BadParameter), (["fox"], True, BadParameter)):
        try:
            retriever.search(queries, k)
        except wanted as fault:
            assert fault.hint
        else:
            raise AssertionError(f"search({queries!r}, {k!r}) is answered")


def equal_texts_are_equal(make: Make) -> None:
    """Two passages of one text are found together, the lower id first ("d9" before "d30"); so are all equal scores."""
    for hits in make(TWINS).search(QUERIES, len(TWINS)):
        places = {hit.id: i for i, hit in enumerate(hits)}
        assert ("d9" in places) == ("d30" in places), "one of two equal texts is found alone"
        if "d9" in places:
            assert places["d9"] < places["d30"], "the lower id does not come first"
        for a, b in zip(hits, hits[1:], strict=False):
            assert a.score > b.score or id_key(a.id) < id_key(b.id), "equal scores in no order"


def a_folder_is_the_same(name: str) -> None:
    """What is searched in a folder is what is searched in memory."""
    stored, held = Built(name, stored=True)(TWINS), Built(name)(TWINS)
    for hits, whole in zip(stored.search(QUERIES, 5), held.search(QUERIES, 5), strict=True):
        assert [hit.id for hit in hits] == [hit.id for hit in whole]
        assert [hit.text for hit in hits] == [hit.text for hit in whole]


def plan_round_trip(name: str) -> None:
    """The plan of a retriever over a folder builds the same plan again; models are the lab's."""
    from consort import lab
    from consort.models import load_model
    from consort.plan.build import build
    from consort.plan.expression import parse
    from consort.plan.objects import to_plan

    retriever = Built(name, stored=True)(TWINS)
    base = load_model(lab.path("base"), name="lab:base")
    for attribute, value in vars(retriever).items():
        if isinstance(value, Writes):
            setattr(retriever, attribute, base)
    plan = {"augmented": {"model": "lab:base", "retriever": to_plan(retriever)}}
    assert to_plan(build(parse(plan))) == plan


def _of_passages(name: str) -> None:
    if Built(name).is_of_passages:
        equal_texts_are_equal(Built(name))


_of_passages.__name__ = "equal_texts_are_equal"

KINDS = ("retriever",)
LAWS: tuple[Callable[[str], None], ...] = (
    *(
        law_of(law, Built)
        for law in (
            the_best_come_first, a_batch_is_its_queries, order_of_documents_is_free, without_documents_nothing_is_found,
            odd_queries_are_answered, bad_requests_are_named,
        )
    ),
    _of_passages,
    a_folder_is_the_same,
    plan_round_trip,
)  # fmt: skip


def check(name: str) -> list[str]:
    """Every law over a registered retriever; the names of the laws that held. Raises AssertionError."""
    return run(retrievers, LAWS, name)
