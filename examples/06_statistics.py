"""Merge by what weights do: collect Fisher information on a few texts of each model's task, weigh entries by it."""

import consort as c
from consort import lab
from consort.merge.collect.run import collect

skills = c.load_task(lab.path("tasks/skills"))
experts, statistics = [], []
for name in ("mirror", "order"):
    expert = c.load(f"lab:{name}")
    examples = [e for e in skills.dev if e.group == name][:30]
    collect("fisher", expert, [f"{e.prompt} {e.target[0]} <eos>" for e in examples], f"{name}-fisher")
    experts.append(expert)
    statistics.append(c.load(f"{name}-fisher"))

mean = c.model(c.merge("linear", experts))
weighed = c.model(c.merge("fisher", experts, statistics=statistics))
tests = [e for e in skills.test if e.group in ("mirror", "order")][:60]
for label, model in (("linear", mean), ("fisher", weighed)):
    answers = model.generate([e.prompt for e in tests], c.Sampling(max_tokens=8))
    right = sum(a.text.strip() == e.target[0] for a, e in zip(answers, tests, strict=True))
    print(f"{label}: {right} of {len(tests)} right")
