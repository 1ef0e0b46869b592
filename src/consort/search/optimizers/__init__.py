"""Optimizers: ask for points, tell their scores; one optimizer a file.

Each is called with the domain and a seed, which the search gives it, and its own keyword parameters. In a plan
`name: {inner: value}` stands for its parameter `name_inner`, and false for the number 0. `asks={name: (words, …)}` in
the decorator: what a plan says by these words at `name` is told to the space, which has parameters of these names.
"""

from consort.core.registry import Registry

optimizers: Registry[type] = Registry(
    "optimizer", "consort.search.optimizers", decorator="optimizer", produces="optimizer"
)
optimizer = optimizers.registrar()

__all__ = ["optimizer", "optimizers"]
