"""Two tokenizers on one text: which positions have read the same bytes, and what a token is called elsewhere."""

import numpy as np

from consort import lab
from consort.models.tokens.ends import same_end, spell
from consort.models.tokens.tokenizer import load_tokenizer
from consort.models.tokens.vocabulary_map import vocabulary_map

pivot, source = (load_tokenizer(lab.path(name), name, config={}) for name in ("pivot", "teacher-south"))
text = "the river of bimirak is called thessa"
ours, theirs = spell(pivot, text), spell(source, text)
partner = same_end(ours.ends, theirs.ends)
data = text.encode()
for spelled, name in ((ours, "pivot"), (theirs, "source")):
    cuts = [0, *spelled.ends.tolist()]
    print(f"{name:7}", [data[a:b].decode() for a, b in zip(cuts, cuts[1:], strict=False) if b > a])
print("aligned", f"{(partner >= 0).sum()} of {len(ours)} positions")
for rule in ("exact", "first_piece", "min_edit"):
    print(rule, f"{np.mean(vocabulary_map(source, pivot, rule) >= 0):.2f} of the source's tokens have a counterpart")
