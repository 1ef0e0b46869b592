"""Sums of clients' numbers that show no single client's (extra `federate`: the package cryptography)."""
