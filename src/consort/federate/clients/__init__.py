"""Clients of a federation: callables, local trainers, and others behind HTTP."""
