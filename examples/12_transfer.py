"""Steer one model by others while it decodes: carry a skill over, sharpen an expert, look at earlier layers."""

import consort as c

base, mirror, twice = (c.model(f"lab:{name}") for name in ("base", "mirror", "twice"))
sampling = c.Sampling(max_tokens=8)
for model in (
    twice,
    c.proxy(twice, mirror, base),  # what `mirror` learned after `base`, carried over to `twice`
    c.contrastive(mirror, base, amateur_temperature=1.0),
    c.dola(mirror, bucket="high"),
    c.contrastive_search(mirror),
):
    print(model.name, "|", model.generate(["mirror a b c ="], sampling)[0].text)
