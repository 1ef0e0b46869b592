"""Strategies are models made of models: average two, put one in front, see which answered and at what cost."""

import consort as c

mirror, order = c.model("lab:mirror"), c.model("lab:order")
team = c.cascade([mirror, c.average([mirror, order])], threshold=0.9)
for completion in team.generate(["mirror a b c =", "order c a b ="], c.Sampling(max_tokens=8)):
    spent = {name: usage.total_tokens for name, usage in completion.cost.items()}
    print(completion.text, "|", dict(completion.details), "|", spent)
