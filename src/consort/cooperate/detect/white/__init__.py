"""Detectors that read a model's own probabilities."""
