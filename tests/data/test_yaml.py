from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadData, BadPlan
from consort.data.yaml import MAX_BYTES, dump_yaml, load_yaml

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_values_are_plain():
    text = "a: 1e-3\nb: 2024-01-01\nc: =\nd: [010, 0x10, .5, -2, 1.5e3, .inf]\ne: no\nf: '1'\ng:"
    expected = {"a": 0.001, "b": "2024-01-01", "c": "=", "d": ["010", 16, 0.5, -2, 1500.0, float("inf")]}
    assert load_yaml(text) == expected | {"e": False, "f": "1", "g": None}


@given(PLAIN)
def test_what_is_written_is_read_back(value):
    assert load_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize("text", ["0E0", "1e5", "010", "2024-01-01", "=", "yes", "null", "a: b", "", "\x85", "\u2028"])
def test_text_that_looks_like_something_else_stays_text(text):
    assert load_yaml(dump_yaml({text: [text]})) == {text: [text]}


def test_aliases_and_merge_keys_work():
    assert load_yaml("x: &a {p: 1, q: 2}\ny: {<<: *a, q: 3}") == {"x": {"p": 1, "q": 2}, "y": {"p": 1, "q": 3}}


BOMB = "x0: &x0 [0, 0]\n" + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 9))


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\nb: 2\na: 3", ":3:1", "twice"),
        ("a:\n  b: !!python/object/apply:os.system [ls]", ":2:6", "tag"),
        ("a: !own 1", ":1:4", "tag"),
        ("a: [1", ":1:6", "expected"),
        ("a: b: c", ":1:5", "not allowed"),
        ("&a [*a]", ":1:1", "itself"),
        ("{[1]: 2}", ":1:2", "key"),
        ("a: 1\n---\nb: 2", ":2:1", "document"),
        (BOMB, "", "values"),
        ("[" * 5000, "", "deeply"),
        ("a: \x00", "", "U+0000"),
        ("a: " + "x" * MAX_BYTES, "", "larger"),
    ],
)
def test_refused_with_its_place(text, place, message):
    with pytest.raises(BadPlan) as caught:
        load_yaml(text)
    assert caught.value.field.startswith("plan" + place) and message in caught.value.message and caught.value.hint


def test_files_are_named(tmp_path):
    path = tmp_path / "ein Plan 🎻.yml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_yaml(path) == {"a": 1}
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(BadData, match="UTF-8") as caught:
        load_yaml(path, error=BadData)
    assert caught.value.field == f"{path}:2"
    with pytest.raises(BadPlan, match="no such file"):
        load_yaml(tmp_path / "none.yml")
    with pytest.raises(BadPlan, match="is a folder"):
        load_yaml(tmp_path)
