"""Retrieval, graphs and SQL: figures beside their targets and beside trivial baselines.

    python benchmarks/retrieval.py [cacm] [paths] [sql] [speed] [lab] [small]   # all sections without arguments

Data stands in `../shared/data`. Times are of one process on the machine at hand, as wall time and as processor time.
"""

from __future__ import annotations

import csv
import json
import math
import re
import resource
import sys
import tarfile
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from retrieval_small import main as small
from retrieval_table import SHARED, interval, row

Judged = Mapping[int, set[str]]


def timed(work: Callable[[], object]) -> tuple[object, float, float]:
    """What some work gives, its wall seconds and its processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    return work(), time.perf_counter() - wall, time.process_time() - cpu


def cacm() -> tuple[dict[str, str], list[str], Judged]:
    """Documents as Anserini reads them (title, abstract, authors and the rest), queries with authors, judgements.

    Judgements number queries by their order.
    """
    folder = SHARED / "retrieval" / "cacm"
    with tarfile.open(folder / "cacm.tar.gz") as archive:
        files = [(m.name, archive.extractfile(m)) for m in archive.getmembers() if m.isfile()]
        pages = {name: file.read().decode("latin-1") for name, file in files if file}
    documents = {str(int(name[5:9])): re.sub(r"<[^>]+>", " ", page) for name, page in sorted(pages.items())}
    queries = []
    for part in re.split(r"^\.I ", (folder / "query.text").read_text(), flags=re.M)[1:]:
        fields = dict(re.findall(r"^\.([WAN])\n((?:(?!\.[A-Z]\n).*\n?)*)", part, flags=re.M))
        queries.append(" ".join(fields.get(name, "") for name in "WA"))
    judged: dict[int, set[str]] = {}
    for line in (folder / "qrels.text").read_text().splitlines():
        if len(parts := line.split()) >= 2:
            judged.setdefault(int(parts[0]), set()).add(str(int(parts[1])))
    return documents, queries, judged


def averages(found: Sequence[Sequence[str]], judged: Judged) -> tuple[list[float], float]:
    """Average precision of each judged query, and mean nDCG@10."""
    precisions, gains = [], []
    for number, relevant in sorted(judged.items()):
        ids = found[number - 1]
        ranks = [rank for rank, id in enumerate(ids, 1) if id in relevant]
        precisions.append(sum((i + 1) / rank for i, rank in enumerate(ranks)) / len(relevant))
        best = sum(1 / math.log2(i + 2) for i in range(min(10, len(relevant))))
        gains.append(sum(1 / math.log2(rank + 1) for rank in ranks if rank <= 10) / best)
    return precisions, float(np.mean(gains))


def run_cacm() -> None:
    from consort.cooperate.retrieve.encoding import described
    from consort.cooperate.retrieve.retrievers.bm25 import Bm25
    from consort.cooperate.retrieve.retrievers.dense import Dense
    from consort.cooperate.retrieve.retrievers.feedback import Feedback
    from consort.cooperate.retrieve.retrievers.hybrid import Hybrid
    from consort.knowledge import Passage, TextIndex, Words
    from consort.models.hf.sentence_encoder import SentenceEncoder

    documents, queries, judged = cacm()
    passages = [Passage(id, text) for id, text in documents.items()]

    def measured(name: str, retriever: object, target: str = "") -> None:
        hits = retriever.search(queries, 1000)  # type: ignore[attr-defined]
        precisions, gain = averages([[hit.id for hit in one] for one in hits], judged)
        row(f"CACM MAP: {name}", float(np.mean(precisions)), target, f"{interval(precisions)} nDCG@10 {gain:.4f}")

    plain = TextIndex.of(passages)
    measured("bm25, words as they are", Bm25(index=plain), "own .3277")
    measured("bm25, stop words out", Bm25(index=TextIndex.of(passages, words=Words(stop=True))))
    index = TextIndex.of(passages, words=Words(stop=True, stem="english"))
    measured("bm25, stop words out, stems", Bm25(index=index), ">= .327")
    for terms in (20, 40):
        measured(f"feedback (RM3), {terms} terms", Feedback(index=index, terms=terms), "published .3648")
    said = [re.sub(r"(?m)^\s*\d+\s+\d+\s+\d+\s*$", "", text) for text in documents.values()]
    index.vectors, index.encoder = SentenceEncoder("minilm").embed(said), described("minilm")
    dense = Dense(index=index)
    measured("dense (MiniLM)", dense)
    hybrid = Hybrid(index=index, depth=1000)
    measured("hybrid: bm25 and dense", hybrid, ">= .365")
    feedback = Feedback(index=index, first=hybrid, terms=20)
    measured("hybrid: feedback on hybrid, and dense", Hybrid(retrievers=[feedback, dense], depth=1000), ">= .365")


def run_paths() -> None:
    from consort.cooperate.retrieve.relations import Relations
    from consort.cooperate.retrieve.retrievers.walk import Walk, answers, without
    from consort.knowledge import Graph
    from consort.knowledge.graph import triples_in

    folder = SHARED / "knowledge" / "pathquestion"
    for part in ("2H", "3H"):
        graph = Graph.of(triples_in(folder / f"{part}-kb.txt"))
        rows = [_question(line) for line in (folder / f"PQ-{part}.txt").read_text("utf-8").splitlines()]
        reached = [answer in {step.entity for step in graph.walk(who, way)} for _, who, way, answer, _ in rows]
        row(f"PathQuestion {part}: gold relations reach the answer", float(np.mean(reached)), "1")
        row(
            f"PathQuestion {part}: linked entity",
            float(np.mean([graph.link(q) == [who] for q, who, *_ in rows])),
            ">= .99",
        )
        held = [zlib.crc32(who.encode()) % 5 == 0 for _, who, *_ in rows]
        train = [r for r, out in zip(rows, held, strict=True) if not out]
        test = [r for r, out in zip(rows, held, strict=True) if out]
        with tempfile.TemporaryDirectory() as place:
            state = Path(place) / "relations.json"
            Relations.fit([(without(q, who), way) for q, who, way, *_ in train]).save(state)
            found = Walk(graph=graph, state=str(state)).search([q for q, *_ in test], 10)
        first = [(answers(hits) or [""])[0] for hits in found]
        hit = [one == r[3] for one, r in zip(first, test, strict=True)]
        among = [one in r[4] for one, r in zip(first, test, strict=True)]
        note = f"{interval([float(h) for h in hit])}; in the answer set {np.mean(among):.4f}; subjects not trained on"
        row(f"PathQuestion {part}: Hits@1, small classifier", float(np.mean(hit)), "", note)
        common = [way for way, _ in Counter(tuple(r[2]) for r in train).most_common()]
        guessed = [next((s[0].entity for way in common if (s := graph.walk(r[1], way))), "") == r[3] for r in test]
        row(f"PathQuestion {part}: Hits@1, most frequent relations", float(np.mean(guessed)), "baseline")


def _question(line: str) -> tuple[str, str, list[str], str, list[str]]:
    """Question, subject, relations, answer, all answers."""
    question, answer, path = line.split("\t")
    parts = path.split("#")
    end = parts.index("<end>")
    return question, parts[0], parts[1:end:2], parts[end + 1], answer.split("(")[1].strip(")/").split("/")


def run_sql() -> None:
    from consort.core.errors import ConsortError
    from consort.core.types import Example
    from consort.evaluate.registry import find_metric
    from consort.knowledge.sql_loading import build_tables
    from consort.knowledge.sql_match import LEVELS, match, schemas_in, table_of

    folder = SHARED / "sql" / "spider_dev"
    schemas = schemas_in(folder / "tables.json")
    gold = [line.split("\t") for line in (folder / "gold_example.txt").read_text("utf-8").splitlines()]
    said = [line.split("\t")[0] for line in (folder / "pred_example.txt").read_text("utf-8").splitlines()]
    pairs = list(zip(said, gold, strict=True))
    for name, every in (("", False), (", every table", True)):
        scores = table_of(match(p, sql, schemas[db], every_table=every) for p, (sql, db) in pairs)
        figures = " ".join(f"{scores[level]['']['exact']:.3f}" for level in (*LEVELS, "all"))
        row(f"Spider dev, stored predictions, exact match{name}", "", "", figures)
    row("  target", "", ".968 .720 .718 .388 -> .725")
    with tempfile.TemporaryDirectory() as place:
        for dump in sorted((SHARED / "sql" / "defog_sqleval").glob("*.sql")):
            build_tables([dump], Path(place) / f"{dump.stem}.sqlite", now="2024-05-31T12:00:00")
        metric = find_metric("sql_execution", {"database": str(Path(place) / "{group}.sqlite")})
        with open(SHARED / "sql" / "defog_sqleval" / "questions_gen_sqlite.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        runs = right = count = 0
        for one in rows:
            accepted = tuple(sql.strip() for sql in one["query"].split(";") if sql.strip())
            example = Example(prompt="?", target=accepted, group=one["db_name"])
            try:
                right += sum(metric.statistics(sql, example)[0] for sql in accepted)
                runs += 1
            except ConsortError as fault:
                print(fault)
            count += len(accepted)
    row("defog: golds that run through loader and guard", f"{runs}/{len(rows)}", ">= 205; goal 210", "naive load: 129")
    row("defog: accepted alternatives scored equal", f"{right:g}/{count}", "all")


def run_speed() -> None:
    from consort.knowledge.build import Settings, build
    from consort.knowledge.order import best
    from consort.knowledge.text_index import TextIndex
    from consort.knowledge.vectors import nearest

    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(50_000)])
    chance = 1 / np.arange(1, len(words) + 1)
    drawn = rng.choice(len(words), size=(100_000, 60), p=chance / chance.sum())
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "docs.jsonl"
        with open(file, "w", encoding="utf-8") as to:
            for i, line in enumerate(drawn):
                to.write(json.dumps({"id": str(i), "text": " ".join(words[line])}) + "\n")
        _, wall, cpu = timed(lambda: build([file], Path(place) / "index", settings=Settings(length=0)))
        row("bm25, 100,000 passages of 60 words: index (s)", f"{wall:.1f}", "<= 30", f"{cpu:.1f} s of processor")
        index = TextIndex.open(Path(place) / "index")
        asked = [" ".join(words[rng.choice(len(words), 5, p=chance / chance.sum())]) for _ in range(300)]
        _, wall, cpu = timed(lambda: [index.bm25(query, 10) for query in asked])
        row(
            "bm25, 100,000 passages: a query of 5 words (ms)",
            f"{1000 * wall / 300:.2f}",
            "<= 5",
            f"{1000 * cpu / 300:.2f} ms",
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        file = Path(place) / "vectors.npy"
        vectors = np.lib.format.open_memmap(file, "w+", np.float32, (1_000_000, 384))
        for start in range(0, len(vectors), 50_000):
            part = rng.standard_normal((50_000, 384), np.float32)
            vectors[start : start + 50_000] = part / np.linalg.norm(part, axis=1, keepdims=True)
        vectors.flush()
        del vectors
        held, rank = np.load(file, mmap_mode="r"), np.arange(1_000_000)
        queries = np.asarray(held[:64]) + 0.05 * rng.standard_normal((64, 384), np.float32)
        found, wall, cpu = timed(lambda: nearest(held, queries, 10, rank))
        firsts = [int(at[best(scores, rank[at], 1)][0]) for at, scores in found]  # type: ignore[union-attr]
        assert firsts == list(range(64))
        row(
            "1 M vectors of 384: a query in batches of 64 (ms)",
            f"{1000 * wall / 64:.1f}",
            "<= 60",
            f"{1000 * cpu / 64:.1f} ms",
        )
        row("peak memory before the vectors were made (MiB)", peak)


def run_lab() -> None:
    """A task whose facts are in no model but in an index; trains the reader (a minute or two)."""
    import consort
    from consort.cooperate.retrieve import Augmented
    from consort.cooperate.retrieve.retrievers.bm25 import Bm25
    from consort.core.types import Sampling
    from consort.knowledge.build import Settings, build
    from consort.lab.looked_up import TEMPLATE, train_reader, write_documents, write_task

    for seed in (0, 1, 2):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            train_reader(folder / "reader", seed, lambda *a: None)
            write_documents(folder / "facts.jsonl", seed)
            write_task(folder / "task.jsonl", seed)
            build([folder / "facts.jsonl"], folder / "index", settings=Settings(length=0))
            rows = [json.loads(line) for line in (folder / "task.jsonl").read_text().splitlines()]
            test = [one for one in rows if one["split"] == "test"]
            reader = consort.model(folder / "reader")
            looked = Augmented(reader, Bm25(index=folder / "index"), k=1, quote="plain", template=TEMPLATE)
            systems = {
                "small model": reader,
                "lab:teacher-north": consort.model("lab:teacher-north"),
                "lab:teacher-south": consort.model("lab:teacher-south"),
                "small model + retriever": looked,
                "cascade (.7)": consort.cascade([reader, looked], threshold=0.7),
                "when: uncertain": Augmented(
                    reader, Bm25(index=folder / "index"), k=1, quote="plain", template=TEMPLATE, when="uncertain",
                    threshold=-0.35, look_ahead=1,
                ),
            }  # fmt: skip
            for name, system in systems.items():
                answers = system.generate([one["prompt"] for one in test], Sampling(max_tokens=2))
                right = [float(a.text.strip() == one["target"]) for a, one in zip(answers, test, strict=True)]
                tokens = np.mean([sum(u.total_tokens for u in a.cost.values()) for a in answers])
                row(f"lab, seed {seed}: {name}", float(np.mean(right)), "", f"{interval(right)} {tokens:.1f} tokens")


SECTIONS = {
    "small": small,
    "cacm": run_cacm,
    "paths": run_paths,
    "sql": run_sql,
    "speed": run_speed,
    "lab": run_lab,
}

if __name__ == "__main__":
    for section in sys.argv[1:] or SECTIONS:
        SECTIONS[section]()
