"""Answers that are known already, as models: tables."""
