"""Soft prompts: a context read once and kept as vectors or as keys and values, by a reader that stays as it is."""
