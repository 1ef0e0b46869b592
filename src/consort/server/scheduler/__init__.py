"""Continuous batching: rows of many requests on one session of a model, in one thread for all models."""
