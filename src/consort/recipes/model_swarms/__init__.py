"""Model Swarms, with the baselines of its paper."""
