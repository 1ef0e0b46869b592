"""Which kind of session is right for a module: the lean pass, the ragged cache, else row by row.

Not every module takes masks, positions or its own state in the way the others do, and one that ignores them is
silently wrong; so a short text decides, read in pieces beside another row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from consort.core.errors import BadCheckpoint, Unsupported
from consort.models.base import Session
from consort.models.hf.host import Host
from consort.models.hf.kept_state import Nothing, Passed, held_by
from consort.models.hf.lean_pass import LeanModule, NotLean
from consort.models.hf.lean_session import LeanOpener, LeanSession
from consort.models.hf.ragged_session import RaggedSession, attention_of, cache_argument
from consort.models.hf.row_session import RowSession
from consort.models.hf.switching import SwitchingSession, switch_of

LOG = logging.getLogger(__name__)

Opener = Callable[[int], Session]

PROBE = 12
"""Tokens of the text that decides."""

LOOSE = 0.1
"""How far they may be at most, where much is rounded."""

UNITS = 4
"""Units of the last place that the logits of a module of 16 bits may be apart by their order of sums alone."""

NEAR_LEAN, NEAR = 1e-4, 1e-3
"""How far the logits of a session may be from those of a plain pass, by the largest of them (float32)."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A text and the logits of a plain forward pass over it."""

    text: list[int]
    wanted: Tensor
    noise: float = 0.0
    """How far plain passes over its beginnings are from it, by the largest logit: what rounding alone does."""

    def fault(self, opener: Opener, near: float) -> str | None:
        """Why sessions of `opener` are not right, None if they are."""
        text = self.text
        try:
            session = opener(2)
            parts = [session.feed([text[:3], text[:5]])[0], session.feed([text[3:5], text[5:6]])[0]]
            parts += [session.feed([text[5:], []])[0]]
        except (TypeError, ValueError, LookupError, RuntimeError, AttributeError) as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        size = float(self.wanted.abs().max().clamp(min=1))
        apart = float((torch.cat(parts).float() - self.wanted).abs().max()) / size
        return None if apart <= near else f"its logits are off by {apart:.1%}"


@torch.no_grad()
def probe_of(model: Host) -> Probe:
    """The text that decides which sessions of `model` are right.

    Raises BadCheckpoint where its logits are no finite numbers, Unsupported where they depend on what follows.
    """
    text = [(7 * i + 3) % model.vocabulary for i in range(min(PROBE, model.window or PROBE))]
    seen = len(text) // 3
    wanted = _plain(model, text)
    other = _plain(model, [*text[:seen], *((token + 1) % model.vocabulary for token in text[seen:])])
    if not torch.isfinite(wanted).all():
        hint = "look for NaN or infinity in its weights; lower the coefficients of a merge"
        raise BadCheckpoint("its logits are NaN or infinite", field=model.name, hint=hint)
    apart = float((wanted - other)[:seen].abs().max()) if seen else 0.0
    if apart > (NEAR_LEAN / 10 if _is_exact(model) else LOOSE / 10) * float(wanted.abs().max().clamp(min=1e-3)):
        hint = "take a model that was trained to write on from a text"
        message = "its logits depend on the tokens that follow: it is no causal language model"
        raise Unsupported(message, field=model.name, hint=hint)
    switch = switch_of(model.module)
    if switch is not None and switch < len(text):
        wanted = torch.cat([_plain(model, text[:switch]), wanted[switch:]])
    return Probe(text, wanted, _noise(model, text, wanted))


def _is_exact(model: Host) -> bool:
    """Whether nothing is rounded to less than 32 bits."""
    return model.module.dtype in (torch.float32, torch.float64) and not getattr(model.module, "is_quantized", False)


def _noise(model: Host, text: list[int], wanted: Tensor) -> float:
    """What rounding does to the logits: passes over the beginnings of a text sum in another order."""
    if model.module.dtype in (torch.float32, torch.float64):
        return 0.0
    parts = [(n, _plain(model, text[:n])) for n in (len(text) // 4, len(text) // 2) if n]
    apart = max((float((part - wanted[:n]).abs().max()) for n, part in parts), default=0.0)
    return apart / float(wanted.abs().max().clamp(min=1))


def _plain(model: Host, text: list[int]) -> Tensor:
    """Logits of a plain forward pass."""
    ids = torch.tensor([text], device=model.device)
    logits: Tensor = model.module(input_ids=ids, use_cache=False).logits
    return logits[0].float()


def find_opener(model: Host) -> Opener:
    """The fastest kind of session on which `model` gives the logits of a plain forward pass."""
    probe = probe_of(model)
    if is_lean(model, probe):
        return LeanOpener(model, partial(find_stock_opener, model, probe))
    return find_stock_opener(model, probe)


def is_lean(model: Host, probe: Probe | None = None) -> bool:
    """Whether the lean forward pass is right for `model`."""
    try:
        lean = LeanModule(model.module)
    except (NotLean, AttributeError):
        return False
    probe = probe or probe_of(model)
    fault = probe.fault(partial(LeanSession, model, lean), _near(model, NEAR_LEAN, probe.noise))
    if fault:
        LOG.info("%s is not read by the lean pass: %s", model.name, fault)
    return fault is None


def find_stock_opener(model: Host, probe: Probe | None = None) -> Opener:
    """The fastest kind of session that runs the module's own code.

    Where none of those that keep what they have read is right, the reasons are logged as one warning.
    """
    probe, faults = probe or probe_of(model), []
    for name, kind in _kinds(model):
        opener = _switching(model, kind)
        fault = probe.fault(opener, _near(model, NEAR, probe.noise))
        if fault is None:
            return opener
        faults.append(f"{name}: {fault}")
    plain = _switching(model, partial(RowSession, model, keeper=Nothing(), own_places=True))
    if fault := probe.fault(plain, _near(model, NEAR, probe.noise)):
        message, hint = f"gives other logits for the beginning of a text alone: {fault}", "take another model"
        raise Unsupported(message, field=model.name, hint=hint)
    LOG.warning(
        "%s (%s): no session keeps what it has read, so all of a text is read again for each new token; %s",
        model.name,
        type(model.module).__name__,
        "; ".join(faults) or "the module takes no cache",
    )
    return plain


def _switching(model: Host, opener: Opener) -> Opener:
    """The opener itself, or sessions that read rows of each side of a switch by themselves."""
    switch = switch_of(model.module)
    return opener if switch is None else partial(SwitchingSession, model, opener, switch)


def _kinds(model: Host) -> Iterator[tuple[str, Opener]]:
    """Sessions that keep what they have read, fastest first."""
    if attention := attention_of(model.module):
        yield "rows together", partial(RaggedSession, model, attention=attention)
    name = cache_argument(model.module)
    for keeper in (Passed(name), Passed(name, model.module)) if name else ():
        yield "row by row", partial(RowSession, model, keeper=keeper)
        yield "row by row, token by token", partial(RowSession, model, keeper=keeper, single=True)
        yield "row by row, by its own places", partial(RowSession, model, keeper=keeper, own_places=True)
    if held := held_by(model.module, name):
        yield "row by row, state in the module", partial(RowSession, model, keeper=held, single=True)


def _near(model: Host, exact: float, noise: float = 0.0) -> float:
    """How far apart logits may be: modules of 16 bits round more, and quantised ones more than their dtype says."""
    if getattr(model.module, "is_quantized", False):
        return LOOSE
    dtype = model.module.dtype
    if dtype in (torch.float32, torch.float64):
        return exact
    return min(LOOSE, max(UNITS * torch.finfo(dtype).eps, 4 * noise))
