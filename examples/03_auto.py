"""The main job: several models and a task in, one better model out, with a report."""

import consort as c

outcome = c.auto(["lab:base", "lab:mirror", "lab:order", "lab:shout"], task="lab:tasks/skills", out="run", budget=10)
print(outcome.headline)
print(sorted(path.name for path in outcome.folder.iterdir()))
