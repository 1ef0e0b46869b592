"""Wrong input: exit 2, one `error:` line, one `hint:` line, nothing left behind, nothing on standard output."""

from __future__ import annotations

import io
import json
import shutil
import struct

import pytest

from consort import lab


@pytest.fixture
def model(tmp_path):
    """A copy of a bundled model, to be damaged."""
    return shutil.copytree(lab.path("mirror"), tmp_path / "model")


def merge_of(tmp_path, *models, method="linear", **more):
    plan = tmp_path / "plan.yml"
    plan.write_text(json.dumps({method: {"models": [str(m) for m in models], **more}}))
    return plan


def rewrite_header(file, change):
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def first_tensor(header):
    return next(name for name in header if name != "__metadata__")


def truncate(model):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def empty(model):
    (model / "model.safetensors").write_bytes(b"")


def huge_header(model):
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def overlapping(model):
    def change(header):
        header[first_tensor(header)]["data_offsets"] = [0, 10**15]

    rewrite_header(model / "model.safetensors", change)


def other_shape(model):
    def change(header):
        spec = header["model.norm.weight"]
        spec["shape"] = [2, spec["shape"][0] // 2]

    rewrite_header(model / "model.safetensors", change)


def pickle_only(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def no_config(model):
    (model / "config.json").unlink()


def broken_config(model):
    (model / "config.json").write_text("{")


def remote_code(model):
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Evil"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "evil.py").write_text(f"open({str(model.parent / 'canary')!r}, 'w')")


def escaping_index(model):
    (model / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "../secret/model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def nan(model):
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


DAMAGES = [
    truncate,
    empty,
    huge_header,
    overlapping,
    other_shape,
    pickle_only,
    no_config,
    broken_config,
    remote_code,
    escaping_index,
    nan,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_damaged_or_hostile_models_are_refused(damage, model, tmp_path, refused):
    damage(model)
    plan = merge_of(tmp_path, lab.path("order"), model)
    before = sorted(tmp_path.rglob("*"))
    assert "defect" not in refused("merge", plan, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("linear: {models: [a, b]", "plan.yml:1"),
        ("linear: !!python/object/apply:os.system [ls]", "tag"),
        ("linear: {models: [a]}\nlinear: {models: [b]}", "twice"),
        ("linear: {models: [lab:base, lab:mirror], wieght: 3}", "did you mean 'weight'"),
        ("liner: {models: [lab:base, lab:mirror]}", "did you mean 'linear'"),
        ("ties: {models: [lab:mirror], base: lab:base, density: 1.5}", "[0, 1]"),
        ("ties: {models: [lab:mirror, lab:order]}", "base"),
        ("linear: {models: [lab:mirror, lab:order], weight: [1, -1]}", "weight"),
        ("linear: {models: [lab:mirror, lab:mirorr]}", "mirror"),
        ("linear: {models: [lab:mirror, no/such/folder]}", "does not exist"),
        ("linear: {models: [no/a, no/b], base: no/c}", "no/a: does not exist; no/b: does not exist; no/c: does"),
        ("linear: {models: []}", "no models in the list"),
        ("linear: {models: [lab:mirror, lab:order], weight: .inf}", "inf is not float"),
        ("linear: {models: [lab:mirror, lab:b-base]}", "vocabular"),
        ("average: {models: [lab:mirror, lab:order]}", "not a checkpoint"),
        ("merge_method: linear", "exactly one of models, slices, modules"),
        (f"linear: {{models: [lab:mirror, lab:order], weight: {'9' * 5000}}}", "999… is not float"),
        ("linear: {models: [lab:mirror, lab:order], weight: {free: [0, 1]}}", "consort search"),
    ],
)
def test_wrong_plans_are_refused(text, says, tmp_path, refused):
    (tmp_path / "plan.yml").write_text(text)
    assert says in refused("merge", tmp_path / "plan.yml", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.yml"]


def test_outputs_in_the_way_are_refused(tmp_path, refused, consort):
    plan = merge_of(tmp_path, "lab:mirror", "lab:order")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "--force" in refused("merge", plan, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    assert consort("merge", plan, tmp_path / "out", "--force").code == 0
    assert not (tmp_path / "out" / "mine.txt").exists()


def test_writing_onto_an_input_is_refused(model, tmp_path, refused):
    plan = merge_of(tmp_path, model, "lab:order")
    before = (model / "model.safetensors").read_bytes()
    refused("merge", plan, model, "--force")
    assert (model / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "lab:mirror", "x", "--prompts", "f"], "one of them"),
        (["generate", "lab:mirror", "--prompts", "no-file"], "no such file"),
        (["generate", "lab:mirror", "x", "--max-tokens", "0"], "--max-tokens"),
        (["generate", "table:f.csv#a", "x"], "no such file"),
        (["generate", "lab:mirror", "x", "--temperature", "nan"], "not a number ≥ 0"),
        (["generate", "lab:mirror", "x", "--top-p", "0"], "--top-p"),
        (["generate", "lab:nope", "x"], "error: lab:nope:"),
        (["generate", "", "x"], "empty"),
        (["auto", "", "--task", "lab:tasks/skills", "--out", "run"], "empty"),
        (["eval", "lab:mirror", "lab:mirror", "--task", "lab:tasks/skills"], "given twice"),
        (["eval", "lab:mirror", "no/a", "no/b", "--task", "lab:tasks/skills"], "2 faults: no/a: does not exist; no/b:"),
        (["lab", "train", "--out", ""], "--out"),
        (["lab", "train", "--part", "compos"], "did you mean 'compose'"),
        (["score", "lab:mirror", "--pairs", "no-file"], "no such file"),
        (["eval", "lab:mirror", "--task", "no-file"], "no such file"),
        (["eval", "lab:mirror", "--task", "lab:tasks/skils"], "skills"),
        (["eval", "lab:mirror", "--task", "lab:tasks/skills", "--split", "tset"], "test"),
        (["auto", "lab:mirror", "--task", "no-file", "--out", "run"], "no such file"),
        (["auto", "lab:base", "--task", "lab:tasks/both", "--out", "run", "--recipe", "model-glue"], "model-glue"),
        (["report", "no-folder"], "is no folder"),
        (["merge", "plan.yml"], "OUT"),
        (["mrege"], "merge"),
        (["merge", "lab:base", "out", "--shard-size", "big"], "5GB"),
        (["merge", "lab:base", "out", "--out-dtype", "int8"], "bfloat16"),
    ],
)
def test_wrong_arguments_are_refused(arguments, says, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    assert says in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_errors_as_json(consort, tmp_path):
    shown = consort("merge", tmp_path / "no.yml", tmp_path / "out", "--json")
    error = json.loads(shown.err)["error"]
    assert shown.code == 2 and set(error) == {"type", "message", "field", "hint"}


BAD_PATHS = ["", "file", "file/sub", "x" * 300, "link"]


@pytest.mark.parametrize("out", BAD_PATHS)
@pytest.mark.parametrize("verb", ["merge", "dry", "auto"])
def test_paths_that_no_output_can_have(verb, out, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    plan = merge_of(tmp_path, "lab:mirror", "lab:order")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = sorted(tmp_path.rglob("*"))
    merge = ["merge", plan, out, *(["--dry-run"] if verb == "dry" else [])]
    assert out in refused(
        *(["auto", "lab:mirror", "--task", "lab:tasks/skills", "--out", out] if verb == "auto" else merge)
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_refuses_what_a_merge_would(model, tmp_path, refused):
    plan = merge_of(tmp_path, model, "lab:order")
    assert "overlaps" in refused("merge", plan, model, "--force", "--dry-run")
    (tmp_path / "full" / "mine").mkdir(parents=True)
    assert "not empty" in refused("merge", plan, tmp_path / "full", "--dry-run")


@pytest.mark.parametrize("stdin", [True, False])
def test_a_prompt_is_text(stdin, monkeypatch, refused):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), "utf-8"))
    assert "PROMPT: is not UTF-8" in refused("generate", "lab:mirror", *([] if stdin else ["\udcff"]))


@pytest.mark.parametrize("arguments", [[], ["lab"]])
def test_no_arguments_print_the_help(arguments, consort):
    shown = consort(*arguments)
    assert shown.code == 0 and shown.err == "" and len(shown.out.splitlines()) > 5


GRADER = "import pathlib\npathlib.Path('canary').touch()\ndef grade(answer, example): return 1.0\n"


@pytest.mark.parametrize("verb", ["eval", "auto"])
def test_code_that_a_task_names_needs_consent(verb, tmp_path, monkeypatch, refused, consort):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "grader.py").write_text(GRADER)
    (tmp_path / "t.jsonl").write_text('{"prompt": "a", "target": "b"}\n')
    (tmp_path / "t.yml").write_text("{test: t.jsonl, metric: 'grader:grade', max_tokens: 1}")
    more = ["--out", "run"] if verb == "auto" else []
    assert "--allow-task-code" in refused(verb, "lab:mirror", "--task", "t.yml", *more)
    assert not (tmp_path / "canary").exists()
    if verb == "eval":
        assert consort(verb, "lab:mirror", "--task", "t.yml", "--allow-task-code").code == 0
        assert (tmp_path / "canary").exists()


def test_warnings_follow_a_run_and_never_a_refusal(tmp_path, consort, refused):
    (tmp_path / "t.jsonl").write_text('{"prompt": "a", "target": "b"}\n')
    (tmp_path / "u.jsonl").write_text('{"prompt": "a", "target": "b"}\n')
    (tmp_path / "t.yml").write_text("{dev: t.jsonl, test: u.jsonl, metric: exact_match, max_tokens: 1}")
    shown = consort("eval", "lab:mirror", "--task", tmp_path / "t.yml")
    assert shown.code == 0 and "warning: task t: 1 of 1 test prompts" in shown.err
    refused("eval", "no/such", "--task", tmp_path / "t.yml")


def test_an_adapter_over_another_base_is_refused_unless_told(tmp_path, consort):
    adapter = shutil.copytree(lab.path("lora-mirror"), tmp_path / "adapter")
    error = consort("merge", merge_of(tmp_path, adapter), tmp_path / "out").err
    assert "which it calls" in error and f"BASE+{adapter}" in error
    (tmp_path / "plan.yml").write_text("linear: {models: [{hf: 'lab:lora-mirror', base: 'lab:order'}]}")
    shown = consort("merge", tmp_path / "plan.yml", tmp_path / "out")
    assert shown.code == 2 and "lora-mirror: was trained on base" in shown.err and "other_base" in shown.err
    told = "apply_adapter: {model: 'lab:lora-mirror', base: 'lab:order', other_base: true}"
    (tmp_path / "plan.yml").write_text(f"linear: {{models: [{{{told}}}]}}")
    shown = consort("merge", tmp_path / "plan.yml", tmp_path / "out")
    assert shown.code == 0 and "warning: lora-mirror was trained on" in shown.err
    shown = consort("merge", tmp_path / "plan.yml", tmp_path / "again", "--json")
    assert "warning: lora-mirror" in shown.err
    assert json.loads(shown.out)["warnings"][0].startswith("lora-mirror was trained on")
