"""Which methods draw: they alone depend on the seed."""

from __future__ import annotations

from consort.merge import methods


def test_four_methods_draw():
    drawn = [name for name in methods if methods.get(name).random]
    assert drawn == ["dare_linear", "dare_ties", "della", "della_linear"]
