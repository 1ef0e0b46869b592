"""A search by a plan."""
