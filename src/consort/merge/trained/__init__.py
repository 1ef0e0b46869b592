"""Merges that are trained on data, and what is added to a merge so that it serves each task: two registries.

What training finds is a folder that `consort collect` writes once (see `collecting`); a plan names it. Importing this
package imports no torch.
"""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

corrected: Registry[Any] = Registry("corrected", "consort.merge.trained", decorator="correction", produces="model")
trained: Registry[Any] = Registry("trained", "consort.merge.trained", decorator="learned", produces="checkpoint")

correction = corrected.registrar()
"""The decorator that makes a class of this package, a model over a merge, a name in plans."""
learned = trained.registrar()
"""The decorator that makes a class or function of this package, a merge, a name in plans: `@learned(paper="…")`."""

KINDS = ("adamerging", "concrete", "surgery")
"""What `consort collect` trains."""

__all__ = ["KINDS", "corrected", "correction", "learned", "trained"]
