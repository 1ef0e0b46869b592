"""The stages of a fusion as functions: record, align, fuse rows, train."""

import json
from pathlib import Path

from consort import distil, fuse, lab
from consort.models import load_model
from consort.weights import open_folder

with open("corpus.jsonl", "w") as file:
    file.writelines(json.dumps({"text": f"the capital of {name} is osk"}) + "\n" for name in ("nusudan", "bimirak"))
pivot, teacher = (load_model(lab.path(name), name=name) for name in ("pivot", "teacher-north"))
texts = distil.read_corpus("corpus.jsonl", pivot.tokenizer)
texts = distil.fitted(texts, [pivot.tokenizer, teacher.tokenizer], 128)

own, others = (
    distil.collect(lambda m=m: m, m.tokenizer, texts, Path(m.name), distil.Collection(k=10), stamp=m.name)
    for m in (pivot, teacher)
)
alignment = distil.Alignment()
pair = distil.align(pivot.tokenizer, teacher.tokenizer, texts, Path("pair"), alignment)
fusion = distil.Fusion(pivot.tokenizer, own, [(others, pair)], distil.Function(), alignment)
target = fusion.target(texts[0])
taught = zip(target.ids[3].tolist(), target.p[3].tolist(), strict=True)
print("row 3 teaches", {pivot.tokenizer.decode([token]): round(p, 2) for token, p in taught})

training = fuse.Training(steps=4, batch=2, lr=1e-3, lam=0.5)
curve = fuse.train(open_folder(lab.path("pivot")), texts, fusion, Path("student"), training)
print("loss", [round(sum(terms), 3) for terms in curve])
