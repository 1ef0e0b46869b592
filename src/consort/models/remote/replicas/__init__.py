"""One model behind several endpoints."""
