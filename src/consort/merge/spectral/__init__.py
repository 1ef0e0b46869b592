"""Singular directions of what models learned: one engine for every method that looks at them."""
