"""Which kind of session is right for a module: the lean pass, the ragged cache, else row by row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from consort.core.errors import BadCheckpoint
from consort.models.base import Session
from consort.models.hf.host import Host
from consort.models.hf.lean_pass import LeanModule, NotLean
from consort.models.hf.lean_session import LeanOpener, LeanSession
from consort.models.hf.ragged_session import RaggedSession, cache_argument, windows_of
from consort.models.hf.row_session import RowSession

Opener = Callable[[int], Session]


def find_opener(model: Host) -> Opener:
    """The fastest kind of session on which `model` gives the logits of a plain forward pass.

    Not every module takes masks, positions or its own state in the way the others do, and one that ignores them is
    silently wrong; so a short text decides, read in pieces beside another row. Raises BadCheckpoint for a model whose
    logits of that text are not finite.
    """
    if is_lean(model):
        return LeanOpener(model, partial(find_stock_opener, model))
    return find_stock_opener(model)


def is_lean(model: Host) -> bool:
    """Whether the lean forward pass is right for `model`."""
    try:
        lean = LeanModule(model.module)
    except (NotLean, AttributeError):
        return False
    return _agrees(model, partial(LeanSession, model, lean), 1e-4)


def find_stock_opener(model: Host) -> Opener:
    """The fastest kind of session that runs the module's own code."""
    windows = windows_of(model.module)
    kinds: list[Opener] = [partial(RaggedSession, model, windows=windows)] if windows else []
    if state := cache_argument(model.module):
        kinds += [partial(RowSession, model, state=state, single=single) for single in (False, True)]
    for kind in kinds:
        if _agrees(model, kind):
            return kind
    return partial(RowSession, model, state=None)


@torch.no_grad()
def _agrees(model: Host, opener: Opener, near: float = 1e-3) -> bool:
    text = [(7 * i + 3) % model.vocabulary for i in range(min(12, model.window or 12))]
    ids = torch.tensor([text], device=model.device)
    wanted = model.module(input_ids=ids, use_cache=False).logits[0].float()
    if not torch.isfinite(wanted).all():
        hint = "look for NaN or infinity in its weights; lower the coefficients of a merge"
        raise BadCheckpoint("its logits are NaN or infinite", field=model.name, hint=hint)
    try:
        session = opener(2)
        parts = [session.feed([text[:3], text[:5]])[0], session.feed([text[3:5], text[5:6]])[0]]
        parts += [session.feed([text[5:], []])[0]]
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, NotImplementedError):
        return False
    near = near if wanted.dtype == model.module.dtype else 0.1
    return torch.allclose(torch.cat(parts), wanted, atol=near * float(wanted.abs().max().clamp(min=1)), rtol=0)
