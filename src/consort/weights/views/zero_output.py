"""A checkpoint some of whose layers add nothing: what a stack of models starts from before it is healed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from consort.core.errors import BadParameter, Unsupported
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import layer_of, role_of
from consort.weights.layers import Layers
from consort.weights.registry import view
from consort.weights.views.basic import View

SILENT = ("attention.o", "mlp.down")


@view(paper="2410.05357")
class ZeroOutput(View):
    """A model with the output projections of attention and MLP of some `layers` zero, so that these layers add nothing.

    Stacked on another model they leave it as it is until they are trained. Raises BadParameter for layers that are not
    there, Unsupported for a model whose layers have no such projections.
    """

    def __init__(self, model: Checkpoint, *, layers: Sequence[int]) -> None:
        self.model, self.layers = model, tuple(layers)
        super().__init__(model, f"zero_output({model.name})")
        found = Layers(model)
        wrong = [layer for layer in self.layers if layer not in found.inside]
        if wrong or not self.layers:
            what = f"there is no layer {wrong[0]}" if wrong else "no layers are named"
            hint = f"numbers from {found.low} to {found.low + found.count - 1}"
            raise BadParameter(what, field="layers", hint=hint)
        self._zero = {name for name in model.keys() if layer_of(name) in self.layers and role_of(name) in SILENT}
        for layer in self.layers:
            roles = {role_of(name) for name in self._zero if layer_of(name) == layer}
            if roles != set(SILENT):
                hint = "decoders with o_proj and down_proj can be silenced"
                raise Unsupported(f"layer {layer} has no output projections", field=model.name, hint=hint)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name in self._zero:
            out.zero_()
        else:
            self.source.read_into(name, start, stop, out)
