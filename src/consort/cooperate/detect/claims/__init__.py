"""Detectors that take an answer apart into claims and look for evidence."""
