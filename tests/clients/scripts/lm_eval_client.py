"""lm-eval through the server against lm-eval on the folder itself: log-likelihoods of every sample, and a chat."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import lm_eval
from lm_eval.tasks import TaskManager

url, folder = sys.argv[1:3]
TASK = """
task: tiny
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
"""
CHAT = """
task: tiny_chat
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: ["zz"], max_gen_toks: 4, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
rows = [
    {"question": f"copy {a} {b}", "choices": [f" {a} {b}", f" {b} {a}", " = 3"], "answer": 0}
    for a in ["a", "b", "c", "d", "e"]
    for b in ["x", "y", "z", "w"]
]


def samples(model, task, arguments, **options):
    found = lm_eval.simple_evaluate(
        model=model, model_args=arguments, tasks=[task], task_manager=manager, log_samples=True, **options
    )
    return found["samples"][task]


with TemporaryDirectory() as place:
    data = Path(place) / "tiny.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    for name, text in (("tiny", TASK), ("tiny_chat", CHAT)):
        (Path(place) / f"{name}.yaml").write_text(text.format(file=data))
    manager = TaskManager(include_path=place)
    local = samples("hf", "tiny", f"pretrained={folder},dtype=float32,add_bos_token=False", device="cpu", batch_size=4)
    far = samples(
        "local-completions",
        "tiny",
        f"model=b-base,base_url={url}/v1/completions,tokenizer_backend=remote,tokenized_requests=True,num_concurrent=1",
        batch_size=4,
    )
    by_id = {sample["doc_id"]: sample for sample in far}
    worst, count = 0.0, 0
    for sample in local:
        for (mine, greedy), (theirs, too) in zip(
            [r[0] if isinstance(r[0], (list, tuple)) else r for r in sample["filtered_resps"]],
            [r[0] if isinstance(r[0], (list, tuple)) else r for r in by_id[sample["doc_id"]]["filtered_resps"]],
            strict=True,
        ):
            worst, count = max(worst, abs(float(mine) - float(theirs))), count + 1
            assert str(greedy) == str(too), sample
    chat = samples(
        "local-chat-completions",
        "tiny_chat",
        f"model=b-base,base_url={url}/v1/chat/completions",
        apply_chat_template=True,
        limit=3,
    )
    assert all(sample["filtered_resps"][0] is not None for sample in chat)
print(json.dumps({"worst": worst, "count": count}))
