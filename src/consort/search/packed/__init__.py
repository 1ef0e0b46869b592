"""Many adapters evaluated in one batch."""
