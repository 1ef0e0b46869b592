"""Two models stacked into a deeper one: silent at first, so that it is the first model, then healed by training."""

import consort as c
from consort import lab
from consort.mixture.healing import heal
from consort.train import Recipe
from consort.weights import Slice, Stack, ZeroOutput

base, mirror = c.load("lab:base"), c.load("lab:mirror")
deep = ZeroOutput(Stack([Slice(base, (0, 4)), Slice(mirror, (2, 4))], base=base), layers=[4, 5])
skills = c.load_task(lab.path("tasks/skills"))
pairs = [(e.prompt, f" {e.target[0]} <eos>") for e in skills.dev if e.group == "mirror"]
healed = heal(deep, pairs, recipe=Recipe(steps=40, lr=2e-3), layers=[4, 5])
tests = [e for e in skills.test if e.group == "mirror"][:40]
for label, model in (("base", base), ("stacked", deep), ("healed", healed)):
    answers = c.model(model).generate([e.prompt for e in tests], c.Sampling(max_tokens=10))
    right = sum(a.text.strip() == e.target[0] for a, e in zip(answers, tests, strict=True))
    print(f"{label}: {right} of {len(tests)} right")
