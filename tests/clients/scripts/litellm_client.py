"""What litellm makes of the server."""

import json
import sys
from importlib.metadata import version

import litellm

base = sys.argv[1]
messages = [{"role": "user", "content": "abc"}]
fields = {"model": "openai/average", "api_base": base + "/v1", "api_key": "none", "temperature": 0, "max_tokens": 8}
whole = litellm.completion(messages=messages, **fields)
text, usage = "", None
for chunk in litellm.completion(messages=messages, stream=True, stream_options={"include_usage": True}, **fields):
    text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    usage = getattr(chunk, "usage", None) or usage
assert text == whole.choices[0].message.content
assert usage.completion_tokens == whole.usage.completion_tokens == 8
plain = litellm.text_completion(prompt="abc", **{**fields, "model": "text-completion-openai/average"})
assert plain.choices[0].text
ollama = litellm.completion(model="ollama_chat/average", api_base=base, messages=messages, temperature=0, max_tokens=8)
assert ollama.choices[0].message.content == whole.choices[0].message.content
try:
    litellm.completion(messages=messages, num_retries=0, **{**fields, "model": "openai/nobody"})
except litellm.NotFoundError:
    pass
else:
    raise AssertionError("an unknown model was answered")
print(json.dumps({"version": version("litellm")}))
