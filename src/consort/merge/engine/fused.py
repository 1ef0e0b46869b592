"""Sums and votes of bfloat16 files, computed from their bits and rounded once, in a single pass where C is compiled.

The result has the bits that blocks of float32 give; where anything is not finite nothing is decided here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from consort.merge.arithmetic import compiled
from consort.merge.arithmetic.forms import Form, Vote
from consort.merge.arithmetic.votes import just_below
from consort.merge.engine.matching import Job
from consort.merge.engine.reading import Reader


def fusible(reader: Reader, job: Job, out: Tensor) -> bool:
    """Whether all that is read lies in files as it is wanted, and the method may have a form."""
    if reader.method.form is None or job.partial or (job.compute, out.dtype) != (torch.float32, torch.bfloat16):
        return False
    return all(
        not checkpoint.inputs and checkpoint.spec(name).dtype == torch.bfloat16
        for checkpoint, name in zip(reader.inputs, job.sources, strict=True)
    )


def fuse(form: Form, reader: Reader, job: Job, start: int, stop: int, out: Tensor) -> bool:
    """Entries [start, stop) of the merge into `out`. False where that cannot be done; `out` is then undefined."""
    library = compiled.kernels_of_bits(out)
    if library is None or (isinstance(form, Vote) and form.factor is not None):
        return False
    rows, base = reader.bits(job, start, stop, out.dtype)
    vote = form if isinstance(form, Vote) else None
    return compiled.merged(
        library,
        rows,
        base,
        form.weight,
        just_below(vote.threshold, "float32") if vote else None,
        elect=vote.elect if vote else None,
        normalize=form.normalize,
        divisor=float(form.weight.sum()) if form.normalize and not vote else 1.0,
        scale=form.lambda_,
        out=out,
    )
