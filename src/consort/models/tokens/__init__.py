"""Tokenizers, and how the tokens of two of them lie over each other."""
