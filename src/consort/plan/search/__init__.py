"""Plans of searches."""
