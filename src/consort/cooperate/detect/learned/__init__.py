"""Detectors that learn from labelled answers."""
