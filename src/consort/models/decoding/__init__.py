"""Decoding: one batched loop over sessions, sampling, scores."""
