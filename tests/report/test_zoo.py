"""The pictures of a zoo in the report of a run."""

from __future__ import annotations

from consort.report import render


def test_a_zoo_is_drawn_with_its_clusters(run_json, write):
    names, table = ["<b>", "expert", "other"], [[1.0, 0.97, None], [0.97, 1.0, None], [None, None, 1.0]]
    zoo = {"models": names, "weights": table, "deltas": table, "threshold": 0.95, "norms": [1.0, 2.0, 3.0]}
    zoo["clusters"] = [{"name": "cluster 1", "models": names[:2], "plan": "x", "fit": 0.9}]
    html = render(write(run_json | {"details": {"zoo": zoo}}))
    assert "How alike the models are" in html and "cluster 1" in html and "<b>," not in html
    assert html.count("<svg") == render(write(run_json)).count("<svg") + 3
    zoo["deltas"] = table[:2]
    assert "This part cannot be shown: " in (html := render(write(run_json | {"details": {"zoo": zoo}})))
    assert "one row and one column" in html
