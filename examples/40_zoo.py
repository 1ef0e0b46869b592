"""A zoo of models of unknown kinship: which are alike, which can be merged, which do harm."""

import consort as c
from consort import lab
from consort.zoo import cluster, find_harmful, similarities

names = ["base", "mirror", "order", "shout", "twice", "spin", "harmful", "b-base", "b-peel"]
models = [c.load(f"lab:{name}") for name in names]
zoo = similarities(models, names=names, base=models[0])
print(f"mirror and order: weights {zoo.weights[1][2]:.4f}, deltas {zoo.deltas[1][2]:.4f}")

task = c.load_task(lab.path("tasks/skills"))
scores = [c.evaluate(c.model(model), task, split="dev", limit=100).score for model in models]
for group in cluster(zoo.weights, names=names, scores=scores):
    print([names[i] for i in group.members], "represented by", names[group.representative])
for one in find_harmful(zoo, scores, base=0):
    print(names[one.model], "does harm:", one.reason)
