"""Names found in source without importing, objects imported when asked for."""

from __future__ import annotations

import sys
import textwrap

import pytest

from consort.core.errors import BadParameter, UnknownName
from consort.core.params import name_of
from consort.core.registry import Registry

MODULE = '''
"""A method."""
from consort.core.params import PerModel
from plugbox import strategy

@strategy(paper="1234.56789", grain="entry")
class BestOfTwo:
    """Take the better one.

    More words.
    """

    def __init__(self, models: list, *, weight: PerModel[float] = 1.0) -> None: ...
'''


@pytest.fixture
def registry(tmp_path, monkeypatch):
    package = tmp_path / "plugbox"
    package.mkdir()
    (package / "__init__.py").write_text(
        textwrap.dedent(
            """
            from consort.core.registry import Registry
            box = Registry("box", "plugbox", decorator="strategy", produces="model")
            strategy = box.registrar()
            """
        )
    )
    (package / "best.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import plugbox

    yield plugbox.box
    for name in [n for n in sys.modules if n.startswith("plugbox")]:
        del sys.modules[name]


def test_listing_imports_nothing(registry):
    entry = registry.entry("best_of_two")
    assert (entry.summary, entry.paper, entry.options["grain"]) == ("Take the better one.", "1234.56789", "entry")
    assert [p.name for p in entry.params] == ["models", "weight"]
    assert "plugbox.best" not in sys.modules
    assert registry.get("best_of_two").__name__ == "BestOfTwo"
    assert "plugbox.best" in sys.modules


def test_unknown_names_get_a_suggestion(registry):
    with pytest.raises(UnknownName) as error:
        registry.get("best_of_tow")
    assert error.value.hint == "did you mean 'best_of_two'?"


def test_a_name_registered_twice_is_refused():
    registry: Registry[type] = Registry("thing", "consort.core", decorator="thing")

    class Thing:
        """A thing."""

    registry.add(Thing, Thing)
    with pytest.raises(BadParameter, match="registered twice: by .* and by"):
        registry.add(Thing, Thing)


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ("weight: float = 2 * HALF", "the default 2 * HALF is no literal"),
        ("weight: float = {[]: 1}", "is no literal"),
        ("weight: Annotated[float, Range(0, TOP)] = 1.0", "cannot read Annotated[float, Range(0, TOP)]"),
    ],
)
@pytest.mark.parametrize(
    "form", ["def worst(models=NONE, *, {}): ...", "class Worst:\n    def __init__(self, models, *, {}): ..."]
)
def test_a_signature_that_is_no_schema_is_named_where_it_stands(registry, tmp_path, parameter, says, form):
    source = '"""Another."""\n@strategy()\n' + form.format(parameter) + "\n"
    (tmp_path / "plugbox" / "worst.py").write_text(source)
    with pytest.raises(BadParameter) as error:
        registry.entries()
    line = 4 if form.startswith("class") else 3
    assert error.value.field.endswith(f"worst.py:{line}: {'Worst' if line == 4 else 'worst'}.weight")
    assert says in error.value.message and error.value.hint


@pytest.mark.parametrize(
    ("definition", "name"), [("TaskArithmetic", "task_arithmetic"), ("ties", "ties"), ("AsBytes", "as_bytes")]
)
def test_names_of_definitions(definition, name):
    assert name_of(definition) == name
