"""Search over combinations of models."""
