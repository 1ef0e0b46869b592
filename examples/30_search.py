"""A search as a plan: a swarm of adapters, all particles in one batch, started from scaled task vectors as well."""

from pathlib import Path

from consort.runs.search.run import search

found = search(Path(__file__).with_suffix(".yml"), task="lab:tasks/skills", out="run", limit=24)
print(found.headline)
print({name: round(x, 2) for name, x in zip(("base", "mirror", "order", "shout"), found.best.point, strict=True)})
print(sorted(path.name for path in found.folder.iterdir()))
