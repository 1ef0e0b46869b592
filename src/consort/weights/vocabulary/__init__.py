"""Checkpoints over different vocabularies, brought together."""
