"""Speculative decoding: a small draft guesses ahead, the answer stays the target's, and it tells how often it held."""

import consort as c

target, draft = c.model("lab:target"), c.model("lab:draft")
fast = c.speculate(target, draft, gamma=5)
sampling = c.Sampling(max_tokens=48)
(answer,) = fast.generate(["Once upon a time"], sampling)
assert answer.text == target.generate(["Once upon a time"], sampling)[0].text

told = answer.details["speculation"]
print(f"{len(answer.tokens)} tokens in {told['rounds'] + 1} passes of the target, acceptance {told['acceptance']:.2f}")
print({name: usage.completion_tokens for name, usage in answer.cost.items()})
