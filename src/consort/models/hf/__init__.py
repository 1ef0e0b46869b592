"""Models of transformers: loading, sessions, the lean pass."""
