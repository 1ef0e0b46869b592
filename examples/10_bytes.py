"""Two models of different tokenizers, averaged byte by byte: any token model is a model over 256 bytes and an end."""

import consort as c

pivot, target = c.model("lab:pivot"), c.model("lab:target")
team = c.average([c.as_bytes(pivot), c.as_bytes(target)])
for completion in team.generate(["it is "], c.Sampling(max_tokens=16)):
    read = {name: usage.total_tokens for name, usage in completion.cost.items()}
    print(repr(completion.text), "|", completion.usage.completion_tokens, "bytes |", read)
