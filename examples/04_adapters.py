"""Take two skills out of fine-tuned models as adapters, add them up, lay the sum over the base."""

import consort as c

base = c.load("lab:base")
mirror = c.extract_adapter(c.load("lab:mirror"), base, energy=0.95)
order = c.extract_adapter(c.load("lab:order"), base, rank=24)
both = c.merge_adapters([mirror, order], base=base, weight=0.9)
c.save(both, "skills")  # adapter_config.json and adapter_model.safetensors, as peft reads them

model = c.model(c.apply_adapter(both, base))
for prompt in ("mirror a b c d =", "order d b a c ="):
    print(prompt, model.generate([prompt], c.Sampling(max_tokens=8))[0].text)
