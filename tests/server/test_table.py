"""What is served of a plan: all that answers prompts in it, and nothing else."""

from __future__ import annotations

import httpx

from consort.server.run import Server


def test_a_reward_is_no_model(tmp_path):
    plan = tmp_path / "best.yml"
    plan.write_text("best_of_n: {models: [lab:mirror], samples: 2, reward: lab:reward}\n")
    with Server([str(plan)], port=0) as running:
        served = httpx.get(f"{running.url}/v1/models", timeout=60).json()["data"]
        body = {"model": "best", "prompt": "mirror a b c =", "max_tokens": 8, "temperature": 0}
        answer = httpx.post(f"{running.url}/v1/completions", json=body, timeout=60).json()
    assert [one["id"] for one in served] == ["best", "lab:mirror"]
    assert answer["choices"][0]["text"].strip() == "c b a"
