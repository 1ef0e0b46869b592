"""Model Swarms beside two of its baselines; every system says what it cost."""

from consort.recipes.model_swarms.study import model_swarms

study = model_swarms(
    ["lab:mirror", "lab:order"],
    base="lab:base",
    task="lab:tasks/skills",
    out="run",
    limit=16,
    particles=4,
    iterations=2,
    baselines=["uniform soup", "dare-ties"],
)
for line in study.lines:
    print(f"{line.name:16} dev {line.dev:.3f}  test {line.test.score:.3f}  {line.evaluations} evaluations")
print({name: value for name, value in study.analysis.items() if value is not None})
