"""The arithmetic that merge methods are written in."""
