"""Serve a cascade of two averages, ask it as any client would, and see who answered."""

import json
import urllib.request

import consort as c
from consort.server.run import Server

small, large = c.model("lab:base"), c.average([c.model("lab:order"), c.model("lab:next")])
team = c.cascade([small, large], threshold=0.9)

with Server(models={"team": team}, port=0) as running:
    body = {"model": "team", "messages": [{"role": "user", "content": "sort c a b"}], "max_tokens": 8, "temperature": 0}
    for model in ("team", "team-1.0"):
        request = urllib.request.Request(
            f"{running.url}/v1/chat/completions",
            json.dumps({**body, "model": model}).encode(),
            {"content-type": "application/json"},
        )
        answer = json.load(urllib.request.urlopen(request))
        print(model, "was answered by", answer["consort"]["chosen"], "at", answer["usage"]["total_tokens"], "tokens")
