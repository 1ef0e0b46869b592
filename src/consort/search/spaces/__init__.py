"""Spaces to search: what a point of numbers stands for."""
