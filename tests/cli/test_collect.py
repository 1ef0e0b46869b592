"""`consort collect`, and a merge that uses what it made."""

from __future__ import annotations

import json

from safetensors.torch import load_file


def test_statistics_are_collected_and_merged_with(consort, tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "mirror a b c = c b a"}\n{"text": "order b a = a b"}\n')
    for name in ("mirror", "order"):
        shown = consort("collect", "gram", f"lab:{name}", "--texts", texts, "--out", tmp_path / name, "--json")
        assert json.loads(shown.out)["texts"] == 2, shown.err
    plan = tmp_path / "plan.yml"
    folders = json.dumps([str(tmp_path / "mirror"), str(tmp_path / "order")])
    plan.write_text(f"regmean: {{models: [lab:mirror, lab:order], statistics: {folders}}}")
    assert consort("merge", plan, tmp_path / "out").code == 0
    assert "model.norm.weight" in load_file(tmp_path / "out" / "model.safetensors")
    manifest = json.loads((tmp_path / "out" / "merge_manifest.json").read_text())
    assert [entry["name"] for entry in manifest["inputs"]] == ["mirror", "order", "mirror", "order"]
    plan.write_text(f"regmean: {{models: [lab:order, lab:mirror], statistics: {folders}}}")
    swapped = consort("merge", plan, tmp_path / "swapped")
    assert swapped.code == 2 and "was collected of mirror, not of order" in swapped.err
    assert not (tmp_path / "swapped").exists()


def test_mistakes_are_named(refused, tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "a"}\n')
    assert "did you mean 'fisher'" in refused(
        "collect", "fischer", "lab:base", "--texts", texts, "--out", tmp_path / "x"
    )
    assert "labels" in refused(
        "collect", "fisher", "lab:base", "--texts", texts, "--labels", "x", "--out", tmp_path / "x"
    )
    assert not (tmp_path / "x").exists()
