"""Differential privacy: what is added, and what it has cost."""
