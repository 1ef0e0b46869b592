"""mergekit's YAML, translated."""
