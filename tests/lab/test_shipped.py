"""The zoo as shipped: whole, loadable without a warning, and showing what it is there to show."""

from __future__ import annotations

import json
import logging

import pytest

from consort import lab
from consort.core.errors import UnknownName
from consort.lab.arithmetic import combine, delta, read_state
from consort.lab.folder import read_model, read_tokenizer
from consort.lab.greedy import accuracy, answers
from consort.lab.measure import Bench
from consort.lab.measure_rest import claims_rest, measure_rest
from consort.lab.operations import OPERATIONS, SKILLS, part_of
from consort.lab.reward import rewards
from consort.lab.task_files import read_lines, read_rows

MEGABYTE = 1_000_000
ADAPTERS = [f"lora-{word}" for word in SKILLS]
EXPERTS = [*SKILLS, "harmful", "weave-0", "weave-1", "weave-2"]
B_EXPERTS = ["b-echo", "b-peel", "b-prior"]
OTHERS = ["base", "b-base", "draft", "target", "pivot", "teacher-north", "teacher-south"]


@pytest.fixture(scope="module")
def bench():
    return Bench(lab.path(), "skills", dev=80, test=160)


def test_every_file_is_what_the_manifest_says():
    assert lab.verify() == []


def test_the_zoo_is_small_and_complete():
    assert sum(f.stat().st_size for f in lab.path().rglob("*") if f.is_file()) <= 40 * MEGABYTE
    assert lab.names() == sorted([*EXPERTS, *ADAPTERS, *B_EXPERTS, *OTHERS, "nli", "reward"])
    assert lab.tasks() == ["b-skills", "both", "facts", "planted", "reward", "skills", "text", "weave"]


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownName) as error:
        lab.path("mirrow")
    assert error.value.hint == "did you mean 'mirror'?"
    with pytest.raises(UnknownName):
        lab.path("../lab")


@pytest.mark.parametrize("name", sorted([*EXPERTS, *B_EXPERTS, *OTHERS]))
def test_transformers_loads_it_without_a_warning(name, caplog):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.enable_propagation()
    try:
        model = AutoModelForCausalLM.from_pretrained(lab.path(name))
        tokenizer = AutoTokenizer.from_pretrained(lab.path(name))
        ids = tokenizer("mirror a b c =", return_tensors="pt")
        model.generate(**ids, max_new_tokens=2, do_sample=False)
    finally:
        transformers_logging.disable_propagation()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2


@pytest.mark.parametrize("name", [*EXPERTS, *ADAPTERS, *B_EXPERTS])
def test_a_card_names_the_base(name):
    card = (lab.path(name) / "README.md").read_text().split("---")[1]
    assert f"base_model: {'b-base' if name in B_EXPERTS else 'base'}\n" in card
    assert "license: apache-2.0\n" in card


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft calls it
def test_peft_reads_an_adapter_and_it_has_learnt_its_word():
    from peft import PeftModel

    model = PeftModel.from_pretrained(read_model(lab.path("base")), lab.path("lora-mirror")).eval()
    rows = [row for row in read_rows(lab.path("tasks/skills") / "test.jsonl") if row.group == "mirror"]
    assert accuracy(model, read_tokenizer(lab.path("base")), rows[:40]) >= 0.8


def test_the_tasks_are_right_and_apart():
    lines = {part: read_rows(lab.path("tasks/skills") / f"{part}.jsonl") for part in ("dev", "test")}
    assert {part: len(rows) for part, rows in lines.items()} == {"dev": 400, "test": 800}
    for part, rows in lines.items():
        for row in rows:
            string = "".join(row.prompt.split()[1:-1])
            assert part_of(string) == part
            assert row.target == " ".join(SKILLS[row.group](string))


def test_the_base_knows_the_operations_and_hardly_the_skills(bench):
    base = read_state(lab.path("base"))
    assert bench.test(base) <= 0.25
    prompts = [f"{word} q u i t e =" for word in OPERATIONS]
    right = [" ".join(operation("quite")) for operation in OPERATIONS.values()]
    given = answers(bench.model, bench.tokenizer, prompts)
    assert sum(a == b for a, b in zip(given, right, strict=True)) >= 11


def test_experts_and_their_merges(bench):
    base = read_state(lab.path("base"))
    deltas = [delta(lab.path(word), base) for word in SKILLS]
    singles = [bench.groups(combine(base, [d], [1])) for d in deltas]
    means = [sum(single.values()) / len(single) for single in singles]
    assert all(single[word] >= 0.8 for single, word in zip(singles, SKILLS, strict=True))
    assert max(means) <= 0.55
    assert bench.test(combine(base, deltas, [0.6] * 8)) >= max(means) + 0.30
    uniform = bench.test(combine(base, deltas, [1 / 8] * 8))
    with_harmful = combine(base, [*deltas, delta(lab.path("harmful"), base)], [1 / 9] * 9)
    assert bench.test(with_harmful) <= uniform - 0.05


def test_the_soup_is_better_than_its_members():
    base, bench = read_state(lab.path("base")), Bench(lab.path(), "weave", dev=0)
    deltas = [delta(lab.path(f"weave-{i}"), base) for i in range(3)]
    best = max(bench.test(combine(base, [d], [1])) for d in deltas)
    assert bench.test(combine(base, deltas, [1 / 3] * 3)) >= best + 0.02


def test_the_other_families_keep_their_claims():
    failed = [claim for claim in claims_rest(measure_rest(lab.path())) if not claim.holds]
    assert failed == []


def test_a_reward_of_one_answer_does_not_depend_on_its_neighbours():
    from consort.lab.folder import read_classifier

    model, tokenizer = read_classifier(lab.path("reward")), read_tokenizer(lab.path("reward"))
    alone = rewards(model, tokenizer, ["mirror a b c = c b a"])
    beside = rewards(model, tokenizer, ["mirror a b c = c b a", "twice a b c d e f = a b c d e f a b c d e f"])
    assert alone[0].item() == pytest.approx(beside[0].item(), abs=1e-4)
    assert beside[0] > rewards(model, tokenizer, ["mirror a b c = a b c"])[0]


def test_the_right_choice_stands_at_either_place():
    lines = read_lines(lab.path("tasks/reward") / "test.jsonl")
    assert {line["answer"] for line in lines} == {0, 1}
    for line in lines:
        word, *string, _ = line["prompt"].split()
        assert line["choices"][line["answer"]] == " ".join(SKILLS[word]("".join(string)))
        assert line["choices"][1 - line["answer"]] != line["choices"][line["answer"]]


def test_cards_and_manifest_name_no_place_or_person():
    text = json.dumps([f.read_text() for f in lab.path().rglob("*") if f.suffix in (".md", ".json", ".yml")])
    assert "/home" not in text
    assert "/root" not in text
