"""Checkpoints computed from checkpoints: cast, stacked, permuted."""
