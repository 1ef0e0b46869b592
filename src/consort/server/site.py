"""All routes of the server, in one table."""

from __future__ import annotations

from consort.server import handlers
from consort.server.dialects import openai
from consort.server.routes import Route, Routes


def routes() -> Routes:
    """What the server has, where."""
    return Routes(
        [
            Route("/health", "GET", "health", handlers.health, summary="Whether the server lives."),
            Route("/ready", "GET", "ready", handlers.ready, summary="Whether its models are loaded."),
            Route("/metrics", "GET", "metrics", handlers.metrics, summary="Prometheus metrics."),
            Route("/v1/models", "GET", "models", handlers.models, summary="All models."),
            Route("/v1/models/", "GET", "model", handlers.model, prefix=True, summary="One model."),
            Route("/v1/chat/completions", "POST", "chat", dialect=openai.CHAT, summary="Answer a chat."),
            Route("/v1/completions", "POST", "completions", dialect=openai.COMPLETIONS, summary="Continue a text."),
            Route(
                "/v1/embeddings", "POST", "embeddings", handlers.embeddings, counts=True, summary="Vectors of texts."
            ),
            Route("/tokenizer_info", "GET", "tokenizer_info", handlers.tokenizer_info, summary="About a tokenizer."),
            Route("/tokenize", "POST", "tokenize", handlers.tokenize, counts=True, summary="Token ids of a text."),
            Route("/detokenize", "POST", "detokenize", handlers.detokenize, counts=True, summary="The text of tokens."),
        ]
    )
