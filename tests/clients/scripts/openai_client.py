"""What the openai package makes of the server: run with the environment's own Python."""

import json
import sys

import openai
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0)
chat = [{"role": "user", "content": "abc"}]
tool = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}
ids = [model.id for model in client.models.list()]
assert "average" in ids
Model.model_validate(client.models.with_raw_response.retrieve("average").http_response.json(), strict=True)

for model in ("letters", "average", "speculate", "cascade", "vote"):
    fields = {"model": model, "messages": chat, "temperature": 0, "max_tokens": 8}
    raw = client.chat.completions.with_raw_response.create(**fields, logprobs=True, top_logprobs=2)
    ChatCompletion.model_validate(raw.http_response.json())
    whole = raw.parse()
    pieces, usage, finish = "", None, None
    for chunk in client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True}):
        ChatCompletionChunk.model_validate(chunk.model_dump())
        usage = chunk.usage or usage
        for choice in chunk.choices:
            pieces += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert pieces == whole.choices[0].message.content, model
    assert finish == whole.choices[0].finish_reason
    assert usage.completion_tokens == whole.usage.completion_tokens and usage.prompt_tokens == whole.usage.prompt_tokens

fields = {"model": "average", "prompt": [[95, 0, 1, 2], [0, 1]], "max_tokens": 1, "temperature": 0, "logprobs": 1}
raw = client.completions.with_raw_response.create(**fields)
Completion.model_validate(raw.http_response.json())
# the first token of an echo has no log-probability: null, which the package's types do not know, but its answers have
echoed = client.completions.create(**fields, echo=True)
assert len(echoed.choices[0].logprobs.token_logprobs) == 5 and echoed.choices[0].logprobs.token_logprobs[0] is None

called = client.chat.completions.create(
    model="average", messages=chat, tools=[tool], tool_choice="required", max_tokens=100
)
assert json.loads(called.choices[0].message.tool_calls[0].function.arguments)["a"] in (1, 2)
calls = ""
for chunk in client.chat.completions.create(
    model="average", messages=chat, tools=[tool], tool_choice="required", max_tokens=100, stream=True
):
    for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
        calls += call.function.arguments or ""
assert json.loads(calls)["a"] in (1, 2)

schema = {"type": "object", "properties": {"b": {"enum": ["x"]}}, "required": ["b"], "additionalProperties": False}
answer = client.chat.completions.create(
    model="speculate",
    messages=chat,
    max_tokens=60,
    response_format={"type": "json_schema", "json_schema": {"name": "t", "schema": schema, "strict": True}},
)
assert json.loads(answer.choices[0].message.content) == {"b": "x"}

raw = client.responses.with_raw_response.create(model="average", input="abc", max_output_tokens=6, temperature=0)
Response.model_validate(raw.http_response.json())
text, kinds = "", []
for event in client.responses.create(model="average", input="abc", max_output_tokens=6, temperature=0, stream=True):
    kinds.append(event.type)
    text += event.delta if event.type == "response.output_text.delta" else ""
assert text == raw.parse().output_text and kinds[-1] in ("response.completed", "response.incomplete")

for fields, kind in (
    ({"model": "nobody"}, openai.NotFoundError),
    ({"model": "letters", "temperature": -1}, openai.BadRequestError),
    ({"model": "letters", "max_tokens": -1}, openai.BadRequestError),
):
    try:
        client.chat.completions.create(messages=chat, **fields)
    except kind as error:
        assert error.body["type"] and error.code
    else:
        raise AssertionError(f"{fields} was answered")
print(json.dumps({"version": openai.__version__, "models": len(ids)}))
