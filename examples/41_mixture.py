"""Experts in one network: a Mixtral folder that transformers loads, and whole stacks routed once on the prompt."""

import consort as c
from consort import lab
from consort.mixture.sparse_mixture import SparseMixture
from consort.mixture.weight_mixture import WeightMixture

names = ["mirror", "order", "shout"]
skills = c.load_task(lab.path("tasks/skills"))
examples = [e for e in skills.dev if e.group in names]
prompts = [[e.prompt for e in examples if e.group == name][:10] for name in names]

base, experts = c.load("lab:base"), [c.load(f"lab:{name}") for name in names]
folder = c.save(SparseMixture(base, experts, positive=prompts), "moe").path
print(folder.name, c.model(folder).generate(["mirror a b c ="], c.Sampling(max_tokens=6))[0].text)

for level in ("model", "block", "ffn"):
    mixed = WeightMixture(base, experts, level=level, positive=prompts)
    answers = mixed.generate([e.prompt for e in examples], c.Sampling(max_tokens=10))
    right = sum(a.text.strip() == e.target[0] for a, e in zip(answers, examples, strict=True))
    print(f"level {level}: {right} of {len(examples)} right")
