"""Sessions over bytes: the covers of a batch of texts, read on one session of a token model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from consort.core.errors import BadData
from consort.core.prefix import shared_prefix
from consort.core.types import Usage, add_cost
from consort.models.bytewise.covers import END, Node, Text
from consort.models.cost import joined

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from consort.models.bytewise.covers import Spelling
    from consort.models.token_model import TokenModel

_MOST_LOGITS = 2**26
"""Most logits held at once when a long text is read ahead."""

_LONG = 8
"""Texts of more bytes than this are read ahead."""


class ByteSession:
    """A batch of texts read byte by byte, on one session of the model with a few rows for each text.

    `owner` is the model over bytes, under whose name costs are told; `slots` the rows for each text.
    """

    def __init__(self, owner: Any, model: TokenModel, spelling: Spelling, batch: int, *, slots: int) -> None:
        self.owner, self.model, self.spelling, self.slots = owner, model, spelling, slots
        self.rows = [Text(spelling) for _ in range(batch)]
        self.inner = model.open(batch * slots)
        self.paths: list[tuple[int, ...]] = [()] * (batch * self.slots)

    @property
    def dropped(self) -> list[float]:
        """The share of probability left out by pruning, for each row."""
        return [row.dropped for row in self.rows]

    def full(self) -> list[bool]:
        """For each row, whether its model's context window has no room for another token."""
        return [row.full for row in self.rows]

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        import torch

        _check_bytes(self.spelling.name, tokens)
        self._begin([row for row, new in zip(self.rows, tokens, strict=True) if len(new)])
        known = self._ahead(tokens)
        found: list[list[np.ndarray]] = [[] for _ in tokens]
        for step in range(max(map(len, tokens), default=0)):
            moving = [i for i, new in enumerate(tokens) if step < len(new)]
            for i in moving:
                self.rows[i].commit(tokens[i][step])
            self._read([i for i in moving if self.rows[i].unread()], known)
            for i in moving:
                if not last or step == len(tokens[i]) - 1:
                    found[i].append(self.rows[i].next_byte())
        return [torch.tensor(np.array(row).reshape(-1, 257), dtype=torch.float32) for row in found]

    def _begin(self, rows: Sequence[Text]) -> None:
        """Read what comes before a text, and what a rollback has made necessary again."""
        places = {id(row): i for i, row in enumerate(self.rows)}
        self._read([places[id(row)] for row in rows if row.unread()], {})
        fresh = [row for row in rows if not row.begun]
        heads = [row.states[0][0][0] for row in fresh]
        for byte in self.spelling.lead:
            for row in fresh:
                row.put_before(byte)
            self._read([places[id(row)] for row in fresh if row.unread()], {})
        for row, head in zip(fresh, heads, strict=True):
            row.begin(head)

    def _ahead(self, tokens: Sequence[Sequence[int]]) -> dict[tuple[int, ...], Float[Tensor, " vocab"]]:
        """Logits along the tokens that the tokenizer makes of each long text, read in one pass."""
        feed: list[list[int]] = [[] for _ in self.paths]
        keep = [len(path) for path in self.paths]
        total = 0
        for i, new in enumerate(tokens):
            path = self._own_tokens(self.rows[i].text, new) if len(new) > _LONG else ()
            at = i * self.slots
            keep[at] = min(shared_prefix(self.paths[at], path), max(len(path) - 1, 0)) if path else keep[at]
            feed[at] = list(path[keep[at] :])
            total += len(feed[at])
        if not total or total * self.model.tokenizer.vocab_size > _MOST_LOGITS:
            return {}
        self.inner.rollback(keep)
        known = {}
        for at, logits in enumerate(self.inner.feed(feed)):
            if feed[at]:
                self.paths[at] = (*self.paths[at][: keep[at]], *feed[at])
                known.update({self.paths[at][: keep[at] + n + 1]: row for n, row in enumerate(logits)})
        return known

    def _own_tokens(self, before: bytes, new: Sequence[int]) -> tuple[int, ...]:
        """What the tokenizer makes of a text, if that spells it and fits into the model."""
        texts = self.spelling
        begins = new[0] == END
        if END in new[1:]:
            return ()
        text = bytes(new[1:]) if begins else before + bytes(new)
        own = self.model.tokenizer.encode(text.decode("utf-8", "ignore"), special=False)
        spelt = b"".join(texts.pieces[i] or b"" for i in own if i < len(texts.pieces))
        path = (*texts.head, *own)
        fits = texts.window is None or len(path) <= texts.window
        return path if fits and (texts.lead + text).startswith(spelt) else ()

    def _read(self, rows: Sequence[int], known: dict[tuple[int, ...], Float[Tensor, " vocab"]]) -> None:
        """Read the unread nodes of these rows, as many at a time as there are slots."""
        waiting = {i: self.rows[i].unread() for i in rows}
        for i, nodes in waiting.items():
            for node in [n for n in nodes if n.path in known]:
                self._learn([self.rows[i]], [node], known[node.path][None])
                nodes.remove(node)
        while any(waiting.values()):
            feed: list[list[int]] = [[] for _ in self.paths]
            keep, chosen = [len(path) for path in self.paths], {}
            for i, nodes in waiting.items():
                free = set(range(i * self.slots, (i + 1) * self.slots))
                while nodes and free:
                    node = nodes.pop()
                    shared = {at: shared_prefix(self.paths[at], node.path) for at in free}
                    at = max(sorted(free), key=shared.__getitem__)
                    free.remove(at)
                    keep[at] = min(shared[at], len(node.path) - 1)
                    feed[at], chosen[at] = list(node.path[keep[at] :]), node
            self.inner.rollback(keep)
            logits = self.inner.feed(feed, last=True)
            for at, node in chosen.items():
                self.paths[at] = node.path
            owners = [self.rows[at // self.slots] for at in chosen]
            self._learn(owners, list(chosen.values()), [logits[at][0] for at in chosen])

    def _learn(self, rows: Sequence[Text], nodes: Sequence[Node], logits: Sequence[Tensor] | Tensor) -> None:
        import torch

        stacked = logits if isinstance(logits, torch.Tensor) else torch.stack(list(logits))
        p = stacked.double().softmax(-1).cpu().numpy()
        for text, node, own in zip(rows, nodes, p, strict=True):
            text.learn(node, own)

    def rollback(self, lengths: Sequence[int]) -> None:
        for row, length in zip(self.rows, lengths, strict=True):
            row.cut(length)

    def inner_sessions(self) -> list[Any]:
        return [self.inner]

    def admit(self, rows: int) -> ByteSession:
        self.rows += [Text(self.spelling) for _ in range(rows)]
        growing: Any = self.inner
        self.inner = growing.admit(rows * self.slots)
        self.paths += [()] * (rows * self.slots)
        return self

    def select(self, rows: Sequence[int]) -> ByteSession:
        self.rows = [self.rows[row].copy() for row in rows]
        places = [row * self.slots + slot for row in rows for slot in range(self.slots)]
        self.inner, self.paths = self.inner.select(places), [self.paths[at] for at in places]
        return self

    def spent(self) -> list[dict[str, Usage]]:
        costs, n = self.inner.spent(), self.slots
        summed = [add_cost(*costs[i * n : (i + 1) * n]) for i in range(len(self.rows))]
        return [joined(self.owner, [(self.model, cost)]) for cost in summed]


def _check_bytes(name: str, tokens: Sequence[Sequence[int]]) -> None:
    for new in tokens:
        if len(new) and not 0 <= min(new) <= max(new) <= END:
            raise BadData(f"{max(new)} is no byte", field=name, hint="0 to 255, and 256 for the end")
