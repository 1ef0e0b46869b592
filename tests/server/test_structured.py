"""The law of structured output: every answer of a random small schema parses and validates, whoever writes it; and

speculation under a mask stays lossless.
"""

from __future__ import annotations

import json
import random

import pytest

import consort as c
from consort.core.types import Grammar, Sampling
from consort.server.tools import calls_in, canonical, parsers, sure_text
from consort.testing.tables import TableModel
from tests.server.conftest import letters

FEW, ALL = 24, 500


def schema(rng, depth=0):
    """A random schema whose answers are bounded."""
    kinds = ["enum", "integer", "boolean", "string", "null", "const"] + (
        ["object", "array", "any"] if depth < 2 else []
    )
    kind = rng.choice(kinds if depth else ["object", "array", "object"])
    if kind == "enum":
        return {"enum": rng.sample(["a", "bc", 1, 2, True, None, "d e"], rng.randint(1, 4))}
    if kind == "const":
        return {"const": rng.choice(["x", 7, False])}
    if kind == "integer":
        low = rng.randint(-20, 20)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 300)}
    if kind == "string":
        low = rng.randint(0, 2)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 4)}
    if kind == "array":
        low = rng.randint(0, 2)
        return {"type": "array", "items": schema(rng, depth + 1), "minItems": low, "maxItems": low + rng.randint(0, 2)}
    if kind == "any":
        return {"anyOf": [schema(rng, depth + 1) for _ in range(2)]}
    if kind == "object":
        names = rng.sample(["a", "b", "name", "x y", "value"], rng.randint(1, 3))
        properties = {name: schema(rng, depth + 1) for name in names}
        required = [name for name in names if rng.random() < 0.7]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": kind}


def valid(value, wanted):
    """Whether a value is of a schema of the kinds above: written for this test, by the words of the specification."""
    if "enum" in wanted:
        return any(same(value, one) for one in wanted["enum"])
    if "const" in wanted:
        return same(value, wanted["const"])
    if "anyOf" in wanted:
        return any(valid(value, one) for one in wanted["anyOf"])
    kind = wanted["type"]
    if kind == "integer":
        return type(value) is int and wanted["minimum"] <= value <= wanted["maximum"]
    if kind == "string":
        return isinstance(value, str) and wanted["minLength"] <= len(value) <= wanted["maxLength"]
    if kind == "array":
        fits = isinstance(value, list) and wanted["minItems"] <= len(value) <= wanted["maxItems"]
        return fits and all(valid(one, wanted["items"]) for one in value)
    if kind == "object":
        known = isinstance(value, dict) and set(wanted["required"]) <= set(value) <= set(wanted["properties"])
        return known and all(valid(one, wanted["properties"][name]) for name, one in value.items())
    return type(value) is {"boolean": bool, "null": type(None)}[kind]


def same(a, b):
    return type(a) is type(b) and a == b


def model_of(kind):
    a, b = letters(1), letters(2)
    if kind == "plain":
        return a
    if kind == "average":
        return c.average([a, b])
    if kind == "as_bytes":
        return c.average([c.as_bytes(m, covers="all", prune=1e-3, branches=4) for m in (a, b)])
    return c.speculate(a, b, gamma=3)


def obeys(kind, count):
    model, rng = model_of(kind), random.Random(7)
    for number in range(count):
        wanted = schema(rng)
        grammar = Grammar("json_schema", json.dumps(wanted))
        sampling = Sampling(max_tokens=400, temperature=number % 2, seed=number, grammar=grammar)
        (answer,) = model.generate(["abc"], sampling)
        assert answer.finish_reason == "stop", (wanted, answer.text)
        assert valid(json.loads(answer.text), wanted), (wanted, answer.text)


@pytest.mark.parametrize("kind", ["plain", "average", "speculate"])
def test_answers_obey_their_schema(kind):
    obeys(kind, FEW)


def test_answers_over_bytes_obey_their_schema():
    obeys("as_bytes", 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "average", "as_bytes", "speculate"])
def test_answers_obey_500_schemas(kind):
    obeys(kind, ALL)


def test_the_validator_is_no_yes_man():
    wanted = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
    assert valid({"a": 1}, wanted)
    assert not any(valid(value, wanted) for value in ({"a": True}, {}, {"a": 1, "b": 2}, [], {"a": 2}))


def test_greedy_speculation_under_a_mask_is_plain_decoding():
    target, draft = letters(1), letters(2)
    for number in range(8):
        grammar = Grammar("json_schema", json.dumps(schema(random.Random(number))))
        for drafter in ({"draft": draft}, {"drafter": c.lookup() if hasattr(c, "lookup") else None}):
            given = {name: value for name, value in drafter.items() if value is not None}
            plain, quick = target, c.speculate(target, **given, gamma=4)
            answers = [m.generate(["abc"], Sampling(max_tokens=200, grammar=grammar))[0] for m in (plain, quick)]
            assert answers[0].tokens == answers[1].tokens


def test_speculation_under_a_mask_draws_from_the_targets_distribution():
    """The first two tokens of many draws against the target's own masked probabilities, by chi-square."""
    import torch

    from consort.models.decoding.grammar import mask_of
    from consort.models.fake import FakeTokenizer

    tokenizer = FakeTokenizer("abcd")
    rng = torch.Generator().manual_seed(0)
    tables = [torch.rand(6, 6, generator=rng).double() + 0.05 for _ in range(2)]
    target, draft = (
        TableModel(t / t.sum(-1, keepdim=True), tokenizer, name=n) for t, n in zip(tables, "td", strict=True)
    )
    grammar = Grammar("choice", '["ab", "ac", "b", "cad"]')
    mask = mask_of(grammar, target)
    spec, count = c.speculate(target, draft, gamma=2), 1500
    found = {}
    for answer in spec.generate(["d"] * count, Sampling(max_tokens=4, temperature=1.0, seed=5, grammar=grammar)):
        found[answer.text] = found.get(answer.text, 0) + 1
    expected = {text: chance(target, mask, tokenizer, text) for text in ("ab", "ac", "b", "cad")}
    assert sum(expected.values()) == pytest.approx(1.0)
    chi = sum((found.get(t, 0) - count * p) ** 2 / (count * p) for t, p in expected.items())
    assert chi < 21.1, (found, expected)  # 3 degrees of freedom: one in ten thousand


def chance(model, mask, tokenizer, text):
    p, answer = 1.0, []
    for token in tokenizer.encode(text, special=False):
        logits = model.open(1).feed([[*tokenizer.encode("d"), *answer]], last=True)[0][0]
        allowed = mask.allowed(answer, len(logits))
        p *= float(logits.masked_fill(~allowed, -float("inf")).softmax(-1)[token])
        answer.append(token)
    # what may follow a whole answer is its end; an answer that could go on may also end here
    logits = model.open(1).feed([[*tokenizer.encode("d"), *answer]], last=True)[0][0]
    allowed = mask.allowed(answer, len(logits))
    ends = list(model.ends)
    return p if mask.is_over(answer) else p * float(logits.masked_fill(~allowed, -float("inf")).softmax(-1)[ends].sum())


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', "", [("f", '{"a": 1}')]),
        ('Well. <tool_call>{"name": "f", "arguments": {}}</tool_call>', "Well.", [("f", "{}")]),
        ('{"name": "f", "parameters": {"a": "b"}}', "", [("f", '{"a": "b"}')]),
        (
            '<|python_tag|>{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}',
            "",
            [("f", "{}"), ("g", "{}")],
        ),
        ('[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]', "", [("f", '{"a": 1}')]),
        ('[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g{"b": 2}', "", [("f", '{"a": 1}'), ("g", '{"b": 2}')]),
        ('[{"name": "f", "arguments": "{\\"a\\": 1}"}]', "", [("f", '{"a": 1}')]),
    ],
)
def test_tool_calls_of_each_family(text, said, calls):
    assert calls_in(text, {"f", "g"}) == (said, calls)
    assert sure_text(text).strip() in ("", "Well.")


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "f", "arguments": {"a": }}</tool_call>',
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '{"name": "f"}',
        '{"a": 1}',
        "[TOOL_CALLS]",
        "just text",
        '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
    ],
)
def test_what_is_no_call_is_text(text):
    assert calls_in(text, {"f", "g"}) == (text, [])


def test_equal_calls_are_equal_texts():
    first = canonical("", [("f", '{"a": 1, "b": [2]}')])
    assert first == canonical("", [("f", '{"b":[2],"a":1}')])
    assert calls_in(first, {"f"}) == ("", [("f", '{"a": 1, "b": [2]}')])
    assert len(parsers()) == 3


def test_a_vote_over_calls(tmp_path):
    from consort.models.fake import FakeModel
    from consort.server.members import Members
    from consort.server.request import Asked, Context
    from consort.server.scheduler.scheduler import Scheduler

    texts = ['<tool_call>{"name": "f", "arguments": {"a": 1, "b": 2}}</tool_call>',
             '{"name": "f", "parameters": {"b": 2, "a": 1}}', "I do not know", "no"]  # fmt: skip
    voters = [FakeModel(lambda _, text=text: text, name=f"m{i}") for i, text in enumerate(texts)]
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    strategy = Members(Scheduler()).strategy(c.vote(voters))
    (answer,) = strategy.generate(["q"], Asked(context=Context("x", "vote", tools=(tool,))))
    assert calls_in(answer.text, {"f"})[1] == [("f", '{"a": 1, "b": 2}')]
