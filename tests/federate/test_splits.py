"""Splits: sizes, determinism, how mixed the labels are."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from consort.core.errors import BadData, BadParameter
from consort.federate.splits import SPLITS
from consort.federate.splits.cutting import cut

LABELS = [f"l{i % 10}" for i in range(1000)]


@pytest.mark.parametrize("name", list(SPLITS))
def test_a_split_deals_out_every_row_once_and_repeats_itself(name) -> None:
    parts = SPLITS.get(name)().parts(LABELS, 5, 3)
    assert sorted(row for part in parts for row in part) == list(range(1000))
    assert parts == SPLITS.get(name)().parts(LABELS, 5, 3)
    assert name == "by_key" or parts != SPLITS.get(name)().parts(LABELS, 5, 4)


def largest_share(alpha: float) -> float:
    parts = SPLITS.get("dirichlet")(alpha=alpha).parts(LABELS, 5, 0)
    assert {len(part) for part in parts} == {200}
    return sum(Counter(LABELS[i] for i in part).most_common(1)[0][1] / len(part) for part in parts) / 5


def test_alpha_goes_from_one_label_to_an_even_mixture() -> None:
    assert largest_share(1000) < 0.2 < largest_share(0.5)
    # one label of a hundred rows is half of a client's two hundred: alone it would be everything
    parts = SPLITS.get("dirichlet")(alpha=0.01).parts([f"l{i % 4}" for i in range(1000)], 4, 1)
    shares = [Counter(i % 4 for i in part).most_common(1)[0][1] / len(part) for part in parts]
    assert sorted(shares)[-2] > 0.9


def test_quantities_fall() -> None:
    sizes = [len(part) for part in SPLITS.get("quantity")(skew=1).parts(LABELS, 4, 0)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1.9 * sizes[1] and min(sizes) > 0


def test_files_are_cut(tmp_path) -> None:
    rows = [json.dumps({"text": f"t{i}", "group": f"g{i % 3}"}) for i in range(30)]
    (tmp_path / "all.jsonl").write_text("\n".join(rows))
    found = cut(tmp_path / "all.jsonl", ["a", "b", "c"], "by_key", tmp_path / "parts", seed=0)
    assert [json.loads(line)["group"] for line in found["b"].read_text().splitlines()] == ["g1"] * 10
    with pytest.raises(BadParameter, match="labels"):
        cut(tmp_path / "all.jsonl", ["a"], "by_key", tmp_path / "x", label="topic", seed=0)
    with pytest.raises(BadData, match="30 rows"):
        cut(tmp_path / "all.jsonl", [f"c{i}" for i in range(31)], "iid", tmp_path / "x", seed=0)
    with pytest.raises(BadParameter, match="4 clients for 3"):
        cut(tmp_path / "all.jsonl", list("abcd"), "by_key", tmp_path / "x", seed=0)
