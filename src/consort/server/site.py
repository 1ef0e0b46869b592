"""All routes of the server, in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consort.models.remote.wire.objects import dumped
from consort.server import handlers, pages, view, zoo
from consort.server.dialects import messages, ollama, openai, responses
from consort.server.http import Call, Reply
from consort.server.openapi import document
from consort.server.routes import Route, Routes

if TYPE_CHECKING:
    from consort.server.app import State


async def openapi(state: State, call: Call) -> Reply:
    """What there is to ask of the models that the caller may use, as an OpenAPI document."""
    ids = [served.id for served in handlers.allowed(state, call)]
    return Reply(200, dumped(document(routes(), state.limits, ids)))


def routes() -> Routes:
    """What the server has, where."""
    return Routes(
        [
            Route("/", "GET", "page", pages.page, summary="A page to try the models."),
            Route("/static/", "GET", "static", pages.static, prefix=True, summary="What the page needs."),
            Route("/consort/models", "GET", "trees", pages.tree, summary="What each model is made of."),
            Route("/consort/zoo", "GET", "zoo", zoo.zoo, summary="The models with weights, and how alike they are."),
            Route("/consort/view", "POST", "view", view.view, counts=True, summary="Who said what, token by token."),
            Route("/openapi.json", "GET", "openapi", openapi, summary="This document."),
            Route("/health", "GET", "health", handlers.health, summary="Whether the server lives."),
            Route("/ready", "GET", "ready", handlers.ready, summary="Whether its models are loaded."),
            Route("/metrics", "GET", "metrics", handlers.metrics, summary="Prometheus metrics."),
            Route("/v1/models", "GET", "models", handlers.models, summary="All models."),
            Route("/v1/models/", "GET", "model", handlers.model, prefix=True, summary="One model."),
            Route("/v1/chat/completions", "POST", "chat", dialect=openai.CHAT, summary="Answer a chat."),
            Route("/v1/completions", "POST", "completions", dialect=openai.COMPLETIONS, summary="Continue a text."),
            Route("/v1/responses", "POST", "responses", dialect=responses.RESPONSES, summary="Answer, as Responses."),
            Route("/v1/messages", "POST", "messages", dialect=messages.MESSAGES, summary="Answer, as Messages."),
            Route("/v1/messages/count_tokens", "POST", "count_tokens", messages.count_tokens, counts=True),
            Route("/api/chat", "POST", "ollama_chat", dialect=ollama.CHAT, summary="Answer a chat, as Ollama."),
            Route("/api/generate", "POST", "ollama_generate", dialect=ollama.GENERATE, summary="As Ollama."),
            Route("/api/tags", "GET", "ollama_tags", ollama.tags, summary="All models, as Ollama."),
            Route("/api/show", "POST", "ollama_show", ollama.show, counts=True, summary="One model, as Ollama."),
            Route("/api/version", "GET", "ollama_version", ollama.version, summary="The version, as Ollama."),
            Route(
                "/v1/embeddings", "POST", "embeddings", handlers.embeddings, counts=True, summary="Vectors of texts."
            ),
            Route("/tokenizer_info", "GET", "tokenizer_info", handlers.tokenizer_info, summary="About a tokenizer."),
            Route("/tokenize", "POST", "tokenize", handlers.tokenize, counts=True, summary="Token ids of a text."),
            Route("/detokenize", "POST", "detokenize", handlers.detokenize, counts=True, summary="The text of tokens."),
        ]
    )
