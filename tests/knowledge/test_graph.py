"""Triples: neighbourhoods against brute force, names found in texts, files read and refused, PathQuestion."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from consort.core.errors import BadData, BadParameter, OutputExists
from consort.knowledge.graph import Graph, Triple, build_graph, opened_graph, triples_in

RNG = random.Random(0)
FACTS = sorted({(f"e{RNG.randrange(40)}", f"p{RNG.randrange(4)}", f"e{RNG.randrange(40)}") for _ in range(120)})


def brute(entity: str, hops: int) -> dict[Triple, int]:
    """Every fact with the number of steps to it, round after round."""
    reached, found = {entity}, {}
    for distance in range(1, hops + 1):
        new = set()
        for fact in FACTS:
            if fact[0] in reached or fact[2] in reached:
                found.setdefault(Triple(*fact), distance)
                new |= {fact[0], fact[2]}
        reached |= new
    return found


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_neighbourhoods_equal_brute_force(hops: int) -> None:
    graph = Graph.of(FACTS)
    for entity in ("e0", "e7", "e39", "nobody"):
        found = graph.hops(entity, hops, limit=10_000)
        assert dict(found) == brute(entity, hops)
        assert [distance for _, distance in found] == sorted(distance for _, distance in found)
        assert graph.hops(entity, hops, limit=5) == found[:5]


def test_circles_end() -> None:
    graph = Graph.of([("a", "p", "b"), ("b", "p", "a"), ("a", "p", "a")])
    assert len(graph.hops("a", 9)) == 3
    assert len(graph.walk("a", ["p"] * 6)) == 21  # Fibonacci: after a come a and b, after b comes a
    assert graph.walk("a", ["q"]) == []


def test_names_in_a_text() -> None:
    graph = Graph.of([("new_york", "in", "usa"), ("new_york_city", "in", "new_york"), ("york", "in", "england")])
    assert graph.link("Is New York City's mayor from York?") == ["new_york_city", "york"]
    assert graph.link("how large is newyork city") == ["new_york_city"]
    assert graph.link("Paris, or what?") == graph.link("") == []


def test_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "facts.tsv"
    file.write_text("ann\tmother\t\teve\n\neve\tborn_in\trome\n")
    out = build_graph([file], tmp_path / "out")
    graph = opened_graph(out)
    assert len(graph) == 2
    assert graph.of_subject("ann") == [Triple("ann", "mother", "eve", "facts.tsv")]
    assert graph.relations == {"born_in": 1, "mother": 1}
    assert build_graph([file], out) == out
    file.write_text("ann\tmother\teva\n")
    with pytest.raises(OutputExists):
        build_graph([file], out)
    assert len(opened_graph(build_graph([file], out, force=True))) == 1
    data = bytearray((out / "graph.sqlite").read_bytes())
    data[4000] ^= 1
    (out / "graph.sqlite").write_bytes(bytes(data))
    with pytest.raises(BadData, match=r"graph\.sqlite"):
        opened_graph(out)


@pytest.mark.parametrize("text", ["one two three\n", "a\tb\n", "a\tb\tc\td\n", "\n", ""])
def test_what_is_no_file_of_triples_leaves_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.tsv").write_text(text)
    with pytest.raises(BadData):
        build_graph([tmp_path / "bad.tsv"], tmp_path / "out")
    with pytest.raises(BadParameter):
        build_graph([tmp_path / "none.tsv"], tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.tsv"]


@pytest.mark.parametrize(("part", "questions"), [("2H", 1908), ("3H", 5198)])
def test_path_question(shared: Path, part: str, questions: int) -> None:
    """The gold path's answer is among the walk's answers for all, and the subject is the one entity linked."""
    folder = shared / "knowledge" / "pathquestion"
    graph = Graph.of(triples_in(folder / f"{part}-kb.txt"))
    lines = (folder / f"PQ-{part}.txt").read_text("utf-8").splitlines()
    assert len(lines) == questions
    for number, line in enumerate(lines):
        question, _, path = line.split("\t")
        parts = path.split("#")
        end = parts.index("<end>")
        assert parts[end + 1] in {step.entity for step in graph.walk(parts[0], parts[1:end:2])}
        if number % 10 == 0:
            assert graph.link(question) == [parts[0]]


def test_triples_as_people_write_them(tmp_path: Path) -> None:
    """A mark at the beginning, lines that end as on Windows, names in letters without spaces."""
    (tmp_path / "f.tsv").write_bytes("\ufefffox\teats\thare\r\n\r\n日本\t首都\t東京\r\n".encode())
    graph = Graph.of(triples_in(tmp_path / "f.tsv"))
    assert graph.link("What does the fox eat?") == ["fox"]
    assert graph.link("日本の首都はどこ？") == ["日本"]
    assert [t.object for t in graph.of_subject("日本")] == ["東京"]
