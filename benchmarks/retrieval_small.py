"""Public sets end to end with a small real model: StrategyQA, Knowledge Crosswords and the restaurants of text2sql.

    python benchmarks/retrieval_small.py

What a model of 260 thousand parameters can do is told beside chance and trivial answers, and asked of nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import numpy as np
from retrieval_table import SHARED, interval, row


def main() -> None:
    import consort

    model = consort.model(SHARED / "models" / "stories260K")
    _strategy_qa(model)
    _crosswords(model)
    _restaurants(model)


def _strategy_qa(model: object) -> None:
    from consort.cooperate.retrieve import Augmented
    from consort.cooperate.retrieve.retrievers.bm25 import Bm25
    from consort.knowledge import TextIndex

    rows = json.loads((SHARED / "eval" / "strategyqa" / "dev.json").read_text("utf-8"))
    facts = sorted({fact for one in rows for fact in one["facts"]})
    looked = Augmented(model, Bm25(index=TextIndex.of(facts)), k=2, quote="plain")  # type: ignore[arg-type]
    truth = [bool(one["answer"]) for one in rows]
    row("strategyqa: the more frequent answer", max(np.mean(truth), 1 - np.mean(truth)), "baseline")
    for name, system in (("stories260K", model), ("stories260K + bm25 over all facts", looked)):
        pairs = [(f"{one['question']} The answer is", word) for one in rows for word in (" yes", " no")]
        values = system.score(pairs)  # type: ignore[attr-defined]
        right = [(yes > no) == one for yes, no, one in zip(values[::2], values[1::2], truth, strict=True)]
        row(f"strategyqa: {name}", float(np.mean(right)), "", interval([float(r) for r in right]))


def _crosswords(model: object) -> None:
    """Knowledge Crosswords, the easy part: the values of all blanks, chosen one by one."""
    from itertools import product

    from consort.cooperate.retrieve import Augmented
    from consort.cooperate.retrieve.retrievers.graph import Graph as Around
    from consort.knowledge import Graph

    lines = (SHARED / "eval" / "knowledge_crosswords" / "MC_easy.jsonl").read_text("utf-8").splitlines()[:100]
    rows = [json.loads(line) for line in lines]
    facts = {tuple(fact) for one in rows for some in one["K"].values() for fact in some}
    graph = Graph.of(sorted(facts))
    looked = Augmented(model, Around(graph=graph, hops=1), k=2, quote="plain")  # type: ignore[arg-type]
    found: dict[str, list[float]] = {"chance": [], "facts counted": [], "stories260K": [], "stories260K + graph": []}
    for one in rows:
        options, blanks = one["options"], list(one["options"])
        ties = list(zip(one["source"], one["relation"], one["target"], strict=True))
        gold = tuple(options[blank]["ABC".index(one["golds"][blank])] for blank in blanks)

        def held(values: Sequence[str], ties: object = ties, blanks: object = blanks) -> int:
            by = dict(zip(blanks, values, strict=True))  # type: ignore[call-overload]
            return sum((by.get(s, s), p, by.get(o, o)) in facts for s, p, o in ties)  # type: ignore[attr-defined]

        found["chance"].append(1 / math.prod(map(len, options.values())))
        found["facts counted"].append(float(max(product(*options.values()), key=held) == gold))
        told = ", ".join(" ".join(tie).replace("_", " ") for tie in ties[:3])[:300]
        for name, system in (("stories260K", model), ("stories260K + graph", looked)):
            chosen = []
            for blank in blanks:
                pairs = [(f"{told}. {blank} is", " " + value.replace("_", " ")) for value in options[blank]]
                values = system.score(pairs)  # type: ignore[attr-defined]
                chosen.append(options[blank][int(np.argmax(values))])
            found[name].append(float(tuple(chosen) == gold))
    for name, right in found.items():
        row(f"knowledge_crosswords, 100 easy ones: {name}", float(np.mean(right)), "", interval(right))


TEMPLATE = "{question}\nSQL: SELECT"
"""The schema of the restaurants is longer than the window of the smallest models."""


def _restaurants(model: object) -> None:
    from consort.cooperate.retrieve import TextToSql
    from consort.core.errors import ConsortError
    from consort.core.types import Example, Sampling
    from consort.evaluate.registry import find_metric
    from consort.knowledge import Tables

    folder = SHARED / "eval" / "text2sql"
    database = str(folder / "restaurants-db.added-in-2020.sqlite")
    asked: list[tuple[str, str]] = []
    for one in json.loads((folder / "restaurants.json").read_text("utf-8")):
        for sentence in one["sentences"]:
            text, sql = sentence["text"], one["sql"][0]
            for name, value in sentence["variables"].items():
                text, sql = text.replace(name, value), sql.replace(name, value)
            asked.append((text, re.sub(r"(RESTAURANTalias\d)\.ID\b", r"\1.RESTAURANT_ID", sql)))
    tables, runs = Tables(database, rows=10000), 0
    for _, sql in asked:
        try:
            tables.run(sql)
            runs += 1
        except ConsortError:
            pass
    row("text2sql restaurants: golds that run", f"{runs}/{len(asked)}", "345/378 known")
    metric, some = find_metric("sql_execution", {"database": database}), asked[:20]
    system = TextToSql(model, database=database, answer="sql", repairs=0, samples=0, template=TEMPLATE)  # type: ignore[arg-type]
    answers = system.generate([text for text, _ in some], Sampling(max_tokens=24))
    right, not_graded = [], 0
    for answer, (_, sql) in zip(answers, some, strict=True):
        try:
            right.append(metric.statistics(answer.text, Example(prompt="?", target=(sql,)))[0])
        except ConsortError:
            not_graded += 1
    ran = sum(bool(answer.details["retrieved"]) for answer in answers)
    row(
        "text2sql restaurants: stories260K, execution",
        float(np.mean(right)),
        "",
        f"{ran} of {len(some)} ran, none is harmful; {not_graded} not graded, as their own targets do not run",
    )


if __name__ == "__main__":
    main()
