"""Every relation of two vocabularies; every example of every drafter, and other ways to ask for one."""

from __future__ import annotations

import pytest

from consort.cooperate.speculate import Speculate
from consort.cooperate.speculate.drafters import DRAFTERS
from consort.core.errors import Incompatible
from consort.models.token_model import TokenModel
from consort.testing.speculation_laws import VOCABULARIES, Build, cases
from consort.testing.tables import TableModel, pair_of, random_table


def stages(target: TokenModel, draft: TokenModel) -> Speculate:
    tiny = TableModel(random_table(3, 12, without=[10]), draft.tokenizer, name="tiny")
    return Speculate(target, Speculate(draft, tiny, gamma=2), gamma=3)


SPELLINGS: dict[str, Build] = {
    "a draft": lambda t, d: Speculate(t, d, gamma=3),
    "a pair as the draft": stages,
    "any text": lambda t, d: Speculate(t, d, gamma=3, vocabulary="slem"),
    "no draft": lambda t, d: Speculate(t, gamma=3),
}
BUILDS = {**cases(), **SPELLINGS}
ONE = {name for name in DRAFTERS if DRAFTERS.entry(name).options.get("vocabularies") == "one"}


@pytest.fixture(params=VOCABULARIES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=list(BUILDS))
def build(request: pytest.FixtureRequest, kind: str) -> Build:
    """One way to speculate; one that is for one vocabulary only is seen to refuse another."""
    made = BUILDS[request.param]
    if kind == "different" and request.param.split()[0] in ONE:
        target, draft = pair_of(kind)
        with pytest.raises(Incompatible, match="draft does not have the vocabulary of target"):
            made(target, draft).generate(["abc"])
        pytest.skip("it is for one vocabulary")
    return made
