"""Dialects: each reads its own requests and writes its own answers; what lies between is the same for all."""
