"""Lines of a file become tokens of which the answer's are foretold."""

from __future__ import annotations

import json
import random

import pytest
import torch

from consort.core.errors import BadData
from consort.merge.trained.passages import Line, Passage, collated, drawing, encoded, entropy, read_passages, surprise


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_tasks_lines_and_plain_texts_are_read(tmp_path):
    file = write(tmp_path / "t.jsonl", {"prompt": "a =", "target": ["b", "c"], "group": "g"}, {"text": "abc"})
    assert read_passages(file) == [Line("a =", "b", "g"), Line("", "abc", "")]
    assert len(read_passages(file, limit=1)) == 1
    open_file = write(tmp_path / "o.jsonl", {"prompt": "a"})
    assert read_passages(open_file) == [Line("a", None, "")]


def test_what_is_no_passage_is_refused(tmp_path):
    with pytest.raises(BadData, match="holds no passages"):
        read_passages(write(tmp_path / "e.jsonl"))
    with pytest.raises(BadData, match="messages are not read"):
        read_passages(write(tmp_path / "m.jsonl", {"messages": [{"role": "user", "content": "a"}]}))


def test_an_answer_has_the_tokens_a_model_would_write(pair):
    tokenizer = pair.live.tokenizer
    (passage,) = encoded([Line("mirror a b =", "b a", "mirror")], pair.live)
    assert passage.start == len(tokenizer.encode("mirror a b ="))
    assert list(passage.tokens) == [*tokenizer.encode("mirror a b = b a"), tokenizer.eos]


def test_a_missing_answer_is_written_by_the_merge(pair):
    (passage,) = encoded([Line("mirror a b c =", None, "")], pair.live)
    told = pair.live.generate(["mirror a b c ="])[0]
    assert passage.tokens[passage.start :] == told.tokens


def test_positions_before_the_answers_tokens_foretell():
    batch = collated([Passage((5, 6, 7, 8), 2, ""), Passage((5, 6), 1, "")])
    assert batch.tokens.tolist() == [[5, 6, 7, 8], [5, 6, 0, 0]]
    assert batch.foretells.tolist() == [[False, True, True, False], [True, False, False, False]]
    logits = torch.zeros(2, 4, 10)
    assert float(entropy(logits, batch)) == pytest.approx(torch.tensor(10.0).log().item())
    logits[0, 1, 7], logits[0, 2, 8], logits[1, 0, 6] = 90.0, 90.0, 90.0
    assert float(surprise(logits, batch)) == pytest.approx(0.0, abs=1e-6)


def test_each_task_is_drawn_from():
    passages = [Passage((1, 2), 1, task) for task in "aab"]
    drawn = drawing(passages, 2)(random.Random(0))
    assert {task: len(batch.tokens) for task, batch in drawn.items()} == {"a": 2, "b": 1}
