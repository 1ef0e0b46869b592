"""Detectors that compare an answer with other answers to the same prompt."""
