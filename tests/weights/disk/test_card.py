from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from consort.weights.checkpoint import Memory
from consort.weights.disk.card import card, common_license, declared_base, manifest, without_paths
from consort.weights.disk.folder import open_folder
from consort.weights.views.basic import Delta

MakeFolder = Callable[..., Path]


def test_a_manifest_walks_to_the_leaves_and_names_no_path(make_folder: MakeFolder, tmp_path: Path) -> None:
    a, b = open_folder(make_folder("a")), open_folder(make_folder("b"))
    plan = {"models": [str(a.path), f"{a.path}+{b.path}"], "base": b.path}
    made = manifest(Delta(a, b), plan=plan, seed=3, options={"out_dtype": "float16"})
    assert [entry["name"] for entry in made["inputs"]] == ["a", "b"]
    assert made["plan"] == {"models": ["a", "a+b"], "base": "b"} and made["seed"] == 3
    assert str(tmp_path) not in json.dumps(made)
    assert str(tmp_path) not in card(Delta(a, b), made, "merged")


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("/home/me/models/a", "a"),
        ("/home/my models/a+/data/lora@main", "a+lora@main"),
        ("~/models/a", "a"),
        ("C:\\Users\\me\\a", "a"),
        ("hf:/srv/models/a", "hf:a"),
        ("models/a", "models/a"),
        ("../models/a", "../models/a"),
        ("hf:org/name", "hf:org/name"),
        ("https://hub.example/org/name", "https://hub.example/org/name"),
        ("1/2", "1/2"),
    ],
)
def test_only_absolute_paths_are_cut(text: str, cut: str) -> None:
    assert without_paths(text) == cut


def test_a_plan_is_recorded_as_json_can_say_it() -> None:
    plan = {"dtype": torch.float16, "weights": (1, 2.5, True, None), 3: float("inf")}
    expected = {"dtype": "torch.float16", "weights": [1, 2.5, True, None], "3": "inf"}
    assert without_paths(plan) == expected and json.dumps(without_paths(plan), allow_nan=False)


def readme(head: str) -> dict[str, str]:
    return {"README.md": f"---\n{head}\n---\ntext"}


def test_a_licence_is_named_only_if_all_agree(make_folder: MakeFolder) -> None:
    mit, other = (open_folder(make_folder(n, files=readme(f"license: {n}"))) for n in ("mit", "other"))
    none = open_folder(make_folder("none"))
    assert common_license([mit, mit]) == "mit"
    listed = open_folder(make_folder("listed", files=readme("license: [mit]")))
    assert common_license([listed, listed]) is None and common_license([]) is None
    assert common_license([mit, other]) is None and common_license([mit, none]) is None
    made = manifest(mit, plan=None, seed=0, options={})
    front = yaml.safe_load(card(mit, made, "x").split("---")[1])
    expected = {"base_model": ["mit"], "library_name": "transformers", "license": "mit", "tags": ["merge", "consort"]}
    assert front == expected


def test_a_card_cannot_be_broken_out_of() -> None:
    evil = Memory({}, {}, name="a|b\n---\n<script>`x`")
    made = manifest(evil, plan="```\n# x", seed=0, options={})
    text = card(evil, made, "<b>")
    assert "<script>" not in text.split("\n---\n", 1)[1] and "# \\<b\\>" in text and "````yaml" in text
    assert yaml.safe_load(text.split("\n---\n")[0].removeprefix("---"))["base_model"] == ["a|b --- <script>`x`"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (readme("base_model: org/base"), ["org/base"]),
        (readme("base_model: [a, b, a, 3]"), ["a", "b"]),
        ({"adapter_config.json": '{"base_model_name_or_path": "org/base"}'}, ["org/base"]),
        ({"merge_manifest.json": '{"inputs": [{"name": "x"}, {"name": "y"}, 4]}'}, ["x", "y"]),
        (readme("base_model: !!python/object/apply:os.system ['touch canary']"), []),
        ({"README.md": "---\nbase_model: ["}, []),
        ({"adapter_config.json": "{"}, []),
        ({}, []),
    ],
)
def test_the_declared_base(files: dict[str, str], names: list[str], make_folder: MakeFolder) -> None:
    assert declared_base(make_folder(files=files)) == names
    assert not Path("canary").exists()
