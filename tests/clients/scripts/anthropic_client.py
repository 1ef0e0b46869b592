"""What the anthropic package makes of the server."""

import json
import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0)
messages = [{"role": "user", "content": "abc"}]
schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
tool = {"name": "add", "description": "a sum", "input_schema": schema}
greedy = {"temperature": 0}  # a field that the package itself no longer has
for model in ("letters", "average", "speculate", "cascade"):
    whole = client.messages.create(model=model, max_tokens=8, messages=messages, extra_body=greedy, system="be brief")
    with client.messages.stream(
        model=model, max_tokens=8, messages=messages, extra_body=greedy, system="be brief"
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text, model
    assert final.usage.output_tokens == whole.usage.output_tokens and final.stop_reason == whole.stop_reason
fields = {"model": "average", "max_tokens": 100, "tools": [tool], "tool_choice": {"type": "any"}}
called = client.messages.create(messages=messages, **fields)
(block,) = called.content
assert called.stop_reason == "tool_use" and block.input["a"] in (1, 2)
with client.messages.stream(messages=messages, **fields) as stream:
    assert stream.get_final_message().content[0].input["a"] in (1, 2)
result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "3"}]}
turns = [*messages, {"role": "assistant", "content": called.content}, result]
later = client.messages.create(model="average", max_tokens=5, messages=turns, tools=[tool])
count = client.messages.count_tokens(model="average", messages=turns, tools=[tool])
assert count.input_tokens == later.usage.input_tokens
for fields, kind in (
    ({"model": "nobody", "max_tokens": 3}, anthropic.NotFoundError),
    ({"model": "average", "max_tokens": 0}, anthropic.BadRequestError),
):
    try:
        client.messages.create(messages=messages, **fields)
    except kind:
        pass
    else:
        raise AssertionError(f"{fields} was answered")
print(json.dumps({"version": anthropic.__version__}))
