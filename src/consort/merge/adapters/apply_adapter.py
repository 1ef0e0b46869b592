"""An adapter laid over a base, as a model: W + s B A (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

from consort.core.errors import BadParameter
from consort.merge.adapters import adapter
from consort.weights.adapters.files import is_adapter_config
from consort.weights.adapters.lora import Adapted
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.opening import check_base


@adapter(paper="2106.09685", takes="adapters")
class ApplyAdapter(Adapted):
    """The model that an adapter makes of its base.

    `model`: an adapter's folder, or an adapter that is merged or extracted; `base`: what it is laid over; an adapter
    that names another base is refused unless `other_base`.
    Raises BadParameter, BadCheckpoint, Incompatible, Unsupported.
    """

    def __init__(self, model: Checkpoint, base: Checkpoint, *, other_base: bool = False) -> None:
        if not is_adapter_config(model.config):
            raise BadParameter(f"{model.name} is a model, not an adapter", field="model", hint="give an adapter")
        check_base(model, base, other_base=other_base)
        super().__init__(base, model)
        self.model, self.other_base = model, other_base
