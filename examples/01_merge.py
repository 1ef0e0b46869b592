"""Merge two skills into one model, save it, load it with transformers."""

import consort as c

base, mirror, order = (c.load(f"lab:{name}") for name in ("base", "mirror", "order"))
merged = c.merge("task_arithmetic", [mirror, order], base=base, weight=0.8)
c.save(merged, "merged")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

model = AutoModelForCausalLM.from_pretrained("merged")
tokenizer = AutoTokenizer.from_pretrained("merged")
for prompt in ("mirror a b c d =", "order d b a c ="):
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    answer = model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    print(prompt, tokenizer.decode(answer, skip_special_tokens=True))
