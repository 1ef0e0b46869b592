"""The engine of search: budget, scores known, workers, racing."""
