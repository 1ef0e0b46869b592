"""The OpenAI wire format, both ways: pure functions between JSON and values, without a connection.

`values` are what passes (choices, answers), `requests` the bodies, `answers` and `stream` what comes back, `events` the
framing of streams, `logprobs` what is told of tokens, `errors` what an error object says, `objects` what servers write.
"""
