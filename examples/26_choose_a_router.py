"""Choose among routers by cross-fitting: one is taken only if it is surely better than the best single model."""

import numpy as np

import consort as c
from consort.ensemble.learning.observations import Observed

prompts = [f"{verb} {i}" for i in range(100) for verb in ("add", "say")]
rng = np.random.default_rng(0)
knows = np.array([[verb == "add", verb == "say"] for _ in range(100) for verb in ("add", "say")], dtype=float)
luck = (rng.random((200, 2)) < 0.5).astype(float)
models = [c.model("lab:order"), c.model("lab:mirror")]
for name, quality in (("what can be learned", knows), ("luck", luck)):
    router = c.auto_router(models, candidates=["knn", "ridge"]).fit(
        Observed(("order", "mirror"), tuple(prompts), quality)
    )
    told = router.learned_values["told"]
    print(f"{name}: {told['taken'] or 'the best single model'}; expected loss at most {told['bound']:.5f}")
