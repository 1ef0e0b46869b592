"""Many answers, one returned: a vote, samples of one model, the answer most like the others, and a judge."""

import consort as c

models = [c.model(f"lab:{name}") for name in ("harmful", "base", "mirror")]
sampling = c.Sampling(max_tokens=8)
for team in (
    c.vote(models, answer="words"),
    c.self_consistency(models[2], samples=5, temperature=0.5),
    c.slm_mux(models, samples=3, answer="words"),
    c.mbr(models, utility="chrf"),
):
    (answer,) = team.generate(["rev a b c ="], sampling)
    calls = {name: usage.calls for name, usage in answer.cost.items()}
    print(team.name, "|", answer.text, "|", calls)

judged = c.best_of_n(models, reward=c.load("lab:reward"))
(answer,) = judged.generate(["rev a b c ="], sampling)
print(answer.text, answer.details["answered_by"], [round(r, 2) for r in answer.details["rewards"]])
