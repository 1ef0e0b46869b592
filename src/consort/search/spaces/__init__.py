"""Spaces to search: what a point of numbers stands for; one space a file.

A space has a `domain` and makes of a point a `checkpoint(point)` (poured into one live model), an `adapter(point)` over
its `base` (many at once), or a `model(point)` (built anew); `units`, where it has them, are the points of single models
by name. What the decorator may say of one whose points are combinations of experts:

    of            the call that it is when that call's weights are free, and nothing else is
    makes         "checkpoint" | "adapter" | "model"
    base          "first": the base is a member, before the experts; "under": it lies under them
    fixed, when   arguments that the call is given, where it has those of `when`
    sparsified    the merge that makes sparsified copies of the experts
"""

from consort.core.registry import Registry

spaces: Registry[type] = Registry("space", "consort.search.spaces", decorator="space", produces="space")
space = spaces.registrar()

__all__ = ["space", "spaces"]
