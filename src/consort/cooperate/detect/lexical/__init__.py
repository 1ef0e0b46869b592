"""Detectors that count words: the trivial ones, beside which every other is reported."""
