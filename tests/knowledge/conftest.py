"""Documents and encoders for indices."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest


def hashed(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors that the words of a text add up to: an encoder that costs nothing and is always the same."""
    rows = np.zeros((len(texts), 8), np.float32)
    for i, text in enumerate(texts):
        for word in text.lower().split():
            rows[i] += np.frombuffer(blake2b(word.encode(), digest_size=8).digest(), np.uint8) / 255.0 - 0.5
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder of text, Markdown, HTML and JSON lines."""
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    long = " ".join(f"Sentence {i} tells of thing {i % 7} and place {i % 11}." for i in range(120))
    (folder / "long.txt").write_text(long)
    (folder / "deep" / "note.md").write_text("# Foxes\n\nA fox is red.\n\nThe 猫 sleeps。犬は走る。\n")
    (folder / "page.html").write_text("<html><script>evil()</script><p>Whales are <b>blue</b>.</p></html>")
    rows = [f'{{"id": "r{i}", "title": "Row {i}", "text": "Row number {i} says {i * i}."}}' for i in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder
