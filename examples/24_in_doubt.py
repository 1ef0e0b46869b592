"""A strong model only in doubt: by disagreement, by the spread of samples, by the weak model's own check."""

import consort as c

weak, other, strong = (c.model(f"lab:{name}") for name in ("base", "order", "mirror"))
sampling = c.Sampling(max_tokens=8)
for team in (
    c.agreement_cascade([weak, other, strong], answer="words"),
    c.mixture_of_thought(weak, strong, samples=3, threshold=0.8, temperature=1.0, answer="words"),
    c.auto_mix(weak, strong, checks=2, verify="{prompt} {answer} ="),
):
    (answer,) = team.generate(["mirror a b c ="], sampling)
    calls = {name: usage.calls for name, usage in answer.cost.items()}
    print(team.name, "|", answer.text, "|", answer.details["answered_by"], calls)
