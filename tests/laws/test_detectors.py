"""What detectors say of themselves; their laws find what breaks them."""

from __future__ import annotations

import pytest

from consort.cooperate.detect import detectors
from consort.models.detecting import NEEDS, Case, Detector, Finding
from consort.testing import detector_laws as laws


@pytest.mark.parametrize("name", list(detectors))
def test_a_detector_is_one_and_says_what_it_needs(name: str) -> None:
    made = laws.build(name)
    assert isinstance(made, Detector)
    assert made.name == name
    assert set(made.needs) <= set(NEEDS)


def test_laws_find_what_breaks_them() -> None:
    class Sloppy:
        """Depends on the batch, likes the first sample, and has doubts beyond 1."""

        name, needs = "sloppy", ("samples", "source")

        def detect(self, cases):
            return [Finding(1.0 + len(cases) + len(c.samples[0] if c.samples else "")) for c in cases]

    for law in (
        laws.doubts_are_in_the_unit_interval, laws.a_batch_is_its_cases, laws.the_order_of_samples_is_free,
        laws.a_copy_is_least_doubted, laws.empty_answers_are_told,
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            law(Sloppy())


def test_a_file_without_what_is_needed_is_refused() -> None:
    from consort.core.errors import BadData

    with pytest.raises(BadData, match="there is no source"):
        detectors.get("ngram_precision")().detect([Case("a b")])
