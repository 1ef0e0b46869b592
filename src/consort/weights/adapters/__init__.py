"""Low-rank adapters at rest."""
