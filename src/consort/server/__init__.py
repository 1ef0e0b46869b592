"""Any plan behind an OpenAI-compatible endpoint: one internal request, several dialects, one scheduler."""
