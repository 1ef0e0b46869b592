"""Cached answers of two models: fit a router on them, see what it decides and why."""

import json
from pathlib import Path

import consort as c

rows = []
for i in range(60):
    sums, words = f"what is {i} plus {3 * i % 17}", f"spell the word {'abcdefg'[i % 7] * (1 + i % 5)}"
    rows.append(
        {"prompt": sums, "answers": {"coder": str(i + 3 * i % 17), "poet": "?"}, "scores": {"coder": 1, "poet": 0}}
    )
    rows.append({"prompt": words, "answers": {"coder": "?", "poet": "as you say"}, "scores": {"coder": 0, "poet": 1}})
Path("answers.jsonl").write_text("\n".join(map(json.dumps, rows)))

from consort.ensemble.learning.observations import from_table  # noqa: E402
from consort.models.cached.model import open_table  # noqa: E402

models = [c.model("table:answers.jsonl#coder"), c.model("table:answers.jsonl#poet")]
router = c.blend(models).fit(from_table(open_table("answers.jsonl")))
for prompt in ("what is 7 plus 4", "spell the word dd"):
    (answer,) = router.generate([prompt])
    print(prompt, "->", answer.text, "|", answer.details["why"], answer.details["scores"])
