"""Ensembles of next-token distributions: over one vocabulary, over several, and who spoke for each token."""

import consort as c

mirror, order, echo = (c.model(f"lab:{name}") for name in ("mirror", "order", "b-echo"))
sampling = c.Sampling(max_tokens=8)
for team in (
    c.average([mirror, order]),
    c.pack_llm([mirror, order]),
    c.gac([mirror, echo], weight=[2, 1]),
    c.unite([mirror, echo], weight=[2, 1]),
):
    (answer,) = team.generate(["mirror a b c ="], sampling)
    print(team.name, "|", answer.text, "|", {name: usage.total_tokens for name, usage in answer.cost.items()})

(answer,) = c.attributed(c.average([mirror, order])).generate(["mirror a b c ="], sampling)
for name, values in answer.details["attribution"].items():
    print(name, [round(value, 2) for value in values])
